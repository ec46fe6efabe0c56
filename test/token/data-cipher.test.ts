import {
  constants,
  createCipheriv,
  generateKeyPairSync,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CKM } from '../../src/core/pkcs11.js';
import {
  aesDecrypt,
  aesEncrypt,
  rawBlock,
  rsaDecryptData,
  rsaEncryptData,
  type AesCipher,
  type RsaPadding,
} from '../../src/token/data-cipher.js';
import { importKey } from '../../src/token/key-transport.js';
import type { Handle } from '../../src/token/token.js';
import { OpenSsl } from '../support/openssl.js';
import { TokenFixture } from '../support/token-fixture.js';

const openssl = new OpenSsl();
let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => {
  fixture[Symbol.dispose]();
  openssl[Symbol.dispose]();
});

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const code = (name: string): unknown => expect.objectContaining({ code: name });

function aesKey(bytes: Uint8Array): Handle {
  const lengthBytes = bytes.length as 16 | 24 | 32;
  return importKey(fixture.token, { class: 'secret-key', type: 'aes', lengthBytes }, bytes);
}
const seal = (key: Uint8Array, cipher: AesCipher, data: Uint8Array): Buffer =>
  aesEncrypt(fixture.token, aesKey(key), cipher, data);
const open = (key: Uint8Array, cipher: AesCipher, data: Uint8Array): Buffer =>
  aesDecrypt(fixture.token, aesKey(key), cipher, data);

/** SP 800-38A, F: the keys and the plaintext of all its examples. */
const KEYS = {
  128: hex('2b7e151628aed2a6abf7158809cf4f3c'),
  192: hex('8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b'),
  256: hex('603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4'),
};
const PLAIN = hex(
  '6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51' +
    '30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710',
);
const IV = hex('000102030405060708090a0b0c0d0e0f');
const COUNTER = hex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff');

describe('the published vectors', () => {
  test.each<[string, AesCipher, Buffer, string, string]>([
    [
      'ECB-AES128 (F.1.1)',
      { type: CKM.AES_ECB },
      KEYS[128],
      '3ad77bb40d7a3660a89ecaf32466ef97',
      '7b0c785e27e8ad3f8223207104725dd4',
    ],
    [
      'CBC-AES128 (F.2.1)',
      { type: CKM.AES_CBC, iv: IV },
      KEYS[128],
      '7649abac8119b246cee98e9b12e9197d',
      '3ff1caa1681fac09120eca307586e1a7',
    ],
    [
      'CBC-AES192 (F.2.3)',
      { type: CKM.AES_CBC, iv: IV },
      KEYS[192],
      '4f021db243bc633d7178183a9fa071e8',
      '08b0e27988598881d920a9e64f5615cd',
    ],
    [
      'CBC-AES256 (F.2.5)',
      { type: CKM.AES_CBC, iv: IV },
      KEYS[256],
      'f58c4c04d6e5f1ba779eabfb5f7bfbd6',
      'b2eb05e2c39be9fcda6c19078c6a9d1b',
    ],
    [
      'CTR-AES256 (F.5.5)',
      { type: CKM.AES_CTR, iv: COUNTER, counterBits: 128 },
      KEYS[256],
      '601ec313775789a5b7a7f504bbf3d228',
      'dfc9c58db67aada613c2dd08457941a6',
    ],
  ])('SP 800-38A: %s', (_, cipher, key, first, last) => {
    const sealed = seal(key, cipher, PLAIN);
    expect(sealed).toHaveLength(64);
    expect(sealed.subarray(0, 16).toString('hex')).toBe(first);
    expect(sealed.subarray(48).toString('hex')).toBe(last);
    expect(open(key, cipher, sealed)).toEqual(PLAIN);
  });

  test('AES-GCM: test case 4 of the specification (McGrew and Viega)', () => {
    const key = hex('feffe9928665731c6d6a8f9467308308');
    const plain = hex(
      'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
        '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
    );
    const cipher = {
      type: CKM.AES_GCM,
      iv: hex('cafebabefacedbaddecaf888'),
      aad: hex('feedfacedeadbeeffeedfacedeadbeefabaddad2'),
      tagBits: 128,
    };
    const sealed = seal(key, cipher, plain);
    expect(sealed.toString('hex')).toBe(
      '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e' +
        '21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091' +
        '5bc94fbc3221a5db94fae95ae7121a47',
    );
    expect(open(key, cipher, sealed)).toEqual(plain);
  });

  test.each([
    ['1', 128, '00'.repeat(16), '00'.repeat(11) + '01', ''],
    ['13', 256, '00'.repeat(32), '00'.repeat(11) + '01', ''],
  ])('AES-GCM of nothing, as node:crypto has it: %s', (_, __, key, iv, aad) => {
    const cipher = { type: CKM.AES_GCM, iv: hex(iv), aad: hex(aad) };
    const name = key.length === 32 ? 'aes-128-gcm' : 'aes-256-gcm';
    const peer = createCipheriv(name, hex(key), hex(iv));
    peer.final();
    expect(seal(hex(key), cipher, Buffer.alloc(0))).toEqual(peer.getAuthTag());
  });
});

/** Never of zeros alone. */
const ivOf = (length: number): Buffer => Buffer.concat([Buffer.of(1), randomBytes(length - 1)]);

const SIZES = [0, 1, 15, 16, 17, 31, 32, 1_000, 4_096];

describe.each([128, 192, 256] as const)('AES-%i is what node:crypto makes', (bits) => {
  const key = randomBytes(bits / 8);
  const iv = randomBytes(16);

  test.each<[string, AesCipher, boolean]>([
    ['ecb', { type: CKM.AES_ECB }, true],
    ['cbc', { type: CKM.AES_CBC, iv }, true],
    ['cbc', { type: CKM.AES_CBC_PAD, iv }, false],
    ['ctr', { type: CKM.AES_CTR, iv, counterBits: 128 }, false],
  ])('%s', (mode, cipher, isBlocks) => {
    for (const size of SIZES) {
      const data = randomBytes(size);
      if (isBlocks && size % 16 !== 0) {
        expect(() => seal(key, cipher, data)).toThrow(code('HsmDataInvalid'));
        expect(() => open(key, cipher, data)).toThrow(code('HsmDataInvalid'));
        continue;
      }
      const given = mode === 'ecb' ? null : iv;
      const peer = createCipheriv(`aes-${bits}-${mode}`, key, given).setAutoPadding(
        cipher.type === CKM.AES_CBC_PAD,
      );
      const expected = Buffer.concat([peer.update(data), peer.final()]);
      const sealed = seal(key, cipher, data);
      expect(sealed).toEqual(expected);
      expect(open(key, cipher, sealed)).toEqual(data);
    }
  });

  test('gcm, for IVs and tags of all lengths, and for nothing at all', () => {
    for (const ivLength of [1, 8, 12, 13, 16, 60, 128]) {
      for (const tagBits of [32, 64, 96, 104, 112, 120, 128]) {
        for (const [size, aadSize] of [
          [0, 0],
          [0, 1],
          [0, 16],
          [0, 100],
          [1, 0],
          [33, 20],
        ] as const) {
          const [gcmIv, aad, data] = [ivOf(ivLength), randomBytes(aadSize), randomBytes(size)];
          const cipher = { type: CKM.AES_GCM, iv: gcmIv, aad, tagBits };
          const authTagLength = tagBits / 8;
          const peer = createCipheriv(`aes-${bits}-gcm`, key, gcmIv, { authTagLength });
          peer.setAAD(aad);
          const body = Buffer.concat([peer.update(data), peer.final()]);
          const sealed = seal(key, cipher, data);
          expect(sealed).toEqual(Buffer.concat([body, peer.getAuthTag()]));
          expect(open(key, cipher, sealed)).toEqual(data);
          const flipped = Buffer.from(sealed);
          flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1;
          expect(() => open(key, cipher, flipped)).toThrow(code('HsmDataInvalid'));
          const other = { ...cipher, aad: Buffer.concat([aad, Buffer.of(1)]) };
          expect(() => open(key, other, sealed)).toThrow(code('HsmDataInvalid'));
        }
      }
    }
    expect(() => open(key, { type: CKM.AES_GCM, iv }, randomBytes(15))).toThrow(
      code('HsmDataInvalid'),
    );
  });
});

describe('AES', () => {
  const key = randomBytes(32);
  const iv = randomBytes(16);

  test('in counter mode counts no further than it may', () => {
    const cipher = { type: CKM.AES_CTR, counterBits: 128 };
    const short = { ...cipher, iv: Buffer.alloc(16, 0), counterBits: 2 };
    expect(seal(key, short, PLAIN)).toHaveLength(64);
    // a fifth block would be encrypted as the first
    const tooLong = Buffer.concat([PLAIN, Buffer.alloc(1)]);
    for (const work of [seal, open]) {
      expect(() => work(key, short, tooLong)).toThrow(code('HsmDataInvalid'));
    }
    const last = { ...short, iv: Buffer.from(`${'00'.repeat(15)}03`, 'hex') };
    expect(seal(key, last, PLAIN.subarray(0, 16))).toHaveLength(16);
    expect(() => seal(key, last, PLAIN.subarray(0, 17))).toThrow(code('HsmDataInvalid'));
  });

  test.each<[string, AesCipher]>([
    ['CBC without an IV', { type: CKM.AES_CBC }],
    ['CBC with 12 bytes', { type: CKM.AES_CBC, iv: randomBytes(12) }],
    ['CBC-PAD with 17 bytes', { type: CKM.AES_CBC_PAD, iv: randomBytes(17) }],
    ['CTR without a counter', { type: CKM.AES_CTR, iv }],
    ['CTR with 129 bits', { type: CKM.AES_CTR, iv, counterBits: 129 }],
    ['GCM without an IV', { type: CKM.AES_GCM }],
    ['GCM with an empty IV', { type: CKM.AES_GCM, iv: Buffer.alloc(0) }],
    ['GCM with a tag of 24 bits', { type: CKM.AES_GCM, iv, tagBits: 24 }],
    ['GCM with a tag of 100 bits', { type: CKM.AES_GCM, iv, tagBits: 100 }],
    ['GCM with a tag of 136 bits', { type: CKM.AES_GCM, iv, tagBits: 136 }],
  ])('does not work with %s', (_, cipher) => {
    for (const work of [seal, open]) {
      expect(() => work(key, cipher, PLAIN)).toThrow(code('HsmMechanismParamInvalid'));
    }
  });

  test('does not pad as another mechanism', () => {
    for (const type of [CKM.RSA_PKCS, CKM.AES_CMAC, CKM.AES_KEY_WRAP, 0x8000_0001]) {
      for (const work of [seal, open]) {
        expect(() => work(key, { type, iv }, PLAIN)).toThrow(code('HsmMechanismInvalid'));
      }
    }
  });

  test('tells of wrong padding, and works on', () => {
    const cipher = { type: CKM.AES_CBC_PAD, iv };
    const whole = seal(key, { type: CKM.AES_CBC, iv }, Buffer.alloc(32));
    for (const wrong of [whole, Buffer.alloc(0), whole.subarray(0, 31)]) {
      expect(() => open(key, cipher, wrong)).toThrow(code('HsmDataInvalid'));
    }
    expect(open(key, cipher, seal(key, cipher, PLAIN))).toEqual(PLAIN);
    const { open: sessions } = fixture.token.sessions;
    for (let i = 0; i < 200; i += 1) {
      expect(() => open(key, cipher, whole)).toThrow(code('HsmDataInvalid'));
    }
    expect(fixture.token.sessions.open).toBeLessThanOrEqual(sessions + 1);
  });
});

describe('RSA', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const { n = '' } = publicKey.export({ format: 'jwk' });
  const modulus = Buffer.from(n, 'base64url');
  const { RSA_NO_PADDING, RSA_PKCS1_PADDING, RSA_PKCS1_OAEP_PADDING } = constants;
  let key: { handle: Handle; spki: Uint8Array };
  beforeAll(() => {
    const kind = { class: 'private-key', type: 'rsa' } as const;
    const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
    key = { handle: importKey(fixture.token, kind, pkcs8), spki };
  });
  const decrypt = (padding: RsaPadding, data: Uint8Array): Buffer =>
    rsaDecryptData(fixture.token, key, padding, data);
  const label = Buffer.from('a label');
  const HASHED = ['sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const;

  test('pads as PKCS #1 v1.5, both ways, for all lengths', () => {
    for (const size of [0, 1, 32, 245]) {
      const data = randomBytes(size);
      const sealed = rsaEncryptData(spki, { name: 'pkcs1' }, data);
      expect(decrypt({ name: 'pkcs1' }, sealed)).toEqual(data);
      const byNode = publicEncrypt({ key: publicKey, padding: RSA_PKCS1_PADDING }, data);
      expect(decrypt({ name: 'pkcs1' }, byNode)).toEqual(data);
      const block = privateDecrypt({ key: privateKey, padding: RSA_NO_PADDING }, sealed);
      expect(block.subarray(0, 2)).toEqual(Buffer.of(0, 2));
      expect(block.indexOf(0, 2)).toBe(255 - size);
    }
    expect(() => rsaEncryptData(spki, { name: 'pkcs1' }, randomBytes(246))).toThrow(
      code('HsmDataInvalid'),
    );
  });

  test.each(HASHED)('pads as OAEP with %s and a label, both ways', (oaepHash) => {
    const bytes = { sha1: 20, sha224: 28, sha256: 32, sha384: 48, sha512: 64 }[oaepHash];
    const most = 256 - 2 * bytes - 2;
    for (const oaepLabel of [undefined, label]) {
      const padding = {
        name: 'oaep' as const,
        hash: oaepHash,
        mgf: oaepHash,
        ...(oaepLabel && { label: oaepLabel }),
      };
      const byNode = { padding: RSA_PKCS1_OAEP_PADDING, oaepHash, ...(oaepLabel && { oaepLabel }) };
      for (const size of [0, 1, most]) {
        const data = randomBytes(size);
        const sealed = rsaEncryptData(spki, padding, data);
        expect(privateDecrypt({ key: privateKey, ...byNode }, sealed)).toEqual(data);
        expect(decrypt(padding, publicEncrypt({ key: publicKey, ...byNode }, data))).toEqual(data);
        const other = { ...padding, label: Buffer.from('another') };
        expect(() => decrypt(other, sealed)).toThrow(code('HsmDataInvalid'));
      }
      expect(() => rsaEncryptData(spki, padding, randomBytes(most + 1))).toThrow(
        code('HsmDataInvalid'),
      );
    }
  });

  test('pads as OAEP with two hashes, as OpenSSL does', () => {
    const data = randomBytes(32);
    const pem = openssl.file(publicKey.export({ format: 'pem', type: 'spki' }));
    const options = ['rsa_padding_mode:oaep', 'rsa_oaep_md:sha256', 'rsa_mgf1_md:sha1'];
    const encrypt = ['pkeyutl', '-encrypt', '-pubin', '-inkey', pem, '-in', openssl.file(data)];
    const sealed = openssl.run(...encrypt, ...options.flatMap((one) => ['-pkeyopt', one]));
    const padding = { name: 'oaep', hash: 'sha256', mgf: 'sha1' } as const;
    expect(decrypt(padding, sealed)).toEqual(data);
    expect(() => decrypt({ ...padding, mgf: 'sha256' }, sealed)).toThrow(code('HsmDataInvalid'));
  });

  test('without padding takes numbers below the modulus, of any length', () => {
    for (const data of [Buffer.alloc(0), Buffer.of(2), randomBytes(255), Buffer.alloc(256)]) {
      const block = Buffer.concat([Buffer.alloc(256 - data.length), data]);
      const sealed = rsaEncryptData(spki, { name: 'none' }, data);
      expect(privateDecrypt({ key: privateKey, padding: RSA_NO_PADDING }, sealed)).toEqual(block);
      expect(decrypt({ name: 'none' }, sealed)).toEqual(block);
    }
    const less = Buffer.from(modulus);
    less[255] = (less[255] ?? 0) - 1;
    expect(rawBlock(less, modulus)).toEqual(less);
    for (const wrong of [modulus, Buffer.alloc(256, 0xff), randomBytes(257)]) {
      expect(() => rsaEncryptData(spki, { name: 'none' }, wrong)).toThrow(code('HsmDataInvalid'));
    }
  });

  test.each<RsaPadding>([
    { name: 'none' },
    { name: 'pkcs1' },
    { name: 'oaep', hash: 'sha256', mgf: 'sha256' },
  ])('does not decrypt what no encryption made: $name', (padding) => {
    const { retired } = fixture.token.sessions;
    for (const wrong of [modulus, Buffer.alloc(256, 0xff), randomBytes(255), Buffer.alloc(0)]) {
      expect(() => decrypt(padding, wrong)).toThrow(code('HsmDataInvalid'));
    }
    expect(fixture.token.sessions.retired).toBe(retired);
    if (padding.name === 'none') return;
    // padded otherwise, and nought
    const other = rsaEncryptData(spki, { name: 'none' }, Buffer.alloc(200, 7));
    for (const wrong of [other, Buffer.alloc(256)]) {
      expect(() => decrypt(padding, wrong)).toThrow(code('HsmDataInvalid'));
    }
  });
});
