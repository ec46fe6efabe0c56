import {
  constants,
  createCipheriv,
  createECDH,
  createHash,
  createHmac,
  generateKeyPairSync,
  publicEncrypt,
  randomBytes,
  sign as signOutside,
  verify as verifyOutside,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { CKM } from '../../src/core/pkcs11.js';
import type { HsmOperation, HsmResults } from '../../src/protocol/hsm-frames.js';
import { MachineFixture, PASSWORDS } from '../support/hsm-machine.js';

let fixture: MachineFixture;
const sessions: Record<string, number> = {};
const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pkcs8 = { format: 'der', type: 'pkcs8' } as const;
const spki = { format: 'der', type: 'spki' } as const;
const AES = randomBytes(32);
const ids: Record<string, HsmKeyId> = {};

const as = <Op extends HsmOperation>(
  who: string,
  operation: Op,
  fields: unknown,
): Promise<HsmResults[Op]> => fixture.ask(operation, fields, { session: sessions[who] });
const refusal = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

let count = 0;
const USES = ['encrypt', 'decrypt', 'sign', 'verify', 'derive', 'extractable', 'modifiable'];
function making(uses: readonly string[], more: object = {}): { keyId: HsmKeyId } {
  count += 1;
  const reference = `0x${count.toString(16).padStart(16, '0')}`;
  const given = Object.fromEntries(uses.map((use) => [use, true]));
  return { keyId: newHsmKeyId(), reference, label: 'key', given, pkcs11: true, ...more } as {
    keyId: HsmKeyId;
  };
}

async function create(content: object, uses: readonly string[], more = {}): Promise<HsmKeyId> {
  const key = making(uses, more);
  await as('alice', 'object-create', { key, content, isSession: true });
  return key.keyId;
}

beforeAll(async () => {
  fixture = await MachineFixture.founded();
  const before = await fixture.login('admin', PASSWORDS.admin);
  await fixture.ask('activate', { password: 'admin-password' }, { session: before });
  sessions['admin'] = await fixture.login('admin', 'admin-password');
  for (const username of ['alice', 'bob']) {
    const user = { username, role: 'crypto-user', password: `${username}-password` };
    await fixture.ask('user-create', user, { session: sessions['admin'] });
    sessions[username] = await fixture.login(username, `${username}-password`);
  }
  sessions['app_user'] = await fixture.login('app_user', PASSWORDS.app_user);
  const privateUses = ['sign', 'decrypt', 'derive', 'private', 'modifiable'];
  const publicUses = ['verify', 'encrypt', 'modifiable'];
  const priv = (key: typeof rsa): object => ({
    kind: 'private-key',
    value: key.privateKey.export(pkcs8),
  });
  const open = (key: typeof rsa): object => ({
    kind: 'public-key',
    value: key.publicKey.export(spki),
  });
  const secret = USES.filter((use) => use !== 'derive');
  ids['rsa'] = await create(priv(rsa), privateUses);
  ids['rsaPublic'] = await create(open(rsa), publicUses);
  ids['ec'] = await create(
    priv(ec),
    privateUses.filter((one) => one !== 'decrypt'),
  );
  ids['ecPublic'] = await create(
    open(ec),
    publicUses.filter((one) => one !== 'encrypt'),
  );
  ids['aes'] = await create({ kind: 'secret-key', type: 'aes', value: AES }, [
    ...secret,
    'private',
  ]);
});
afterAll(() => fixture[Symbol.dispose]());

const cipher = async (direction: string, mechanism: object, data: Uint8Array, key = 'aes') =>
  Buffer.from(
    (await as('alice', 'p11-cipher', { keyId: ids[key], direction, mechanism, data })).data,
  );
const sign = async (key: string, mechanism: object, data: Uint8Array): Promise<Buffer> =>
  Buffer.from((await as('alice', 'p11-sign', { keyId: ids[key], mechanism, data })).signature);
const check = async (key: string, mechanism: object, data: Uint8Array, signature: Uint8Array) =>
  (await as('alice', 'p11-verify', { keyId: ids[key], mechanism, data, signature })).valid;

const iv = randomBytes(16);

describe('AES', () => {
  test.each([
    ['ECB', { type: CKM.AES_ECB }, 'aes-256-ecb', 32, false],
    ['CBC', { type: CKM.AES_CBC, iv }, 'aes-256-cbc', 32, false],
    ['CBC-PAD', { type: CKM.AES_CBC_PAD, iv }, 'aes-256-cbc', 37, true],
    ['CBC-PAD of nothing', { type: CKM.AES_CBC_PAD, iv }, 'aes-256-cbc', 0, true],
    ['CTR', { type: CKM.AES_CTR, iv, counterBits: 128 }, 'aes-256-ctr', 37, false],
  ])('%s is what OpenSSL makes of it', async (_, mechanism, name, length, padded) => {
    const data = randomBytes(length);
    const outside = createCipheriv(name, AES, 'iv' in mechanism ? iv : null);
    outside.setAutoPadding(padded);
    const expected = Buffer.concat([outside.update(data), outside.final()]);
    expect(await cipher('encrypt', mechanism, data)).toEqual(expected);
    expect(await cipher('decrypt', mechanism, expected)).toEqual(data);
  });

  test.each([50, 0])('GCM of %i bytes has tags of several lengths', async (length) => {
    const data = randomBytes(length);
    const aad = Buffer.from('header');
    for (const tagBits of [128, 96, 64, 32]) {
      const mechanism = { type: CKM.AES_GCM, iv: iv.subarray(0, 12), aad, tagBits };
      const how = { authTagLength: tagBits / 8 };
      const outside = createCipheriv('aes-256-gcm', AES, iv.subarray(0, 12), how).setAAD(aad);
      const body = Buffer.concat([outside.update(data), outside.final()]);
      const expected = Buffer.concat([body, outside.getAuthTag()]);
      expect(await cipher('encrypt', mechanism, data)).toEqual(expected);
      expect(await cipher('decrypt', mechanism, expected)).toEqual(data);
      expected[3] = (expected[3] ?? 0) ^ 1;
      expect(await refusal(cipher('decrypt', mechanism, expected))).toBe('HsmDataInvalid');
    }
  });

  test.each<[string, object, number, string]>([
    ['part of a block', { type: CKM.AES_ECB }, 15, 'HsmDataInvalid'],
    ['a short IV', { type: CKM.AES_CBC, iv: iv.subarray(1) }, 16, 'HsmMechanismParamInvalid'],
    ['no IV', { type: CKM.AES_GCM }, 16, 'HsmMechanismParamInvalid'],
    ['an IV of zeros', { type: CKM.AES_GCM, iv: Buffer.alloc(12) }, 16, 'HsmMechanismParamInvalid'],
    ['a counter that comes round', { type: CKM.AES_CTR, iv, counterBits: 1 }, 33, 'HsmDataInvalid'],
    ['a mechanism of RSA', { type: CKM.RSA_PKCS }, 16, 'HsmMechanismInvalid'],
  ])('is refused for %s, and works on', async (_, mechanism, length, code) => {
    expect(await refusal(cipher('encrypt', mechanism, Buffer.alloc(length, 1)))).toBe(code);
    expect(await cipher('encrypt', { type: CKM.AES_ECB }, Buffer.alloc(16))).toHaveLength(16);
  });
});

describe('RSA', () => {
  const oaep = { type: CKM.RSA_PKCS_OAEP, hash: CKM.SHA256, mgf: 2, label: Buffer.from('l') };
  const how = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };

  test('opens what was sealed outside, with every padding', async () => {
    const secret = randomBytes(32);
    const key = rsa.publicKey;
    const sealed = publicEncrypt({ key, ...how, oaepLabel: Buffer.from('l') }, secret);
    expect(await cipher('decrypt', oaep, sealed, 'rsa')).toEqual(secret);
    const pkcs1 = publicEncrypt({ key, padding: constants.RSA_PKCS1_PADDING }, secret);
    expect(await cipher('decrypt', { type: CKM.RSA_PKCS }, pkcs1, 'rsa')).toEqual(secret);
    const block = randomBytes(256).fill(0, 0, 1);
    const raw = await cipher('encrypt', { type: CKM.RSA_X_509 }, block, 'rsaPublic');
    expect(await cipher('decrypt', { type: CKM.RSA_X_509 }, raw, 'rsa')).toEqual(block);
  });

  test('says of what does not open no more than that', async () => {
    for (const mechanism of [oaep, { type: CKM.RSA_PKCS }]) {
      const wrong = randomBytes(256).fill(0, 0, 1);
      expect(await refusal(cipher('decrypt', mechanism, wrong, 'rsa'))).toBe('HsmDataInvalid');
    }
    const above = Buffer.alloc(256, 0xff);
    const raw = { type: CKM.RSA_X_509 };
    expect(await refusal(cipher('decrypt', raw, above, 'rsa'))).toBe('HsmDataInvalid');
    expect(await refusal(cipher('encrypt', raw, above, 'rsaPublic'))).toBe('HsmDataInvalid');
    expect(await refusal(cipher('decrypt', raw, Buffer.alloc(10), 'rsa'))).toBe('HsmDataInvalid');
  });
});

describe('a signature', () => {
  const data = Buffer.from('what is signed');

  test.each([
    ['SHA256_RSA_PKCS', { type: CKM.SHA256_RSA_PKCS }, 'sha256', {}],
    ['SHA512_RSA_PKCS', { type: CKM.SHA512_RSA_PKCS }, 'sha512', {}],
    [
      'SHA256_RSA_PKCS_PSS',
      { type: CKM.SHA256_RSA_PKCS_PSS, hash: CKM.SHA256, mgf: 2, saltLength: 32 },
      'sha256',
      { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 },
    ],
  ])('%s is good outside, and one from outside is good', async (_, mechanism, hash, how) => {
    const made = await sign('rsa', mechanism, data);
    expect(verifyOutside(hash, data, { key: rsa.publicKey, ...how }, made)).toBe(true);
    const other = signOutside(hash, data, { key: rsa.privateKey, ...how });
    expect(await check('rsaPublic', mechanism, data, other)).toBe(true);
    expect(await check('rsaPublic', mechanism, Buffer.from('other'), other)).toBe(false);
  });

  test('of ECDSA takes digests of any length', async () => {
    const key = { key: ec.publicKey, dsaEncoding: 'ieee-p1363' } as const;
    for (const hash of ['sha1', 'sha256', 'sha512'] as const) {
      const digest = createHash(hash).update(data).digest();
      const made = await sign('ec', { type: CKM.ECDSA }, digest);
      expect(verifyOutside(hash, data, key, made)).toBe(true);
      expect(await check('ecPublic', { type: CKM.ECDSA }, digest, made)).toBe(true);
    }
    const none = sign('ec', { type: CKM.ECDSA }, new Uint8Array(0));
    expect(await refusal(none)).toBe('HsmDataInvalid');
  });

  test('of any bytes by RSA_PKCS and RSA_X_509', async () => {
    const made = await sign('rsa', { type: CKM.RSA_PKCS }, data);
    expect(await check('rsaPublic', { type: CKM.RSA_PKCS }, data, made)).toBe(true);
    const empty = await sign('rsa', { type: CKM.RSA_PKCS }, new Uint8Array(0));
    expect(empty).toHaveLength(256);
    const long = sign('rsa', { type: CKM.RSA_PKCS }, randomBytes(246));
    expect(await refusal(long)).toBe('HsmDataInvalid');
    const raw = await sign('rsa', { type: CKM.RSA_X_509 }, data);
    expect(raw).toHaveLength(256);
    const above = sign('rsa', { type: CKM.RSA_X_509 }, Buffer.alloc(256, 0xff));
    expect(await refusal(above)).toBe('HsmDataInvalid');
  });

  test.each<[string, string, object, string]>([
    [
      'PSS with an EC key',
      'ec',
      { type: CKM.RSA_PKCS_PSS, hash: CKM.SHA256, mgf: 2 },
      'HsmMechanismInvalid',
    ],
    ['ECDSA with an RSA key', 'rsa', { type: CKM.ECDSA }, 'HsmMechanismInvalid'],
    ['HMAC with an AES key', 'aes', { type: CKM.SHA256_HMAC }, 'HsmMechanismInvalid'],
    ['what signs nothing', 'rsa', { type: CKM.AES_CBC }, 'HsmMechanismInvalid'],
    [
      'two hashes',
      'rsa',
      { type: CKM.SHA256_RSA_PKCS_PSS, hash: CKM.SHA384, mgf: 3 },
      'HsmMechanismParamInvalid',
    ],
    [
      'another MGF',
      'rsa',
      { type: CKM.SHA256_RSA_PKCS_PSS, hash: CKM.SHA256, mgf: 1 },
      'HsmMechanismParamInvalid',
    ],
    [
      'too long a salt',
      'rsa',
      { type: CKM.SHA256_RSA_PKCS_PSS, hash: CKM.SHA256, mgf: 2, saltLength: 400 },
      'HsmMechanismParamInvalid',
    ],
  ])('is refused for %s, and the HSM goes on', async (_, key, mechanism, code) => {
    expect(await refusal(sign(key, mechanism, data))).toBe(code);
    expect(await sign('rsa', { type: CKM.SHA256_RSA_PKCS }, data)).toHaveLength(256);
  });
});

describe('a MAC', () => {
  /** RFC 4231: cases 1, 2 and 6 */
  test.each([
    ['0b'.repeat(20), Buffer.from('Hi There').toString('hex')],
    [
      Buffer.from('Jefe').toString('hex'),
      Buffer.from('what do ya want for nothing?').toString('hex'),
    ],
    ['aa'.repeat(131), Buffer.from('Test Using Larger Than Block-Size Key').toString('hex')],
  ])('of the key %s is that of RFC 4231, with keys of any length', async (key, text) => {
    const [value, data] = [Buffer.from(key, 'hex'), Buffer.from(text, 'hex')];
    const content = { kind: 'secret-key', type: 'generic-secret', value };
    ids['hmac'] = await create(content, ['sign', 'verify', 'private', 'modifiable']);
    const hashes = [
      [CKM.SHA_1_HMAC, 'sha1'],
      [CKM.SHA224_HMAC, 'sha224'],
      [CKM.SHA256_HMAC, 'sha256'],
      [CKM.SHA384_HMAC, 'sha384'],
      [CKM.SHA512_HMAC, 'sha512'],
    ] as const;
    for (const [type, name] of hashes) {
      for (const of of [data, Buffer.alloc(0)]) {
        const expected = createHmac(name, value).update(of).digest();
        expect(await sign('hmac', { type }, of)).toEqual(expected);
        expect(await check('hmac', { type }, of, expected)).toBe(true);
        expect(await check('hmac', { type }, of, expected.subarray(1))).toBe(false);
      }
    }
  });

  test('by AES-CMAC is that of SP 800-38B', async () => {
    const value = Buffer.from('2b7e151628aed2a6abf7158809cf4f3c', 'hex');
    const content = { kind: 'secret-key', type: 'aes', value };
    ids['cmac'] = await create(content, ['sign', 'verify', 'private']);
    const data = Buffer.from('6bc1bee22e409f96e93d7e117393172a', 'hex');
    const mac = await sign('cmac', { type: CKM.AES_CMAC }, data);
    expect(mac.toString('hex')).toBe('070a16b46b4d4144f79bdd9dd04a287c');
    const none = await sign('cmac', { type: CKM.AES_CMAC }, new Uint8Array(0));
    expect(none.toString('hex')).toBe('bb1d6929e95937287fa37d129b756746');
    const short = { type: CKM.AES_CMAC_GENERAL, macLength: 4 };
    expect((await sign('cmac', short, data)).toString('hex')).toBe('070a16b4');
  });
});

describe('an agreement', () => {
  const other = createECDH('prime256v1');
  other.generateKeys();
  const point = other.getPublicKey();
  const { x = '', y = '' } = ec.publicKey.export({ format: 'jwk' });
  const own = Buffer.concat([
    Buffer.of(4),
    Buffer.from(x, 'base64url'),
    Buffer.from(y, 'base64url'),
  ]);
  const shared = other.computeSecret(own);

  async function derive(more: object): Promise<Buffer> {
    const key = making(['sign', 'extractable', 'private']);
    const fields = { baseId: ids['ec'], key, type: 'generic-secret', kdf: 1, publicData: point };
    await as('alice', 'p11-derive', { ...fields, isSession: true, ...more });
    return Buffer.from((await as('alice', 'object-reveal', { keyId: key.keyId })).value);
  }

  test('comes to what the other has', async () => {
    expect(await derive({})).toEqual(shared);
    const wrapped = Buffer.concat([Buffer.of(4, 65), point]);
    expect(await derive({ publicData: wrapped })).toEqual(shared);
    // bytes go from the leading end (PKCS #11 2.40, ECDH1_DERIVE)
    expect(await derive({ length: 20 })).toEqual(shared.subarray(12));
    expect(await derive({ type: 'aes', length: 16 })).toEqual(shared.subarray(16));
  });

  test('goes through a key derivation function', async () => {
    const info = Buffer.from('info');
    const block = (counter: number): Buffer =>
      createHash('sha256')
        .update(shared)
        .update(Buffer.of(0, 0, 0, counter))
        .update(info)
        .digest();
    const expected = Buffer.concat([block(1), block(2)]).subarray(0, 40);
    expect(await derive({ kdf: 6, sharedData: info, length: 40 })).toEqual(expected);
  });

  test.each<[string, object]>([
    ['a point that is on no curve', { publicData: Buffer.alloc(65, 4) }],
    ['more bytes than there are', { length: 33 }],
    ['a function that is none', { kdf: 99 }],
  ])('is refused for %s', async (_, more) => {
    expect(await refusal(derive(more))).toBe('HsmMechanismParamInvalid');
  });
});

describe('who may', () => {
  const ecb = { direction: 'encrypt', mechanism: { type: CKM.AES_ECB }, data: Buffer.alloc(16) };

  test('is decided by the key: one of others reads as absent', async () => {
    expect(await refusal(as('bob', 'p11-cipher', { keyId: ids['aes'], ...ecb }))).toBe(
      'HsmKeyNotFound',
    );
    const content = { kind: 'secret-key', type: 'aes', value: AES };
    const idle = await create(content, ['private']);
    expect(await refusal(as('alice', 'p11-cipher', { keyId: idle, ...ecb }))).toBe(
      'HsmUsageRefused',
    );
  });

  test('of those who are no crypto-users may digest, and use what is public', async () => {
    const key = making(['verify', 'encrypt', 'modifiable']);
    const content = { kind: 'public-key', value: rsa.publicKey.export(spki) };
    await as('alice', 'object-create', { key, content, isSession: false });
    for (const who of ['admin', 'app_user']) {
      const { digest } = await as(who, 'digest', { type: CKM.SHA256, data: Buffer.from('abc') });
      expect(Buffer.from(digest).toString('hex').slice(0, 8)).toBe('ba7816bf');
      expect(await refusal(as(who, 'p11-cipher', { keyId: ids['aes'], ...ecb }))).toBe(
        'HsmKeyNotFound',
      );
      const mac = { purpose: 'sign', mechanism: { type: CKM.AES_CMAC }, keyId: ids['aes'] };
      expect(await refusal(as(who, 'stream-open', mac))).toBe('HsmKeyNotFound');
    }
  });
});

describe('a stream', () => {
  const open = async (fields: object, who = 'alice'): Promise<number> =>
    (await as(who, 'stream-open', fields)).stream;
  const digest = { purpose: 'digest', mechanism: { type: CKM.SHA256 } };

  test('digests in pieces, and ends once', async () => {
    const stream = await open(digest);
    for (const piece of ['a', '', 'bc']) {
      await as('alice', 'stream-update', { stream, data: Buffer.from(piece) });
    }
    expect(await refusal(as('bob', 'stream-update', { stream, data: AES }))).toBe('HsmKeyNotFound');
    const { value } = await as('alice', 'stream-final', { stream });
    expect(
      Buffer.from(value ?? [])
        .toString('hex')
        .slice(0, 8),
    ).toBe('ba7816bf');
    expect(await refusal(as('alice', 'stream-final', { stream }))).toBe('HsmKeyNotFound');
  });

  test('makes a MAC while other work goes on, and tells who checks no more', async () => {
    const mechanism = { type: CKM.AES_CMAC };
    const data = randomBytes(100_000);
    const streams = [
      await open({ purpose: 'sign', mechanism, keyId: ids['aes'] }),
      await open({ purpose: 'verify', mechanism, keyId: ids['aes'] }),
    ];
    for (let at = 0; at < data.length; at += 9_999) {
      const piece = data.subarray(at, at + 9_999);
      for (const stream of streams) await as('alice', 'stream-update', { stream, data: piece });
      await cipher('encrypt', { type: CKM.AES_ECB }, Buffer.alloc(16));
    }
    const expected = await sign('aes', mechanism, data);
    const [made = 0, checked = 0] = streams;
    const { value } = await as('alice', 'stream-final', { stream: made });
    expect(Buffer.from(value ?? [])).toEqual(expected);
    const told = await as('alice', 'stream-final', { stream: checked, signature: expected });
    expect(told).toEqual({ valid: true });
  });

  test('is one of so many, and ends with its login', async () => {
    const session = await fixture.login('bob', 'bob-password');
    sessions['later'] = session;
    for (let i = 0; i < LIMITS.p11_streams_max; i += 1) await open(digest, 'later');
    expect(await refusal(open(digest, 'later'))).toBe('HsmBusy');
    await fixture.ask('logout', {}, { session });
    expect(fixture.machine.streams.size).toBe(0);
    const mac = { purpose: 'sign', mechanism: { type: CKM.AES_CMAC }, keyId: ids['aes'] };
    const macs: number[] = [];
    for (let i = 0; i < LIMITS.p11_mac_streams_max; i += 1) macs.push(await open(mac));
    expect(await refusal(open(mac))).toBe('HsmBusy');
    for (const stream of macs) await as('alice', 'stream-close', { stream });
    expect(await open(mac)).toBeGreaterThan(0);
  });
});
