import {
  constants,
  createCipheriv,
  createHash,
  createHmac,
  createPublicKey,
  createECDH,
  publicEncrypt,
  randomBytes,
  verify as verifyOutside,
  type KeyObject,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CKA, CKK, CKM, CKO, CKR } from '../../src/core/pkcs11.js';
import type { P11Mechanism, P11Parameter } from '../../src/protocol/p11-mechanism.js';
import { P11Error } from '../support/p11-client.js';
import { P11Fixture, aesKey, template, type OpenedSession } from '../support/p11-fixture.js';

let fixture: P11Fixture;
let opened: OpenedSession;
let rsa: { publicKey: number; privateKey: number };
let ec: { publicKey: number; privateKey: number };
const AES = randomBytes(32);
let aes = 0;

const P256 = Buffer.from('06082a8648ce3d030107', 'hex');
/** more than one frame of an HSM holds */
const LONG = randomBytes(1_300_000);

beforeAll(async () => {
  fixture = await P11Fixture.start();
  opened = await fixture.open();
  const { client, session } = opened;
  rsa = await client.generateKeyPair(
    session,
    { type: CKM.RSA_PKCS_KEY_PAIR_GEN },
    { publicKey: template({ [CKA.MODULUS_BITS]: 2_048 }), privateKey: template({}) },
  );
  ec = await client.generateKeyPair(
    session,
    { type: CKM.EC_KEY_PAIR_GEN },
    {
      publicKey: template({ [CKA.EC_PARAMS]: P256 }),
      privateKey: template({ [CKA.DERIVE]: true }),
    },
  );
  aes = await client.create(session, aesKey(AES));
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
});

async function outside(key: number): Promise<KeyObject> {
  const { client, session } = opened;
  const info = await client.attribute(session, key, CKA.PUBLIC_KEY_INFO);
  return createPublicKey({ key: Buffer.from(info as Uint8Array), format: 'der', type: 'spki' });
}

async function refusal(work: Promise<unknown>): Promise<number> {
  try {
    await work;
  } catch (error) {
    if (error instanceof P11Error) return error.rv;
    throw error;
  }
  return CKR.OK;
}

const iv = randomBytes(16);
const gcmIv = randomBytes(12);
const aad = Buffer.from('header');
const gcm = (given: Partial<Extract<P11Parameter, { kind: 'gcm' }>> = {}): P11Mechanism => ({
  type: CKM.AES_GCM,
  parameter: { kind: 'gcm', iv: gcmIv, ivBits: 96, aad, tagBits: 128, ...given },
});

const CIPHERS: readonly [string, P11Mechanism, string, Buffer | null, boolean][] = [
  ['AES-ECB', { type: CKM.AES_ECB }, 'aes-256-ecb', null, false],
  ['AES-CBC', { type: CKM.AES_CBC, parameter: { kind: 'iv', iv } }, 'aes-256-cbc', iv, false],
  [
    'AES-CBC-PAD',
    { type: CKM.AES_CBC_PAD, parameter: { kind: 'iv', iv } },
    'aes-256-cbc',
    iv,
    true,
  ],
  [
    'AES-CTR',
    { type: CKM.AES_CTR, parameter: { kind: 'ctr', bits: 128, block: iv } },
    'aes-256-ctr',
    iv,
    true,
  ],
];

describe('encryption', () => {
  test.each(CIPHERS)('by %s is what OpenSSL makes of it, whole and in pieces', async (...one) => {
    const [, mechanism, name, start, anyLength] = one;
    const { client, session } = opened;
    for (const length of [16, 160, ...(anyLength ? [1, 31, 1_000] : []), LONG.length - 16]) {
      const data = LONG.subarray(0, length - (anyLength ? 0 : length % 16));
      const cipher = createCipheriv(name, AES, start).setAutoPadding(
        name === 'aes-256-cbc' && anyLength,
      );
      const expected = Buffer.concat([cipher.update(data), cipher.final()]);
      const whole = await client.encrypt(session, mechanism, aes, data);
      expect(Buffer.compare(whole, expected), `${length} whole`).toBe(0);
      const back = await client.decrypt(session, mechanism, aes, expected);
      expect(Buffer.compare(back, data), `${length} back`).toBe(0);
      const pieceBytes = length > 10_000 ? 400_001 : 7;
      const inPieces = await client.encrypt(session, mechanism, aes, data, { pieceBytes });
      expect(Buffer.compare(inPieces, expected), `${length} in pieces`).toBe(0);
      const apart = await client.decrypt(session, mechanism, aes, expected, { pieceBytes });
      expect(Buffer.compare(apart, data), `${length} back in pieces`).toBe(0);
    }
  });

  test('by AES-GCM is authenticated, whole and in pieces', async () => {
    const { client, session } = opened;
    const data = LONG.subarray(0, 100_003);
    const cipher = createCipheriv('aes-256-gcm', AES, gcmIv).setAAD(aad);
    const expected = Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag()]);
    for (const pieces of [{}, { pieceBytes: 40_000 }]) {
      const made = await client.encrypt(session, gcm(), aes, data, pieces);
      expect(Buffer.compare(made, expected)).toBe(0);
      const back = await client.decrypt(session, gcm(), aes, expected, pieces);
      expect(Buffer.compare(back, data)).toBe(0);
    }
    for (const length of [0, 983_040]) {
      const most = LONG.subarray(0, length);
      for (const pieces of [{}, { pieceBytes: 300_000 }]) {
        const made = await client.encrypt(session, gcm(), aes, most, pieces);
        expect(made).toHaveLength(length + 16);
        const back = await client.decrypt(session, gcm(), aes, made, pieces);
        expect(Buffer.compare(back, most)).toBe(0);
      }
    }
    const wrong = gcm({ aad: Buffer.from('other') });
    expect(await refusal(client.decrypt(session, wrong, aes, expected))).toBe(
      CKR.ENCRYPTED_DATA_INVALID,
    );
  });

  test.each<[string, P11Mechanism, number]>([
    ['GCM without an IV', gcm({ iv: new Uint8Array(0) }), CKR.MECHANISM_PARAM_INVALID],
    ['GCM with an IV of zeros', gcm({ iv: new Uint8Array(12) }), CKR.MECHANISM_PARAM_INVALID],
    ['GCM with an odd tag', gcm({ tagBits: 50 }), CKR.MECHANISM_PARAM_INVALID],
    [
      'CBC with a short IV',
      { type: CKM.AES_CBC, parameter: { kind: 'iv', iv: gcmIv } },
      CKR.MECHANISM_PARAM_INVALID,
    ],
    ['a mechanism of RSA', { type: CKM.RSA_PKCS }, CKR.KEY_TYPE_INCONSISTENT],
    ['a mechanism that signs', { type: CKM.AES_CMAC }, CKR.MECHANISM_INVALID],
    [
      'one that no HSM has',
      { type: CKM.AES_CTS, parameter: { kind: 'iv', iv } },
      CKR.MECHANISM_INVALID,
    ],
  ])('is refused for %s', async (_, mechanism, rv) => {
    const { client, session } = opened;
    expect(await client.code('C_EncryptInit', [session, mechanism, aes])).toBe(rv);
  });

  test('by RSA is opened by the private key alone, with every padding', async () => {
    const { client, session } = opened;
    const secret = randomBytes(32);
    const key = await outside(rsa.publicKey);
    const oaep = (hash: number, mgf: number, label: Buffer | null): P11Mechanism => ({
      type: CKM.RSA_PKCS_OAEP,
      parameter: { kind: 'oaep', hash, mgf, source: 1, label },
    });
    const paddings: [P11Mechanism, { padding: number; oaepHash?: string; oaepLabel?: Buffer }][] = [
      [{ type: CKM.RSA_PKCS }, { padding: constants.RSA_PKCS1_PADDING }],
      [oaep(CKM.SHA_1, 1, null), { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha1' }],
      [
        oaep(CKM.SHA256, 2, aad),
        { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256', oaepLabel: aad },
      ],
    ];
    for (const [mechanism, how] of paddings) {
      const sealed = publicEncrypt({ key, ...how }, secret);
      expect(Buffer.from(await client.decrypt(session, mechanism, rsa.privateKey, sealed))).toEqual(
        secret,
      );
      const own = await client.encrypt(session, mechanism, rsa.publicKey, secret);
      expect(Buffer.from(await client.decrypt(session, mechanism, rsa.privateKey, own))).toEqual(
        secret,
      );
    }
    const broken = randomBytes(256).fill(1, 0, 1);
    expect(
      await refusal(client.decrypt(session, { type: CKM.RSA_PKCS }, rsa.privateKey, broken)),
    ).toBe(CKR.ENCRYPTED_DATA_INVALID);
  });
});

describe('a signature', () => {
  const pss = (type: number, hash: number, mgf: number): P11Mechanism => ({
    type,
    parameter: { kind: 'pss', hash, mgf, saltLength: 32 },
  });

  test('of RSA and of ECDSA is good outside, whole and in pieces', async () => {
    const { client, session } = opened;
    const [rsaKey, ecKey] = [await outside(rsa.publicKey), await outside(ec.publicKey)];
    const isPss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
    const ieee = { dsaEncoding: 'ieee-p1363' } as const;
    for (const data of [Buffer.from('a message'), LONG]) {
      for (const pieces of [{}, { pieceBytes: 300_000 }]) {
        const check = async (mechanism: P11Mechanism, pair: typeof rsa): Promise<Uint8Array> => {
          const made = await client.sign(session, mechanism, pair.privateKey, data, pieces);
          const signed = { data, signature: made };
          await client.verify(session, mechanism, pair.publicKey, signed, pieces);
          const other = { data: Buffer.concat([data, Buffer.of(0)]), signature: made };
          expect(await refusal(client.verify(session, mechanism, pair.publicKey, other))).toBe(
            CKR.SIGNATURE_INVALID,
          );
          return made;
        };
        const plain = await check({ type: CKM.SHA256_RSA_PKCS }, rsa);
        expect(verifyOutside('sha256', data, rsaKey, plain)).toBe(true);
        const salted = await check(pss(CKM.SHA256_RSA_PKCS_PSS, CKM.SHA256, 2), rsa);
        expect(verifyOutside('sha256', data, { key: rsaKey, ...isPss }, salted)).toBe(true);
        const curved = await check({ type: CKM.ECDSA_SHA384 }, ec);
        expect(verifyOutside('sha384', data, { key: ecKey, ...ieee }, curved)).toBe(true);
      }
    }
  });

  test('of a digest is made of the digest as it is', async () => {
    const { client, session } = opened;
    const digest = createHash('sha256').update('a message').digest();
    const raw = await client.sign(session, { type: CKM.ECDSA }, ec.privateKey, digest);
    const key = await outside(ec.publicKey);
    const ieee = { key, dsaEncoding: 'ieee-p1363' } as const;
    expect(verifyOutside('sha256', Buffer.from('a message'), ieee, raw)).toBe(true);
    const salted = await client.sign(
      session,
      pss(CKM.RSA_PKCS_PSS, CKM.SHA256, 2),
      rsa.privateKey,
      digest,
    );
    expect(salted.length).toBe(256);
    const wrong = client.sign(session, pss(CKM.RSA_PKCS_PSS, CKM.SHA256, 2), rsa.privateKey, aad);
    expect(await refusal(wrong)).toBe(CKR.DATA_LEN_RANGE);
    const mixed = pss(CKM.SHA256_RSA_PKCS_PSS, CKM.SHA384, 2);
    expect(await client.code('C_SignInit', [session, mixed, rsa.privateKey])).toBe(
      CKR.MECHANISM_PARAM_INVALID,
    );
  });

  test('of Ed25519 and a MAC are good, too', async () => {
    const { client, session } = opened;
    const ed = await client.generateKeyPair(
      session,
      { type: CKM.EC_EDWARDS_KEY_PAIR_GEN },
      {
        publicKey: template({ [CKA.EC_PARAMS]: Buffer.from('06032b6570', 'hex') }),
        privateKey: template({}),
      },
    );
    const data = Buffer.from('a message');
    for (const text of [data, Buffer.alloc(0)]) {
      const made = await client.sign(session, { type: CKM.EDDSA }, ed.privateKey, text);
      expect(verifyOutside(null, text, await outside(ed.publicKey), made)).toBe(true);
    }
    const secret = randomBytes(20);
    const generic = { [CKA.CLASS]: CKO.SECRET_KEY, [CKA.KEY_TYPE]: CKK.GENERIC_SECRET };
    const key = await client.create(session, template({ ...generic, [CKA.VALUE]: secret }));
    for (const text of [data, LONG]) {
      const expected = createHmac('sha256', secret).update(text).digest();
      for (const pieces of [{}, { pieceBytes: 500_000 }]) {
        const mac = await client.sign(session, { type: CKM.SHA256_HMAC }, key, text, pieces);
        expect(Buffer.from(mac)).toEqual(expected);
        const signed = { data: text, signature: mac };
        await client.verify(session, { type: CKM.SHA256_HMAC }, key, signed, pieces);
      }
    }
    const short: P11Mechanism = {
      type: CKM.SHA256_HMAC_GENERAL,
      parameter: { kind: 'length', length: 10 },
    };
    const head = createHmac('sha256', secret).update(data).digest().subarray(0, 10);
    expect(Buffer.from(await client.sign(session, short, key, data))).toEqual(head);
  });
});

describe('a digest', () => {
  test('is made without a login, whole and in pieces', async () => {
    const { client, session } = await fixture.open({});
    const algorithms = [
      [CKM.SHA_1, 'sha1'],
      [CKM.SHA224, 'sha224'],
      [CKM.SHA256, 'sha256'],
      [CKM.SHA384, 'sha384'],
      [CKM.SHA512, 'sha512'],
    ] as const;
    for (const [type, name] of algorithms) {
      for (const data of [Buffer.alloc(0), Buffer.from('abc'), LONG]) {
        const expected = createHash(name).update(data).digest();
        expect(Buffer.from(await client.digest(session, { type }, data))).toEqual(expected);
        const pieces = { pieceBytes: 400_000 };
        expect(Buffer.from(await client.digest(session, { type }, data, pieces))).toEqual(expected);
      }
    }
    expect((await client.random(session, 5_000)).length).toBe(5_000);
    expect((await client.random(session, 0)).length).toBe(0);
  });

  test('takes a key in that could be read, and no other', async () => {
    const { client, session } = opened;
    const value = randomBytes(16);
    const open = { [CKA.SENSITIVE]: false, [CKA.EXTRACTABLE]: true };
    const key = await client.create(session, aesKey(value, open));
    await client.call('C_DigestInit', [session, { type: CKM.SHA256 }]);
    expect(await client.code('C_DigestKey', [session, aes])).toBe(CKR.KEY_INDIGESTIBLE);
    await client.call('C_DigestKey', [session, key]);
    const [digest] = await client.call('C_DigestFinal', [session, 64]);
    expect(Buffer.from(digest as Uint8Array)).toEqual(createHash('sha256').update(value).digest());
  });
});

describe('keys', () => {
  test('travel under other keys', async () => {
    const { client, session } = opened;
    const value = randomBytes(32);
    const open = { [CKA.SENSITIVE]: false, [CKA.EXTRACTABLE]: true };
    const key = await client.create(session, aesKey(value, open));
    const oaep: P11Mechanism = {
      type: CKM.RSA_PKCS_OAEP,
      parameter: { kind: 'oaep', hash: CKM.SHA256, mgf: 2, source: 1, label: null },
    };
    for (const mechanism of [{ type: CKM.RSA_PKCS }, oaep]) {
      const wrapped = await client.wrap(session, mechanism, { wrapping: rsa.publicKey, key });
      const again = await client.unwrap(
        session,
        mechanism,
        { unwrapping: rsa.privateKey, wrapped },
        template({ [CKA.CLASS]: CKO.SECRET_KEY, [CKA.KEY_TYPE]: CKK.AES, ...open }),
      );
      const read = await client.attribute(session, again, CKA.VALUE);
      expect(Buffer.from(read as Uint8Array)).toEqual(value);
      expect(await client.attribute(session, again, CKA.LOCAL)).toBe(false);
    }
    const stays = client.wrap(session, oaep, { wrapping: rsa.publicKey, key: aes });
    expect(await refusal(stays)).toBe(CKR.KEY_UNEXTRACTABLE);
    const garbage = { unwrapping: rsa.privateKey, wrapped: randomBytes(256).fill(0, 0, 1) };
    const kind = template({ [CKA.CLASS]: CKO.SECRET_KEY, [CKA.KEY_TYPE]: CKK.AES });
    expect(await refusal(client.unwrap(session, oaep, garbage, kind))).toBe(
      CKR.WRAPPED_KEY_INVALID,
    );
  });

  test('are agreed upon with somebody outside', async () => {
    const { client, session } = opened;
    const other = createECDH('prime256v1');
    other.generateKeys();
    const spki = await outside(ec.publicKey);
    const { x = '', y = '' } = spki.export({ format: 'jwk' });
    const point = Buffer.concat([
      Buffer.of(4),
      Buffer.from(x, 'base64url'),
      Buffer.from(y, 'base64url'),
    ]);
    const shared = other.computeSecret(point);
    const ecdh = (publicData: Buffer): P11Mechanism => ({
      type: CKM.ECDH1_DERIVE,
      parameter: { kind: 'ecdh', kdf: 1, sharedData: null, publicData },
    });
    const made = template({
      [CKA.CLASS]: CKO.SECRET_KEY,
      [CKA.KEY_TYPE]: CKK.GENERIC_SECRET,
      [CKA.SENSITIVE]: false,
      [CKA.EXTRACTABLE]: true,
    });
    const key = await client.derive(session, ecdh(other.getPublicKey()), ec.privateKey, made);
    const read = await client.attribute(session, key, CKA.VALUE);
    expect(Buffer.from(read as Uint8Array)).toEqual(shared);
    const wrong = client.derive(session, ecdh(randomBytes(65)), ec.privateKey, made);
    expect(await refusal(wrong)).toBe(CKR.MECHANISM_PARAM_INVALID);
  });
});

describe('an operation', () => {
  test('has begun or has not', async () => {
    const { client, session } = opened;
    const sign = { type: CKM.SHA256_RSA_PKCS };
    expect(await client.code('C_Sign', [session, aad, 512])).toBe(CKR.OPERATION_NOT_INITIALIZED);
    await client.call('C_SignInit', [session, sign, rsa.privateKey]);
    expect(await client.code('C_SignInit', [session, sign, rsa.privateKey])).toBe(
      CKR.OPERATION_ACTIVE,
    );
    // another kind is another operation
    await client.call('C_DigestInit', [session, { type: CKM.SHA256 }]);
    await client.call('C_SignUpdate', [session, aad]);
    expect(await client.code('C_Sign', [session, aad, 512])).toBe(CKR.OPERATION_ACTIVE);
    expect((await client.call('C_SignFinal', [session, 512]))[0]).toHaveLength(256);
    expect(await client.code('C_SignFinal', [session, 512])).toBe(CKR.OPERATION_NOT_INITIALIZED);
    await client.call('C_DigestInit', [session, null]);
    expect(await client.code('C_DigestFinal', [session, 64])).toBe(CKR.OPERATION_NOT_INITIALIZED);
  });

  test('stays when the buffer is too small, or its size is asked for', async () => {
    const { client, session } = opened;
    await client.call('C_SignInit', [session, { type: CKM.SHA256_RSA_PKCS }, rsa.privateKey]);
    expect(await client.call('C_Sign', [session, aad, 'none'])).toEqual([256]);
    expect(await client.call('C_Sign', [session, aad, 100])).toEqual([256]);
    expect((await client.call('C_Sign', [session, aad, 256]))[0]).toHaveLength(256);
    const cbc: P11Mechanism = { type: CKM.AES_CBC_PAD, parameter: { kind: 'iv', iv } };
    const sealed = await client.encrypt(session, cbc, aes, aad);
    await client.call('C_DecryptInit', [session, cbc, aes]);
    expect(await client.call('C_Decrypt', [session, sealed, 'none'])).toEqual([16]);
    expect(await client.call('C_Decrypt', [session, sealed, 2])).toEqual([aad.length]);
    const [back] = await client.call('C_Decrypt', [session, sealed, 6]);
    expect(Buffer.from(back as Uint8Array)).toEqual(aad);
  });

  test('needs a key that is there, is for it, and may', async () => {
    const { client, session } = opened;
    const init = async (mechanism: P11Mechanism, key: number): Promise<number> =>
      await client.code('C_SignInit', [session, mechanism, key]);
    expect(await init({ type: CKM.RSA_PKCS }, 9_999)).toBe(CKR.KEY_HANDLE_INVALID);
    expect(await init({ type: CKM.RSA_PKCS }, rsa.publicKey)).toBe(CKR.KEY_TYPE_INCONSISTENT);
    expect(await init({ type: CKM.ECDSA }, rsa.privateKey)).toBe(CKR.KEY_TYPE_INCONSISTENT);
    expect(await init({ type: CKM.AES_ECB }, aes)).toBe(CKR.MECHANISM_INVALID);
    const idle = await client.create(session, aesKey(AES, { [CKA.SIGN]: false }));
    expect(await init({ type: CKM.AES_CMAC }, idle)).toBe(CKR.KEY_FUNCTION_NOT_PERMITTED);
    const limited = { [CKA.ALLOWED_MECHANISMS]: [CKM.AES_CBC] };
    const narrow = await client.create(session, aesKey(AES, limited));
    expect(await init({ type: CKM.AES_CMAC }, narrow)).toBe(CKR.MECHANISM_INVALID);
  });

  test('of one session waits for the one before, and not for those of others', async () => {
    const { client, slot, session } = opened;
    const other = await client.open(slot);
    const order: string[] = [];
    const note = (name: string) => (): void => void order.push(name);
    const bits = template({ [CKA.MODULUS_BITS]: 2_048 });
    const mechanism = { type: CKM.RSA_PKCS_KEY_PAIR_GEN };
    const slow = client
      .call('C_GenerateKeyPair', [session, mechanism, bits, template({})])
      .then(note('pair'));
    const after = client.call('C_GetSessionInfo', [session]).then(note('same session'));
    const beside = client.random(other, 16).then(note('other session'));
    await Promise.all([slow, after, beside]);
    expect(order).toEqual(['other session', 'pair', 'same session']);
  });

  test('with data that does not fit ends with a word for it', async () => {
    const { client, session } = opened;
    const ecb = { type: CKM.AES_ECB };
    expect(await refusal(client.encrypt(session, ecb, aes, aad))).toBe(CKR.DATA_LEN_RANGE);
    expect(await refusal(client.decrypt(session, ecb, aes, aad))).toBe(CKR.ENCRYPTED_DATA_INVALID);
    const rsaData = client.sign(session, { type: CKM.RSA_PKCS }, rsa.privateKey, randomBytes(250));
    expect(await refusal(rsaData)).toBe(CKR.DATA_LEN_RANGE);
    // and the next begins as if nothing had been
    expect(await client.code('C_EncryptInit', [session, ecb, aes])).toBe(CKR.OK);
    await client.call('C_EncryptInit', [session, null, 0]);
    const short = { data: aad, signature: Buffer.alloc(10) };
    const sha = { type: CKM.SHA256_RSA_PKCS };
    expect(await refusal(client.verify(session, sha, rsa.publicKey, short))).toBe(
      CKR.SIGNATURE_LEN_RANGE,
    );
  });
});
