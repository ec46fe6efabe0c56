import {
  constants,
  createHash,
  createHmac,
  generateKeyPairSync,
  privateEncrypt,
  publicDecrypt,
  randomBytes,
  verify,
  type KeyObject,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { CKM, CKR } from '../../src/core/pkcs11.js';
import { CkrFailure } from '../../src/token/ckr.js';
import {
  digestInPieces,
  digestOf,
  hashNamed,
  isCmac,
  macInPieces,
  signAs,
  signatureKind,
  type SignatureMechanism,
  type SigningKey,
} from '../../src/token/data-signature.js';
import { verifyAs } from '../../src/token/data-verification.js';
import { importSecret, importSeed } from '../../src/token/key-import.js';
import type { EcCurve, KeyKind } from '../../src/token/key-kind.js';
import { importKey } from '../../src/token/key-transport.js';
import type { Handle } from '../../src/token/token.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const code = (name: string): unknown => expect.objectContaining({ code: name });
const spkiOf = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' });
const imported = (kind: KeyKind, key: KeyObject): Handle =>
  importKey(fixture.token, kind, key.export({ format: 'der', type: 'pkcs8' }));
const aesKey = (bytes: Uint8Array): Handle => {
  const lengthBytes = bytes.length as 16 | 24 | 32;
  return importKey(fixture.token, { class: 'secret-key', type: 'aes', lengthBytes }, bytes);
};
const mac = (handle: Handle, mechanism: SignatureMechanism, data: Uint8Array): string =>
  signAs(fixture.token, { handle }, mechanism, data).toString('hex');
/** A MAC of the data in these pieces. */
function macOf(handle: Handle, mechanism: SignatureMechanism, pieces: Uint8Array[]): string {
  const work = macInPieces(fixture.token, handle, mechanism);
  for (const piece of pieces) work.update(piece);
  return work.final().toString('hex');
}

/** The data as a whole, and cut up. */
const CUTS = [1, 7, 16, 64];
const inPieces = (data: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(data.length / size) }, (_, at) =>
    data.subarray(at * size, (at + 1) * size),
  );

const DATA = Buffer.from('what is signed');
const NOTHING = Buffer.alloc(0);
const HASHED = [
  ['sha1', CKM.SHA_1, CKM.SHA_1_HMAC, CKM.SHA_1_HMAC_GENERAL, 1],
  ['sha224', CKM.SHA224, CKM.SHA224_HMAC, CKM.SHA224_HMAC_GENERAL, 5],
  ['sha256', CKM.SHA256, CKM.SHA256_HMAC, CKM.SHA256_HMAC_GENERAL, 2],
  ['sha384', CKM.SHA384, CKM.SHA384_HMAC, CKM.SHA384_HMAC_GENERAL, 3],
  ['sha512', CKM.SHA512, CKM.SHA512_HMAC, CKM.SHA512_HMAC_GENERAL, 4],
] as const;
const digest = (name: string, data: Uint8Array): Buffer => createHash(name).update(data).digest();

describe('the published vectors', () => {
  test.each([
    [
      '1',
      '0b'.repeat(20),
      Buffer.from('Hi There'),
      'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
      '87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde' +
        'daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854',
    ],
    [
      '2',
      Buffer.from('Jefe').toString('hex'),
      Buffer.from('what do ya want for nothing?'),
      '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
      '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554' +
        '9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
    ],
    [
      '6',
      'aa'.repeat(131),
      Buffer.from('Test Using Larger Than Block-Size Key - Hash Key First'),
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
      '80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f352' +
        '6b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598',
    ],
  ])('HMAC: RFC 4231, test case %s', (_, key, data, sha256, sha512) => {
    const handle = importSecret(fixture.token, hex(key));
    for (const [type, expected] of [
      [CKM.SHA256_HMAC, sha256],
      [CKM.SHA512_HMAC, sha512],
    ] as const) {
      expect(mac(handle, { type }, data)).toBe(expected);
      for (const size of CUTS) expect(macOf(handle, { type }, inPieces(data, size))).toBe(expected);
    }
  });

  test.each([
    ['nothing', 0, 'bb1d6929e95937287fa37d129b756746'],
    ['16 bytes', 16, '070a16b46b4d4144f79bdd9dd04a287c'],
    ['40 bytes', 40, 'dfa66747de9ae63030ca32611497c827'],
    ['64 bytes', 64, '51f0bebf7e3b9d92fc49741779363cfe'],
  ])('AES-CMAC of %s: SP 800-38B, D.1', (_, size, expected) => {
    const handle = aesKey(hex('2b7e151628aed2a6abf7158809cf4f3c'));
    const all = hex(
      '6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51' +
        '30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710',
    );
    const data = all.subarray(0, size);
    expect(mac(handle, { type: CKM.AES_CMAC }, data)).toBe(expected);
    for (const cut of CUTS) {
      expect(macOf(handle, { type: CKM.AES_CMAC }, inPieces(data, cut))).toBe(expected);
    }
    const general = { type: CKM.AES_CMAC_GENERAL, macLength: 5 };
    expect(mac(handle, general, data)).toBe(expected.slice(0, 10));
    expect(macOf(handle, general, inPieces(data, 7))).toBe(expected.slice(0, 10));
  });

  test.each([
    [
      'of nothing (1)',
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      '',
      'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155' +
        '5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    ],
    [
      'of a byte (2)',
      '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      '72',
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
        '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    ],
  ])('EdDSA %s: RFC 8032, 7.1', (_, seed, data, expected) => {
    const key = { handle: importSeed(fixture.token, hex(seed)) };
    const signature = signAs(fixture.token, key, { type: CKM.EDDSA }, hex(data));
    expect(signature.toString('hex')).toBe(expected);
  });
});

describe.each(HASHED)('with %s', (name, number, whole, general) => {
  test('a digest and an HMAC are what node:crypto makes, whole and in pieces', () => {
    for (const size of [0, 1, 63, 64, 200, 5_000]) {
      const data = randomBytes(size);
      expect(digestOf(number, data)).toEqual(digest(name, data));
      const pieces = digestInPieces(number);
      for (const piece of inPieces(data, 50)) pieces.update(piece);
      expect(pieces.final()).toEqual(digest(name, data));
      pieces.close();
      for (const length of [1, 5, 20, 63, 64, 65, 127, 128, 129, 300, 800]) {
        const key = randomBytes(length);
        const handle = importSecret(fixture.token, key);
        const expected = createHmac(name, key).update(data).digest('hex');
        expect(mac(handle, { type: whole }, data)).toBe(expected);
        expect(macOf(handle, { type: whole }, inPieces(data, 1_000))).toBe(expected);
        const cut = { type: general, macLength: 9 };
        expect(mac(handle, cut, data)).toBe(expected.slice(0, 18));
        expect(macOf(handle, cut, [data])).toBe(expected.slice(0, 18));
        fixture.token.destroy(handle);
      }
    }
    expect(hashNamed(number)).toBe(name);
  });

  test('a general HMAC has a length, from one byte to all', () => {
    const handle = importSecret(fixture.token, randomBytes(32));
    const bytes = digest(name, NOTHING).length;
    expect(mac(handle, { type: general, macLength: bytes }, DATA)).toHaveLength(2 * bytes);
    for (const mechanism of [
      { type: general },
      { type: general, macLength: 0 },
      { type: general, macLength: bytes + 1 },
      { type: whole, macLength: bytes },
    ]) {
      expect(() => mac(handle, mechanism, DATA)).toThrow(code('HsmMechanismParamInvalid'));
      expect(() => macOf(handle, mechanism, [DATA])).toThrow(code('HsmMechanismParamInvalid'));
    }
  });
});

const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const RSA_BYTES = 256;

describe('RSA', () => {
  const spki = spkiOf(rsa.publicKey);
  let key: SigningKey;
  beforeAll(() => {
    key = { handle: imported({ class: 'private-key', type: 'rsa' }, rsa.privateKey), spki };
  });
  const sign = (mechanism: SignatureMechanism, data: Uint8Array): Buffer =>
    signAs(fixture.token, key, mechanism, data);
  const holds = (mechanism: SignatureMechanism, data: Uint8Array, signature: Buffer): boolean =>
    verifyAs(fixture.token, { spki }, mechanism, { data, signature });

  test.each([
    ['sha1', CKM.SHA1_RSA_PKCS],
    ['sha224', CKM.SHA224_RSA_PKCS],
    ['sha256', CKM.SHA256_RSA_PKCS],
    ['sha384', CKM.SHA384_RSA_PKCS],
    ['sha512', CKM.SHA512_RSA_PKCS],
  ])('PKCS #1 v1.5 with %s, of anything and of nothing', (name, type) => {
    for (const data of [DATA, NOTHING, randomBytes(5_000)]) {
      const signature = sign({ type }, data);
      expect(verify(name, data, rsa.publicKey, signature)).toBe(true);
      expect(holds({ type }, data, signature)).toBe(true);
      expect(holds({ type }, Buffer.concat([data, Buffer.of(0)]), signature)).toBe(false);
    }
  });

  test('PKCS #1 v1.5 of what is hashed already, or is no hash', () => {
    const type = CKM.RSA_PKCS;
    for (const size of [0, 1, 20, 51, RSA_BYTES - 11]) {
      const data = randomBytes(size);
      const signature = sign({ type }, data);
      expect(signature).toEqual(privateEncrypt(rsa.privateKey, data));
      expect(publicDecrypt(rsa.publicKey, signature)).toEqual(data);
      expect(holds({ type }, data, signature)).toBe(true);
    }
    for (const size of [RSA_BYTES - 10, RSA_BYTES]) {
      expect(() => sign({ type }, randomBytes(size))).toThrow(code('HsmDataInvalid'));
      expect(() => holds({ type }, randomBytes(size), randomBytes(256))).toThrow(
        code('HsmDataInvalid'),
      );
    }
  });

  test('without padding, of numbers below the modulus', () => {
    const type = CKM.RSA_X_509;
    const { n = '' } = rsa.publicKey.export({ format: 'jwk' });
    const modulus = Buffer.from(n, 'base64url');
    for (const data of [Buffer.of(2), randomBytes(255), Buffer.alloc(256, 1), NOTHING]) {
      const block = Buffer.concat([Buffer.alloc(RSA_BYTES - data.length), data]);
      const signature = sign({ type }, data);
      const padding = constants.RSA_NO_PADDING;
      expect(publicDecrypt({ key: rsa.publicKey, padding }, signature)).toEqual(block);
      expect(holds({ type }, data, signature)).toBe(true);
      expect(holds({ type }, Buffer.of(3), signature)).toBe(false);
    }
    for (const wrong of [modulus, Buffer.alloc(256, 0xff), randomBytes(257)]) {
      expect(() => sign({ type }, wrong)).toThrow(code('HsmDataInvalid'));
    }
  });

  const PSS: Readonly<Record<string, number>> = {
    sha1: CKM.SHA1_RSA_PKCS_PSS,
    sha224: CKM.SHA224_RSA_PKCS_PSS,
    sha256: CKM.SHA256_RSA_PKCS_PSS,
    sha384: CKM.SHA384_RSA_PKCS_PSS,
    sha512: CKM.SHA512_RSA_PKCS_PSS,
  };

  test.each(HASHED)('PSS with %s, for salts of all lengths', (name, number, _, __, mgf) => {
    const bytes = digest(name, NOTHING).length;
    const most = RSA_BYTES - bytes - 2;
    for (const saltLength of [0, bytes, most]) {
      const plain = { type: CKM.RSA_PKCS_PSS, hash: number, mgf, saltLength };
      const hashing = { ...plain, type: PSS[name] ?? 0 };
      const by = { key: rsa.publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength };
      for (const signature of [sign(plain, digest(name, DATA)), sign(hashing, DATA)]) {
        expect(verify(name, DATA, by, signature)).toBe(true);
        expect(holds(plain, digest(name, DATA), signature)).toBe(true);
        expect(holds(hashing, DATA, signature)).toBe(true);
        expect(holds(hashing, NOTHING, signature)).toBe(false);
      }
      expect(verify(name, NOTHING, by, sign(hashing, NOTHING))).toBe(true);
    }
    const { retired } = fixture.token.sessions;
    const plain = { type: CKM.RSA_PKCS_PSS, hash: number, mgf, saltLength: bytes };
    for (const wrong of [
      { ...plain, saltLength: most + 1 },
      { ...plain, saltLength: 512 },
      { ...plain, mgf: (mgf % 5) + 1 },
      { ...plain, mgf: 0 },
      { type: CKM.RSA_PKCS_PSS, mgf },
      { type: CKM.RSA_PKCS_PSS, hash: number },
      { ...plain, hash: CKM.AES_CMAC },
      { ...plain, type: PSS[name === 'sha1' ? 'sha256' : 'sha1'] ?? 0 },
    ]) {
      const given = [wrong, digest(name, DATA)] as const;
      expect(() => sign(...given)).toThrow(code('HsmMechanismParamInvalid'));
      expect(() => holds(...given, randomBytes(256))).toThrow(code('HsmMechanismParamInvalid'));
    }
    for (const size of [0, bytes - 1, bytes + 1]) {
      expect(() => sign(plain, randomBytes(size))).toThrow(code('HsmDataInvalid'));
    }
    expect(fixture.token.sessions.retired).toBe(retired);
  });
});

const CURVES: readonly (readonly [EcCurve, string, number])[] = [
  ['secp224r1', 'secp224r1', 28],
  ['secp256r1', 'prime256v1', 32],
  ['secp384r1', 'secp384r1', 48],
  ['secp256k1', 'secp256k1', 32],
  ['secp521r1', 'secp521r1', 66],
];
const ECDSA_HASHED = [
  ['sha1', CKM.ECDSA_SHA1],
  ['sha224', CKM.ECDSA_SHA224],
  ['sha256', CKM.ECDSA_SHA256],
  ['sha384', CKM.ECDSA_SHA384],
  ['sha512', CKM.ECDSA_SHA512],
] as const;

test.each(CURVES)('ECDSA of %s, of digests longer and shorter than the order', (curve, name, n) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: name });
  const handle = imported({ class: 'private-key', type: 'ec', curve }, privateKey);
  const key = { handle, spki: spkiOf(publicKey), curveBytes: n };
  const by = { key: publicKey, dsaEncoding: 'ieee-p1363' } as const;
  const sign = (mechanism: SignatureMechanism, data: Uint8Array): Buffer =>
    signAs(fixture.token, key, mechanism, data);
  const holds = (mechanism: SignatureMechanism, data: Uint8Array, signature: Buffer): boolean =>
    verifyAs(fixture.token, key, mechanism, { data, signature });
  for (const [hashName, type] of ECDSA_HASHED) {
    for (const data of [DATA, NOTHING]) {
      const plain = sign({ type: CKM.ECDSA }, digest(hashName, data));
      const hashing = sign({ type }, data);
      for (const signature of [plain, hashing]) {
        expect(signature).toHaveLength(2 * n);
        expect(verify(hashName, data, by, signature)).toBe(true);
        expect(holds({ type: CKM.ECDSA }, digest(hashName, data), signature)).toBe(true);
        expect(holds({ type }, data, signature)).toBe(true);
        expect(holds({ type }, Buffer.from('other'), signature)).toBe(false);
      }
    }
  }
  // no hash is so long: what is left over does not count
  const long = randomBytes(200);
  const signature = sign({ type: CKM.ECDSA }, long);
  expect(holds({ type: CKM.ECDSA }, long.subarray(0, n), signature)).toBe(true);
  expect(holds({ type: CKM.ECDSA }, Buffer.of(1), sign({ type: CKM.ECDSA }, Buffer.of(1)))).toBe(
    true,
  );
  expect(() => sign({ type: CKM.ECDSA }, NOTHING)).toThrow(code('HsmDataInvalid'));
});

describe('a MAC in pieces', () => {
  const type = CKM.SHA256_HMAC;
  const bytes = randomBytes(32);
  const expected = createHmac('sha256', bytes).update(DATA).digest();
  let handle: Handle;
  beforeAll(() => {
    handle = importSecret(fixture.token, bytes);
  });

  test('goes on while other work is done, and is of nothing at all', () => {
    const one = macInPieces(fixture.token, handle, { type });
    const other = macInPieces(fixture.token, handle, { type });
    one.update(DATA.subarray(0, 3));
    expect(mac(handle, { type }, DATA)).toBe(expected.toString('hex'));
    one.update(NOTHING);
    one.update(DATA.subarray(3));
    expect(one.final()).toEqual(expected);
    expect(other.final()).toEqual(createHmac('sha256', bytes).digest());
  });

  test('keeps its session until it ends, and gives it back', () => {
    const { sessions } = fixture.token;
    const { retired } = sessions;
    const give = vi.spyOn(sessions, 'give');
    macInPieces(fixture.token, handle, { type }).final();
    expect(give).toHaveBeenCalledTimes(1);
    expect(sessions.retired).toBe(retired);
    const left = macInPieces(fixture.token, handle, { type });
    left.update(DATA);
    left.close();
    left.close();
    expect(sessions.retired).toBe(retired + 1);
    expect(give).toHaveBeenCalledTimes(1);
    give.mockRestore();
  });

  test.each(['C_SignInit', 'C_SignUpdate', 'C_SignFinal'] as const)(
    'is over, without its session, when %s fails',
    (call) => {
      const { sessions, cryptoki } = fixture.token;
      const { retired } = sessions;
      const broken = vi.spyOn(cryptoki, call).mockImplementation(() => {
        throw new CkrFailure(CKR.DEVICE_ERROR, call);
      });
      const work = (): void => {
        const pieces = macInPieces(fixture.token, handle, { type });
        try {
          pieces.update(DATA);
          pieces.final();
        } catch (error) {
          expect(() => pieces.final()).toThrow(code('HsmDeviceError'));
          pieces.close();
          throw error;
        }
      };
      expect(work).toThrow(code('HsmDeviceError'));
      expect(sessions.retired).toBe(retired + 1);
      broken.mockRestore();
      expect(macOf(handle, { type }, [DATA])).toBe(expected.toString('hex'));
    },
  );

  test('is refused with a key that is not for it', () => {
    const aes = aesKey(randomBytes(16));
    expect(() => macInPieces(fixture.token, aes, { type })).toThrow(code('HsmUsageRefused'));
    const secret = { type: CKM.AES_CMAC };
    expect(() => macInPieces(fixture.token, handle, secret)).toThrow(code('HsmUsageRefused'));
  });
});

test('a mechanism is of one kind, or none', () => {
  expect(signatureKind(CKM.RSA_PKCS)).toBe('rsa');
  expect(signatureKind(CKM.SHA384_RSA_PKCS_PSS)).toBe('pss');
  expect(signatureKind(CKM.ECDSA_SHA224)).toBe('ecdsa');
  expect(signatureKind(CKM.EDDSA)).toBe('eddsa');
  expect(signatureKind(CKM.SHA512_HMAC_GENERAL)).toBe('mac');
  for (const type of [CKM.AES_GCM, CKM.SHA256, CKM.ECDH1_DERIVE, 0xffff_ffff]) {
    expect(() => signatureKind(type)).toThrow(code('HsmMechanismInvalid'));
  }
  for (const type of [CKM.AES_CMAC, CKM.SHA256_HMAC, 0]) {
    expect(() => digestOf(type, DATA)).toThrow(code('HsmMechanismInvalid'));
    expect(() => digestInPieces(type)).toThrow(code('HsmMechanismInvalid'));
  }
  expect(hashNamed(undefined)).toBeUndefined();
  expect([CKM.AES_CMAC, CKM.AES_CMAC_GENERAL, CKM.SHA256_HMAC].map(isCmac)).toEqual([
    true,
    true,
    false,
  ]);
});
