import { generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import type { KeyKind } from '../../src/token/key-kind.js';
import { importKey } from '../../src/token/key-transport.js';
import {
  unwrapPayload,
  wrapPayload,
  type WrapMechanism,
  type WrappingKey,
} from '../../src/token/key-wrap.js';
import { foundMaskingKeys } from '../../src/token/masking-keys.js';
import { OpenSsl } from '../support/openssl.js';
import { TokenFixture } from '../support/token-fixture.js';

const openssl = new OpenSsl();
let fixture: TokenFixture;
let pair: { publicKey: KeyObject; privateKey: KeyObject };
let rsa: WrappingKey;
let rsaFile = '';
beforeAll(() => {
  fixture = new TokenFixture();
  fixture.token.initialize({ label: 'one', ...fixture.pins });
  foundMaskingKeys(fixture.token, fixture, newMaskingKeyId());
  pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const pkcs8 = pair.privateKey.export({ format: 'der', type: 'pkcs8' });
  const handle = importKey(fixture.token, { class: 'private-key', type: 'rsa' }, pkcs8);
  rsa = { handle, spki: pair.publicKey.export({ format: 'der', type: 'spki' }) };
  rsaFile = openssl.file(pair.privateKey.export({ format: 'pem', type: 'pkcs8' }));
});
afterAll(() => {
  fixture[Symbol.dispose]();
  openssl[Symbol.dispose]();
});

function aesKey(bytes: Buffer): WrappingKey {
  const kind = { class: 'secret-key', type: 'aes', lengthBytes: bytes.length } as KeyKind;
  return { bytes, handle: importKey(fixture.token, kind, bytes) };
}

const PKCS8 = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
  format: 'der',
  type: 'pkcs8',
});

/** Decrypts what was wrapped with an AES mode of OpenSSL. */
function opensslOpens(mode: string, key: Buffer, data: Buffer, iv: string): Buffer {
  const args = ['enc', '-d', `-${mode}`, '-K', key.toString('hex'), '-iv', iv, '-nopad'];
  return openssl.run(...args, '-in', openssl.file(data));
}

describe.each([16, 24, 32])('an AES key of %i bytes', (length) => {
  const bytes = randomBytes(length);
  const back = (mechanism: WrapMechanism, payload: Buffer): Buffer => {
    const key = aesKey(bytes);
    const { data, iv } = wrapPayload(fixture.token, key, mechanism, payload);
    const opened = unwrapPayload(fixture.token, key, { ...mechanism, ...(iv && { iv }) }, data);
    expect(opened.equals(payload)).toBe(true);
    const changed = Buffer.from(data);
    changed[3] = (changed[3] ?? 0) ^ 1;
    const again = { ...mechanism, ...(iv && { iv }) };
    expect(() => unwrapPayload(fixture.token, key, again, changed)).toThrow(
      expect.objectContaining({ code: 'HsmDataInvalid' }),
    );
    return data;
  };
  const bits = length * 8;

  test('wraps without padding, as RFC 3394 says', () => {
    const payload = randomBytes(32);
    const data = back({ name: 'aes-no-pad' }, payload);
    expect(opensslOpens(`id-aes${bits}-wrap`, bytes, data, 'a6'.repeat(8)).equals(payload)).toBe(
      true,
    );
    const key = aesKey(bytes);
    expect(() =>
      wrapPayload(fixture.token, key, { name: 'aes-no-pad' }, PKCS8.subarray(1)),
    ).toThrow(/multiple of 8/);
  });

  test('wraps with zeros behind the key, as RFC 5649 says', () => {
    for (const payload of [randomBytes(7), randomBytes(32), PKCS8]) {
      const data = back({ name: 'aes-zero-pad' }, payload);
      const opened = opensslOpens(`id-aes${bits}-wrap-pad`, bytes, data, 'a65959a6');
      expect(opened.equals(payload)).toBe(true);
    }
  });

  test("wraps with PKCS #5's padding under RFC 3394", () => {
    for (const payload of [randomBytes(9), randomBytes(16), PKCS8]) {
      const data = back({ name: 'aes-pkcs5-pad' }, payload);
      const opened = opensslOpens(`id-aes${bits}-wrap`, bytes, data, 'a6'.repeat(8));
      const count = opened.at(-1) ?? 0;
      expect(opened.subarray(0, -count).equals(payload)).toBe(true);
    }
  });

  test.each([128, 96, 32])('wraps by GCM with a tag of %i bits', (tagLengthBits) => {
    const aad = Buffer.from('bound to it');
    const gcm = { name: 'aes-gcm', tagLengthBits, aad } as const;
    expect(back(gcm, PKCS8)).toHaveLength(PKCS8.length + tagLengthBits / 8);
    const own = { ...gcm, name: 'cloudhsm-aes-gcm' } as const;
    expect(back(own, PKCS8)).toHaveLength(12 + PKCS8.length + tagLengthBits / 8);
  });
});

test('AES wraps what RFC 3394 and RFC 5649 show', () => {
  const key = Buffer.from('000102030405060708090A0B0C0D0E0F', 'hex');
  const payload = Buffer.from('00112233445566778899AABBCCDDEEFF', 'hex');
  const { data } = wrapPayload(fixture.token, aesKey(key), { name: 'aes-no-pad' }, payload);
  expect(data.toString('hex')).toBe('1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5');
  const kek = Buffer.from('5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8', 'hex');
  const seven = Buffer.from('466f7250617369', 'hex');
  const wrapped = wrapPayload(fixture.token, aesKey(kek), { name: 'aes-zero-pad' }, seven);
  expect(wrapped.data.toString('hex')).toBe('afbeb0f07dfbf5419200f2ccb50bb24f');
});

describe('an RSA key', () => {
  const wrap = (mechanism: WrapMechanism, payload: Uint8Array): Buffer =>
    wrapPayload(fixture.token, { spki: rsa.spki }, mechanism, payload).data;
  const unwrap = (mechanism: WrapMechanism, data: Uint8Array): Buffer =>
    unwrapPayload(fixture.token, rsa, mechanism, data);
  const opts = (...options: string[]): string[] => options.flatMap((one) => ['-pkeyopt', one]);
  const decrypt = (data: Buffer, ...options: string[]): Buffer =>
    openssl.run(
      'pkeyutl',
      '-decrypt',
      '-inkey',
      rsaFile,
      '-in',
      openssl.file(data),
      ...opts(...options),
    );
  const encrypt = (payload: Buffer, ...options: string[]): Buffer =>
    openssl.run(
      'pkeyutl',
      '-encrypt',
      '-inkey',
      rsaFile,
      '-in',
      openssl.file(payload),
      ...opts(...options),
    );

  test.each([
    ['sha1', 'sha1'],
    ['sha256', 'sha256'],
    ['sha256', 'sha1'],
    ['sha384', 'sha512'],
    ['sha512', 'sha224'],
  ] as const)('wraps by OAEP with %s and MGF1 of %s, as OpenSSL does', (hash, mgf) => {
    const payload = randomBytes(32);
    const mechanism = { name: 'rsa-oaep', hash, mgf } as const;
    const oaep = ['rsa_padding_mode:oaep', `rsa_oaep_md:${hash}`, `rsa_mgf1_md:${mgf}`];
    expect(decrypt(wrap(mechanism, payload), ...oaep).equals(payload)).toBe(true);
    expect(unwrap(mechanism, encrypt(payload, ...oaep)).equals(payload)).toBe(true);
    expect(() => wrap(mechanism, randomBytes(240))).toThrow(/too long/);
  });

  test('wraps by PKCS #1 v1.5, as OpenSSL does', () => {
    const payload = randomBytes(245);
    const mechanism = { name: 'rsa-pkcs' } as const;
    expect(decrypt(wrap(mechanism, payload), 'rsa_padding_mode:pkcs1').equals(payload)).toBe(true);
    expect(unwrap(mechanism, encrypt(payload)).equals(payload)).toBe(true);
    expect(() => wrap(mechanism, randomBytes(246))).toThrow(/too long/);
  });

  test('wraps what is too long for it by RSA and AES together', () => {
    const mechanism = { name: 'rsa-aes', hash: 'sha256', mgf: 'sha256' } as const;
    const data = wrap(mechanism, PKCS8);
    expect(unwrap(mechanism, data).equals(PKCS8)).toBe(true);
    const oaep = ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256', 'rsa_mgf1_md:sha256'];
    const ephemeral = decrypt(data.subarray(0, 256), ...oaep);
    const rest = data.subarray(256);
    expect(opensslOpens('id-aes256-wrap-pad', ephemeral, rest, 'a65959a6').equals(PKCS8)).toBe(
      true,
    );
  });

  test('says one thing of all that may be wrong', () => {
    const wrong = { code: 'HsmDataInvalid', message: expect.stringMatching(/^the data or its/) };
    const oaep = { name: 'rsa-oaep', hash: 'sha256', mgf: 'sha256' } as const;
    const good = wrap(oaep, randomBytes(32));
    const other = wrap({ ...oaep, hash: 'sha1' }, randomBytes(32));
    for (const data of [Buffer.alloc(256), Buffer.alloc(256, 0xff), good.subarray(1), other]) {
      expect(() => unwrap(oaep, data)).toThrow(expect.objectContaining(wrong));
      expect(() => unwrap({ name: 'rsa-pkcs' }, data)).toThrow(expect.objectContaining(wrong));
    }
  });
});
