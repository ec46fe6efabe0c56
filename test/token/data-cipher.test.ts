import { createCipheriv, generateKeyPairSync, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { CKM } from '../../src/core/pkcs11.js';
import {
  aesDecrypt,
  aesEncrypt,
  rawBlock,
  rsaDecryptData,
  rsaEncryptData,
} from '../../src/token/data-cipher.js';
import { importKey } from '../../src/token/key-transport.js';
import type { Handle } from '../../src/token/token.js';
import { TokenFixture } from '../support/token-fixture.js';

const AES = randomBytes(32);
const iv = randomBytes(16);
let fixture: TokenFixture;
let key: Handle;
beforeAll(() => {
  fixture = TokenFixture.ready();
  const kind = { class: 'secret-key', type: 'aes', lengthBytes: 32 } as const;
  key = importKey(fixture.token, kind, AES);
});
afterAll(() => fixture[Symbol.dispose]());

const refused = (code: string): unknown => expect.objectContaining({ code });

test('a megabyte in CTR is what OpenSSL makes of it, from any counter', () => {
  const data = randomBytes(1 << 20);
  const outside = createCipheriv('aes-256-ctr', AES, iv);
  const cipher = { type: CKM.AES_CTR, iv, counterBits: 128 };
  const made = aesEncrypt(fixture.token, key, cipher, data);
  expect(Buffer.compare(made, outside.update(data))).toBe(0);
  expect(Buffer.compare(aesDecrypt(fixture.token, key, cipher, made), data)).toBe(0);
});

test('what is wrong wedges no session', () => {
  const { token } = fixture;
  const before = token.sessions.open;
  const pad = { type: CKM.AES_CBC_PAD, iv };
  for (let i = 0; i < 50; i += 1) {
    const wrong = aesEncrypt(token, key, { type: CKM.AES_CBC, iv }, Buffer.alloc(32, i + 17));
    expect(() => aesDecrypt(token, key, pad, wrong)).toThrow(refused('HsmDataInvalid'));
    const short = { ...pad, iv: iv.subarray(1) };
    expect(() => aesEncrypt(token, key, short, AES)).toThrow(refused('HsmMechanismParamInvalid'));
  }
  expect(token.sessions.open).toBeLessThanOrEqual(before + 2);
});

test('RSA seals and opens, and takes no number above the modulus', () => {
  const { token } = fixture;
  const pair = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const spki = pair.publicKey.export({ format: 'der', type: 'spki' });
  const bytes = pair.privateKey.export({ format: 'der', type: 'pkcs8' });
  const handle = importKey(token, { class: 'private-key', type: 'rsa' }, bytes);
  const oaep = { name: 'oaep', hash: 'sha384', mgf: 'sha1', label: iv } as const;
  for (const padding of [oaep, { name: 'pkcs1' } as const]) {
    const sealed = rsaEncryptData(spki, padding, AES);
    expect(rsaDecryptData(token, { handle, spki }, padding, sealed)).toEqual(AES);
  }
  const { n = '' } = pair.publicKey.export({ format: 'jwk' });
  const modulus = Buffer.from(n, 'base64url');
  expect(() => rawBlock(modulus, modulus)).toThrow(refused('HsmDataInvalid'));
  expect(rawBlock(Buffer.of(1), modulus)).toEqual(Buffer.concat([Buffer.alloc(255), Buffer.of(1)]));
});
