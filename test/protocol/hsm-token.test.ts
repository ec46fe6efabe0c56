import { expect, test } from 'vitest';
import { newBootId, newClusterId, newHsmId, newHsmKeyId } from '../../src/core/ids.js';
import {
  TOKEN_BYTES,
  TOKEN_KEY_MAX_CHARS,
  TOKEN_NONCE_BYTES,
  TOKEN_SERVICES,
  encodeToken,
  hsmOfToken,
  readToken,
  splitTokens,
  type TokenContent,
} from '../../src/protocol/hsm-token.js';

const content: TokenContent = {
  service: 'key-usage',
  hsm: newHsmId(),
  cluster: newClusterId(),
  username: 'alice_in_the_longest_name_th_is',
  session: 2 ** 40,
  boot: newBootId(),
  key: newHsmKeyId(),
  issuedMs: 1_234.5,
  nonce: Buffer.alloc(TOKEN_NONCE_BYTES, 7),
};
const mac = Buffer.alloc(32, 9);
const token = encodeToken(content, () => mac);

test('a token has one length, and says of whom and for what it is', () => {
  expect(token).toHaveLength(TOKEN_BYTES);
  expect(TOKEN_BYTES).toBe(245);
  expect(TOKEN_KEY_MAX_CHARS).toBeGreaterThanOrEqual(content.key.length);
  expect(readToken(token)).toMatchObject({
    service: TOKEN_SERVICES['key-usage'],
    hsm: content.hsm,
    username: content.username,
    issuedMs: 1_234.5,
  });
  expect(mac.equals(readToken(token)?.mac ?? Buffer.of())).toBe(true);
  expect(hsmOfToken(token)).toBe(content.hsm);
});

test('each part of it makes another one', () => {
  const others: Partial<TokenContent>[] = [
    { service: 'key-management' },
    { hsm: newHsmId() },
    { cluster: newClusterId() },
    { username: 'bob' },
    { session: 1 },
    { boot: newBootId() },
    { key: '' },
    { issuedMs: 1_234.25 },
    { nonce: Buffer.alloc(TOKEN_NONCE_BYTES, 8) },
  ];
  const bodies = others.map((other) => encodeToken({ ...content, ...other }, () => mac));
  const all = [token, ...bodies].map((bytes) => bytes.toString('hex'));
  expect(new Set(all).size).toBe(all.length);
});

test('what is none is not read, and tokens in a row are told apart', () => {
  const versioned = Buffer.from(token);
  versioned[7] = 2;
  for (const wrong of [token.subarray(1), Buffer.concat([token, Buffer.of(0)]), versioned]) {
    expect(readToken(wrong)).toBeUndefined();
    expect(hsmOfToken(wrong)).toBeUndefined();
    expect(splitTokens(Buffer.concat([token, wrong]))).toBeUndefined();
  }
  const other = encodeToken({ ...content, hsm: newHsmId() }, () => mac);
  const split = splitTokens(Buffer.concat([token, other]));
  expect(split?.map((one) => Buffer.from(one).toString('hex'))).toEqual([
    token.toString('hex'),
    other.toString('hex'),
  ]);
  expect(splitTokens(new Uint8Array(0))).toEqual([]);
});
