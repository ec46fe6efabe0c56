import {
  createCipheriv,
  createECDH,
  createHash,
  createHmac,
  generateKeyPairSync,
  randomBytes,
} from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { CKM, CKR } from '../../src/core/pkcs11.js';
import { CkrFailure } from '../../src/token/ckr.js';
import {
  CryptoFixture,
  SECRET_USES,
  makingFor,
  refusedWith,
  secretFor,
  type BroughtPair,
} from '../support/crypto-fixture.js';

let desk: CryptoFixture;
beforeAll(async () => {
  desk = await CryptoFixture.open();
});
afterAll(() => desk[Symbol.dispose]());

const making = (uses: readonly string[], flags: object = {}): { readonly keyId: HsmKeyId } =>
  makingFor(desk, uses, flags);
const secretOf = (
  value: Uint8Array,
  type: 'aes' | 'generic-secret',
  token = false,
): Promise<HsmKeyId> => secretFor(desk, value, { type, token });

const as: CryptoFixture['as'] = (who, operation, fields) => desk.as(who, operation, fields);
const alice: CryptoFixture['alice'] = (operation, fields) => desk.alice(operation, fields);
const DATA = Buffer.from('data');
const NOTHING = Buffer.alloc(0);
const WHOLE = randomBytes(LIMITS.p11_chunk_max_bytes);
const rsaKeys = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const ecKeys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const edKeys = generateKeyPairSync('ed25519');
const bytes = { aes: randomBytes(32), hmac: randomBytes(20) };
const keys: { aes: HsmKeyId; hmac: HsmKeyId; rsa: BroughtPair; ec: BroughtPair; ed: BroughtPair } =
  {} as never;
beforeAll(async () => {
  keys.aes = await secretOf(bytes.aes, 'aes');
  keys.hmac = await secretOf(bytes.hmac, 'generic-secret');
  const rsaUses = { secret: ['sign', 'decrypt'], open: ['verify', 'encrypt'] };
  keys.rsa = await desk.createPair(rsaKeys, rsaUses);
  keys.ec = await desk.createPair(ecKeys, { secret: ['sign', 'derive'], open: ['verify'] });
  keys.ed = await desk.createPair(edKeys, { secret: ['sign'], open: ['verify'] });
});
const cipher = (keyId: HsmKeyId, direction: string, mechanism: object, data: Uint8Array) =>
  alice('p11-cipher', { keyId, direction, mechanism, data });

describe('a cipher', () => {
  test('of AES, there and back', async () => {
    const iv = randomBytes(16);
    for (const mechanism of [
      { type: CKM.AES_CBC_PAD, iv },
      { type: CKM.AES_CTR, iv: Buffer.alloc(16), counterBits: 64 },
      { type: CKM.AES_GCM, iv, aad: DATA, tagBits: 96 },
    ]) {
      for (const plain of [NOTHING, DATA, WHOLE]) {
        const { data } = await cipher(keys.aes, 'encrypt', mechanism, plain);
        const opened = await cipher(keys.aes, 'decrypt', mechanism, data);
        expect(Buffer.from(opened.data).equals(plain)).toBe(true);
      }
    }
    const peer = createCipheriv('aes-256-cbc', bytes.aes, iv);
    const { data } = await cipher(keys.aes, 'encrypt', { type: CKM.AES_CBC_PAD, iv }, DATA);
    expect(data).toEqual(Buffer.concat([peer.update(DATA), peer.final()]));
  });

  test.each([
    ['AES with OAEP', () => keys.aes, { type: CKM.RSA_PKCS_OAEP }, 'HsmMechanismInvalid'],
    ['AES with PKCS #1', () => keys.aes, { type: CKM.RSA_PKCS }, 'HsmMechanismInvalid'],
    ['a secret', () => keys.hmac, { type: CKM.AES_ECB }, 'HsmMechanismInvalid'],
    ['RSA with AES', () => keys.rsa.open, { type: CKM.AES_ECB }, 'HsmMechanismInvalid'],
    [
      'OAEP without a hash',
      () => keys.rsa.open,
      { type: CKM.RSA_PKCS_OAEP, mgf: 1 },
      'HsmMechanismParamInvalid',
    ],
    [
      'OAEP with an MGF that is none',
      () => keys.rsa.open,
      { type: CKM.RSA_PKCS_OAEP, hash: CKM.SHA256, mgf: 6 },
      'HsmMechanismParamInvalid',
    ],
    [
      'a key that does not encrypt',
      () => keys.rsa.secret,
      { type: CKM.RSA_PKCS },
      'HsmUsageRefused',
    ],
    ['EC', () => keys.ec.open, { type: CKM.ECDSA }, 'HsmUsageRefused'],
    ['a key that is not there', () => newHsmKeyId(), { type: CKM.AES_ECB }, 'HsmKeyNotFound'],
  ])('is refused: %s', async (_, key, mechanism, code) => {
    expect(await refusedWith(cipher(key(), 'encrypt', mechanism, DATA))).toBe(code);
  });
});

const signed = async (keyId: HsmKeyId, mechanism: object, data: Uint8Array): Promise<Buffer> =>
  Buffer.from((await alice('p11-sign', { keyId, mechanism, data })).signature);
const holds = async (
  keyId: HsmKeyId,
  mechanism: object,
  data: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> => (await alice('p11-verify', { keyId, mechanism, data, signature })).valid;

const PSS = { type: CKM.RSA_PKCS_PSS, hash: CKM.SHA256, mgf: 2, saltLength: 32 };

describe('a signature', () => {
  test('of a MAC is verified by making it again', async () => {
    const mechanism = { type: CKM.SHA384_HMAC };
    const mac = await signed(keys.hmac, mechanism, DATA);
    expect(mac).toEqual(createHmac('sha384', bytes.hmac).update(DATA).digest());
    expect(await holds(keys.hmac, mechanism, DATA, mac)).toBe(true);
    expect(await holds(keys.hmac, mechanism, DATA, mac.subarray(1))).toBe(false);
    expect(await holds(keys.hmac, mechanism, NOTHING, mac)).toBe(false);
    const cmac = await signed(keys.aes, { type: CKM.AES_CMAC_GENERAL, macLength: 4 }, DATA);
    expect(cmac).toHaveLength(4);
    const general = { type: CKM.AES_CMAC_GENERAL, macLength: 4 };
    expect(await holds(keys.aes, general, DATA, cmac)).toBe(true);
  });

  const MISFITS: readonly [string, () => BroughtPair | HsmKeyId, object][] = [
    ['PSS with an EC key', () => keys.ec, PSS],
    ['PSS with an Ed25519 key', () => keys.ed, PSS],
    ['PSS with a secret', () => keys.hmac, PSS],
    ['PKCS #1 with an EC key', () => keys.ec, { type: CKM.SHA256_RSA_PKCS }],
    ['ECDSA with RSA', () => keys.rsa, { type: CKM.ECDSA }],
    ['ECDSA with Ed25519', () => keys.ed, { type: CKM.ECDSA_SHA256 }],
    ['EdDSA with P-256', () => keys.ec, { type: CKM.EDDSA }],
    ['HMAC with AES', () => keys.aes, { type: CKM.SHA256_HMAC }],
    ['CMAC with a secret', () => keys.hmac, { type: CKM.AES_CMAC }],
    ['HMAC with RSA', () => keys.rsa, { type: CKM.SHA256_HMAC }],
    ['what signs nothing', () => keys.rsa, { type: CKM.AES_GCM }],
  ];
  test.each(MISFITS)('is refused, and the HSM goes on: %s', async (_, key, mechanism) => {
    const of = key();
    const [own, open] = typeof of === 'string' ? [of, of] : [of.secret, of.open];
    const data = randomBytes(32);
    const signature = randomBytes(64);
    expect(await refusedWith(alice('p11-sign', { keyId: own, mechanism, data }))).toBe(
      'HsmMechanismInvalid',
    );
    const check = { keyId: open, mechanism, data, signature };
    expect(await refusedWith(alice('p11-verify', check))).toBe('HsmMechanismInvalid');
  });

  test('is not made with a public key, nor verified with a private one', async () => {
    const mechanism = { type: CKM.ECDSA };
    const fields = { mechanism, data: DATA };
    expect(await refusedWith(alice('p11-sign', { keyId: keys.ec.open, ...fields }))).toBe(
      'HsmUsageRefused',
    );
    const check = { keyId: keys.ec.secret, ...fields, signature: randomBytes(64) };
    expect(await refusedWith(alice('p11-verify', check))).toBe('HsmUsageRefused');
  });
});

describe('a stream', () => {
  const open = async (who: string, fields: object): Promise<number> =>
    (await as(who, 'stream-open', fields)).stream;
  const DIGEST = { purpose: 'digest', mechanism: { type: CKM.SHA256 } };
  const HMAC = { type: CKM.SHA256_HMAC };
  const macFields = (purpose = 'sign'): object => ({ purpose, mechanism: HMAC, keyId: keys.hmac });
  const mac = createHmac('sha256', bytes.hmac).update(DATA).update(DATA).digest();
  beforeEach(() => {
    expect(desk.fixture.machine.streams.size).toBe(0);
  });

  test('digests, for everybody who logged in', async () => {
    for (const who of ['alice', 'admin', 'app_user']) {
      const stream = await open(who, DIGEST);
      for (const data of [DATA, NOTHING, DATA]) await as(who, 'stream-update', { stream, data });
      const { value } = await as(who, 'stream-final', { stream });
      expect(value).toEqual(createHash('sha256').update(DATA).update(DATA).digest());
      expect(await refusedWith(as(who, 'stream-final', { stream }))).toBe('HsmKeyNotFound');
      const whole = await as(who, 'digest', { type: CKM.SHA512, data: NOTHING });
      expect(whole.digest).toEqual(createHash('sha512').digest());
    }
  });

  test('makes a MAC while other work goes on', async () => {
    const stream = await open('alice', macFields());
    await alice('stream-update', { stream, data: DATA });
    expect(await signed(keys.hmac, HMAC, DATA)).toHaveLength(32);
    const iv = randomBytes(16);
    await cipher(keys.aes, 'encrypt', { type: CKM.AES_CBC_PAD, iv }, DATA);
    await alice('stream-update', { stream, data: DATA });
    expect(await alice('stream-final', { stream })).toEqual({ value: mac });
  });

  test('verifies one, and tells nothing but whether it fits', async () => {
    for (const [signature, valid] of [
      [mac, true],
      [mac.subarray(1), false],
      [Buffer.alloc(32), false],
      [NOTHING, false],
      [undefined, false],
    ] as const) {
      const stream = await open('alice', macFields('verify'));
      for (const data of [DATA, DATA]) await alice('stream-update', { stream, data });
      expect(await alice('stream-final', { stream, signature })).toEqual({ valid });
    }
  });

  test('is of its login, and ends when it is closed or the login ends', async () => {
    const stream = await open('alice', macFields());
    for (const operation of ['stream-update', 'stream-final', 'stream-close'] as const) {
      const fields = { stream, ...(operation === 'stream-update' && { data: DATA }) };
      expect(await refusedWith(as('bob', operation, fields))).toBe('HsmKeyNotFound');
    }
    expect(await alice('stream-close', { stream })).toEqual({});
    expect(await refusedWith(alice('stream-update', { stream, data: DATA }))).toBe(
      'HsmKeyNotFound',
    );
    const session = await desk.fixture.login('alice', 'alice-password');
    await desk.fixture.ask('stream-open', DIGEST, { session });
    expect(desk.fixture.machine.streams.size).toBe(1);
    await desk.fixture.ask('logout', {}, { session });
    expect(desk.fixture.machine.streams.size).toBe(0);
  });

  test('of MACs are so many, and their end makes room', async () => {
    const streams: number[] = [];
    for (let i = 0; i < LIMITS.p11_mac_streams_max; i += 1) {
      streams.push(await open('alice', macFields()));
    }
    expect(await refusedWith(open('alice', macFields()))).toBe('HsmBusy');
    // what needs a session for a moment still has one
    expect(await signed(keys.hmac, HMAC, DATA)).toHaveLength(32);
    for (const stream of streams.splice(1)) await alice('stream-close', { stream });
    for (const stream of [...streams, await open('alice', macFields())]) {
      for (const data of [DATA, DATA]) await alice('stream-update', { stream, data });
      expect(await alice('stream-final', { stream })).toEqual({ value: mac });
    }
  });

  test('that fails is over', async () => {
    const stream = await open('alice', macFields());
    const broken = vi.spyOn(desk.fixture.machine.token.cryptoki, 'C_SignUpdate');
    broken.mockImplementation(() => {
      throw new CkrFailure(CKR.DEVICE_ERROR, 'C_SignUpdate');
    });
    expect(await refusedWith(alice('stream-update', { stream, data: DATA }))).toBe(
      'HsmDeviceError',
    );
    broken.mockRestore();
    expect(await refusedWith(alice('stream-update', { stream, data: DATA }))).toBe(
      'HsmKeyNotFound',
    );
  });

  test.each([
    ['a MAC without a key', () => ({ purpose: 'sign', mechanism: HMAC }), 'HsmBadFrame'],
    ['no digest', () => ({ ...DIGEST, mechanism: HMAC }), 'HsmMechanismInvalid'],
    [
      'a signature',
      () => ({ purpose: 'sign', mechanism: { type: CKM.ECDSA_SHA256 }, keyId: keys.ec.secret }),
      'HsmMechanismInvalid',
    ],
    [
      'a key of another kind',
      () => ({ purpose: 'sign', mechanism: HMAC, keyId: keys.aes }),
      'HsmMechanismInvalid',
    ],
    [
      'a general MAC without a length',
      () => ({ purpose: 'sign', mechanism: { type: CKM.SHA_1_HMAC_GENERAL }, keyId: keys.hmac }),
      'HsmMechanismParamInvalid',
    ],
  ])('does not begin: %s', async (_, fields, code) => {
    expect(await refusedWith(open('alice', fields()))).toBe(code);
    expect(desk.fixture.machine.streams.size).toBe(0);
  });
});

describe('a key that two agree upon', () => {
  const peer = createECDH('prime256v1');
  const publicData = peer.generateKeys();
  const flags = { extractable: true };
  const derive = async (more: object): Promise<HsmKeyId> => {
    const key = making(SECRET_USES, flags);
    const fields = { baseId: keys.ec.secret, key, type: 'generic-secret', kdf: 1, publicData };
    await alice('p11-derive', { ...fields, isSession: true, ...more });
    return key.keyId;
  };
  const valueOf = async (keyId: HsmKeyId): Promise<Buffer> =>
    Buffer.from((await alice('object-reveal', { keyId })).value);
  const shared = (): Buffer => {
    const { x = '', y = '' } = ecKeys.publicKey.export({ format: 'jwk' });
    const point = [Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')];
    return peer.computeSecret(Buffer.concat(point));
  };

  test('is the one of node:crypto, whole and cut', async () => {
    expect(await valueOf(await derive({}))).toEqual(shared());
    expect(await valueOf(await derive({ length: 20 }))).toEqual(shared().subarray(12));
    const cut = await derive({ type: 'aes', length: 16 });
    expect(await valueOf(cut)).toEqual(shared().subarray(16));
    const block = await cipher(cut, 'encrypt', { type: CKM.AES_ECB }, Buffer.alloc(16));
    const ecb = createCipheriv('aes-128-ecb', shared().subarray(16), null);
    expect(block.data).toEqual(ecb.update(Buffer.alloc(16)));
    const kdf = createHash('sha256')
      .update(shared())
      .update(Buffer.of(0, 0, 0, 1));
    const hashed = await derive({ kdf: 6, type: 'aes', length: 32, sharedData: DATA });
    expect(await valueOf(hashed)).toEqual(kdf.update(DATA).digest());
  });

  test('is one of the cluster when it is asked for so', async () => {
    const key = making(['sign']);
    const type = 'generic-secret';
    const fields = { baseId: keys.ec.secret, key, type, kdf: 1, publicData };
    const { masked, proof } = await alice('p11-derive', fields);
    expect(proof).toHaveLength(16);
    expect((await as('app_user', 'insert', { masked })).keyId).toBe(key.keyId);
    const expected = createHmac('sha256', shared()).update(DATA).digest();
    expect(await signed(key.keyId, { type: CKM.SHA256_HMAC }, DATA)).toEqual(expected);
    expect(await refusedWith(alice('p11-derive', fields))).toBe('HsmAlreadyExists');
    await as('app_user', 'discard', { keyId: key.keyId });
  });

  test.each([
    ['a point that is none', { publicData: Buffer.alloc(65, 4) }, 'HsmMechanismParamInvalid'],
    ['a KDF that is none', { kdf: 3 }, 'HsmMechanismParamInvalid'],
    ['more than there is', { length: 33 }, 'HsmMechanismParamInvalid'],
    ['an AES key of 20 bytes', { type: 'aes', length: 20 }, 'HsmDataInvalid'],
  ])('is not made of %s', async (_, more, code) => {
    expect(await refusedWith(derive(more))).toBe(code);
  });

  test('is not made with a key that is not for it', async () => {
    for (const baseId of [keys.ec.open, keys.ed.secret, keys.rsa.secret, keys.aes]) {
      expect(await refusedWith(derive({ baseId }))).toBe('HsmUsageRefused');
    }
    const uses = { secret: ['sign', 'derive'], open: [] };
    for (const made of [rsaKeys, edKeys]) {
      const other = await desk.createPair(made, uses).then(
        ({ secret: baseId }) => refusedWith(derive({ baseId })),
        (error: { code: string }) => error.code,
      );
      expect(['HsmMechanismInvalid', 'HsmAttributeRefused']).toContain(other);
    }
  });
});
