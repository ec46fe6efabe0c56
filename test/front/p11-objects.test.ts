import { X509Certificate, createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CKA, CKF, CKK, CKM, CKO, CKR } from '../../src/core/pkcs11.js';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { P11Attribute } from '../../src/protocol/p11-attributes.js';
import { eventually } from '../support/daemon-fixture.js';
import { OpenSsl } from '../support/openssl.js';
import { P11Error } from '../support/p11-client.js';
import { P11Fixture, aesKey, template, type OpenedSession } from '../support/p11-fixture.js';

let fixture: P11Fixture;
beforeAll(async () => {
  fixture = await P11Fixture.start();
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
});

const P256 = Buffer.from('06082a8648ce3d030107', 'hex');
const onToken = { [CKA.TOKEN]: true };

async function refusal(work: Promise<unknown>): Promise<number> {
  try {
    await work;
  } catch (error) {
    if (error instanceof P11Error) return error.rv;
    throw error;
  }
  return CKR.OK;
}

const find = (
  { client, session }: OpenedSession,
  given: Readonly<Record<number, string | P11Attribute['value']>>,
) => client.find(session, template(given));

describe('a secret key', () => {
  test('is made of what is brought, and told only where it is no secret', async () => {
    const opened = await fixture.open();
    const { client, session } = opened;
    const value = randomBytes(32);
    const open = { [CKA.SENSITIVE]: false, [CKA.EXTRACTABLE]: true };
    const known = await client.create(
      session,
      aesKey(value, { ...onToken, ...open, [CKA.LABEL]: 'known' }),
    );
    const hidden = await client.create(session, aesKey(value, { [CKA.LABEL]: 'hidden' }));
    expect(Buffer.from((await client.attribute(session, known, CKA.VALUE)) as Uint8Array)).toEqual(
      value,
    );
    const [[attribute], rv] = await client.call('C_GetAttributeValue', [
      session,
      hidden,
      [{ type: CKA.VALUE, room: 64 }],
    ]);
    expect([attribute?.value, rv]).toEqual([undefined, CKR.ATTRIBUTE_SENSITIVE]);
    expect(await client.attribute(session, known, CKA.VALUE_LEN)).toBe(32);
    expect(await client.attribute(session, known, CKA.LOCAL)).toBe(false);
    expect(await client.attribute(session, hidden, CKA.ALWAYS_SENSITIVE)).toBe(false);
    expect(await find(opened, { [CKA.LABEL]: 'known' })).toEqual([known]);
    expect(await find(opened, { [CKA.VALUE]: value })).toEqual([known]);
  });

  test('has defaults, and says what it is', async () => {
    const { client, session } = await fixture.open();
    const mechanism = { type: CKM.AES_KEY_GEN };
    const key = await client.generateKey(session, mechanism, template({ [CKA.VALUE_LEN]: 16 }));
    const flags = [CKA.TOKEN, CKA.PRIVATE, CKA.SENSITIVE, CKA.EXTRACTABLE, CKA.ENCRYPT, CKA.DERIVE];
    const values = await Promise.all(flags.map((type) => client.attribute(session, key, type)));
    expect(values).toEqual([false, true, true, false, true, false]);
    expect(await client.attribute(session, key, CKA.KEY_GEN_MECHANISM)).toBe(CKM.AES_KEY_GEN);
    expect(await client.attribute(session, key, CKA.NEVER_EXTRACTABLE)).toBe(true);
  });

  test.each([
    ['no length', {}, CKR.TEMPLATE_INCOMPLETE],
    ['a length that AES has not', { [CKA.VALUE_LEN]: 17 }, CKR.KEY_SIZE_RANGE],
    ['what an HSM finds out', { [CKA.VALUE_LEN]: 16, [CKA.LOCAL]: true }, CKR.ATTRIBUTE_READ_ONLY],
    ['another class', { [CKA.VALUE_LEN]: 16, [CKA.CLASS]: CKO.DATA }, CKR.TEMPLATE_INCONSISTENT],
    ['another type', { [CKA.VALUE_LEN]: 16, [CKA.KEY_TYPE]: CKK.RSA }, CKR.TEMPLATE_INCONSISTENT],
    ['what no key has', { [CKA.VALUE_LEN]: 16, [CKA.MODULUS]: P256 }, CKR.ATTRIBUTE_TYPE_INVALID],
    ['trust of its own', { [CKA.VALUE_LEN]: 16, [CKA.TRUSTED]: true }, CKR.ATTRIBUTE_READ_ONLY],
    [
      'a long id',
      { [CKA.VALUE_LEN]: 16, [CKA.ID]: Buffer.alloc(200) },
      CKR.ATTRIBUTE_VALUE_INVALID,
    ],
  ])('is not made with %s', async (_, given, rv) => {
    const { client, session } = await fixture.open();
    const asked = client.generateKey(session, { type: CKM.AES_KEY_GEN }, template(given));
    expect(await refusal(asked)).toBe(rv);
  });
});

describe('a pair', () => {
  test('of RSA and of each curve shows its public half', async () => {
    const { client, session } = await fixture.open();
    const rsa = await client.generateKeyPair(
      session,
      { type: CKM.RSA_PKCS_KEY_PAIR_GEN },
      {
        publicKey: template({ [CKA.MODULUS_BITS]: 2_048, [CKA.LABEL]: 'pair' }),
        privateKey: template({ [CKA.LABEL]: 'pair' }),
      },
    );
    const [open, secret] = Object.values(rsa) as [number, number];
    const modulus = await client.attribute(session, open, CKA.MODULUS);
    expect((modulus as Uint8Array).length).toBe(256);
    expect(await client.attribute(session, secret, CKA.MODULUS)).toEqual(modulus);
    const info = await client.attribute(session, open, CKA.PUBLIC_KEY_INFO);
    const key = createPublicKey({
      key: Buffer.from(info as Uint8Array),
      format: 'der',
      type: 'spki',
    });
    expect(key.asymmetricKeyDetails?.modulusLength).toBe(2_048);
    for (const oid of ['06052b81040021', '06052b81040022', '06052b81040023', '06052b8104000a']) {
      const parameters = Buffer.from(oid, 'hex');
      const pair = await client.generateKeyPair(
        session,
        { type: CKM.EC_KEY_PAIR_GEN },
        { publicKey: template({ [CKA.EC_PARAMS]: parameters }), privateKey: template({}) },
      );
      const [point] = Object.values(pair) as [number, number];
      expect(
        Buffer.from((await client.attribute(session, point, CKA.EC_PARAMS)) as Uint8Array),
      ).toEqual(parameters);
    }
  });

  test('whose halves are in different places is so', async () => {
    const opened = await fixture.open();
    const { client, session } = opened;
    const pair = await client.generateKeyPair(
      session,
      { type: CKM.EC_KEY_PAIR_GEN },
      {
        publicKey: template({ [CKA.EC_PARAMS]: P256, [CKA.LABEL]: 'apart' }),
        privateKey: template({ ...onToken, [CKA.LABEL]: 'apart' }),
      },
    );
    const [open, secret] = Object.values(pair) as [number, number];
    expect(await client.attribute(session, open, CKA.TOKEN)).toBe(false);
    expect(await client.attribute(session, secret, CKA.TOKEN)).toBe(true);
    const other = await fixture.open();
    expect(await find(other, { [CKA.LABEL]: 'apart' })).toHaveLength(1);
  });

  test('is brought by its numbers, and read where it may be', async () => {
    const { client, session } = await fixture.open();
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
    const jwk = privateKey.export({ format: 'jwk' }) as Record<string, string>;
    const part = (name: string): Buffer => Buffer.from(jwk[name] ?? '', 'base64url');
    const numbers = {
      [CKA.MODULUS]: part('n'),
      [CKA.PUBLIC_EXPONENT]: part('e'),
      [CKA.PRIVATE_EXPONENT]: part('d'),
      [CKA.PRIME_1]: part('p'),
      [CKA.PRIME_2]: part('q'),
      [CKA.EXPONENT_1]: part('dp'),
      [CKA.EXPONENT_2]: part('dq'),
      [CKA.COEFFICIENT]: part('qi'),
    };
    const made = { [CKA.CLASS]: CKO.PRIVATE_KEY, [CKA.KEY_TYPE]: CKK.RSA, ...numbers };
    const open = { [CKA.SENSITIVE]: false, [CKA.EXTRACTABLE]: true };
    const key = await client.create(session, template({ ...made, ...open }));
    const read = await client.attribute(session, key, CKA.PRIVATE_EXPONENT);
    expect(Buffer.from(read as Uint8Array)).toEqual(part('d'));
    const { [CKA.PRIME_1]: _, ...without } = made;
    expect(await refusal(client.create(session, template(without)))).toBe(CKR.TEMPLATE_INCOMPLETE);
    const wrong = { ...made, [CKA.PRIME_1]: Buffer.from('not a number') };
    expect(await refusal(client.create(session, template(wrong)))).toBe(
      CKR.ATTRIBUTE_VALUE_INVALID,
    );
    const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
      format: 'jwk',
    });
    const value = Buffer.from(ec.d ?? '', 'base64url');
    const point = { [CKA.KEY_TYPE]: CKK.EC, [CKA.EC_PARAMS]: P256, [CKA.VALUE]: value };
    const brought = template({ [CKA.CLASS]: CKO.PRIVATE_KEY, ...point, ...open });
    const second = await client.create(session, brought);
    expect(Buffer.from((await client.attribute(session, second, CKA.VALUE)) as Uint8Array)).toEqual(
      value,
    );
  });

  test.each([
    ['1024 bits', { [CKA.MODULUS_BITS]: 1_024 }, CKR.KEY_SIZE_RANGE],
    ['no size', {}, CKR.TEMPLATE_INCOMPLETE],
    [
      'an even exponent',
      { [CKA.MODULUS_BITS]: 2_048, [CKA.PUBLIC_EXPONENT]: Buffer.of(4) },
      CKR.ATTRIBUTE_VALUE_INVALID,
    ],
  ])('of RSA is not made with %s', async (_, given, rv) => {
    const { client, session } = await fixture.open();
    const mechanism = { type: CKM.RSA_PKCS_KEY_PAIR_GEN };
    const asked = client.generateKeyPair(session, mechanism, {
      publicKey: template(given),
      privateKey: template({}),
    });
    expect(await refusal(asked)).toBe(rv);
  });

  test('is not made on a curve that no HSM has', async () => {
    const { client, session } = await fixture.open();
    const curve = Buffer.from('06092b2403030208010107', 'hex');
    const asked = client.generateKeyPair(
      session,
      { type: CKM.EC_KEY_PAIR_GEN },
      { publicKey: template({ [CKA.EC_PARAMS]: curve }), privateKey: template({}) },
    );
    expect(await refusal(asked)).toBe(CKR.CURVE_NOT_SUPPORTED);
  });
});

describe('a certificate', () => {
  using tool = new OpenSsl();
  const ec = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null'];
  const pem = tool.run('req', '-x509', '-newkey', ...ec, '-subj', '/CN=door', '-days', '30');
  const der = new X509Certificate(pem).raw;
  const given = {
    [CKA.CLASS]: CKO.CERTIFICATE,
    [CKA.CERTIFICATE_TYPE]: 0,
    [CKA.VALUE]: der,
    [CKA.SUBJECT]: Buffer.from('300f310d300b06035504030c04646f6f72', 'hex'),
    [CKA.LABEL]: 'door',
    [CKA.ID]: Buffer.of(7),
    ...onToken,
  };

  test('is kept on every HSM, found by its value, and seen without a login', async () => {
    const opened = await fixture.open();
    const { client, session } = opened;
    const made = await client.create(session, template(given));
    expect(Buffer.from((await client.attribute(session, made, CKA.VALUE)) as Uint8Array)).toEqual(
      der,
    );
    expect(await find(opened, { [CKA.VALUE]: der })).toEqual([made]);
    const nobody = await fixture.open({});
    const [seen = 0] = await find(nobody, { [CKA.CLASS]: CKO.CERTIFICATE, [CKA.ID]: Buffer.of(7) });
    const value = await nobody.client.attribute(nobody.session, seen, CKA.VALUE, 4_096);
    expect(Buffer.from(value as Uint8Array)).toEqual(der);
    const { problems } = (await callAdmin(fixture.daemon.home, 'ClusterCheck', {
      repair: false,
    })) as unknown as { problems?: unknown[] };
    expect(problems ?? []).toEqual([]);
    for (const { id } of await fixture.daemon.hsms()) {
      await callAdmin(fixture.daemon.home, 'HsmStop', { id });
      await fixture.daemon.hsm(id, 'STOPPED');
      const other = await fixture.open();
      expect(await find(other, { [CKA.LABEL]: 'door' })).toHaveLength(1);
      await callAdmin(fixture.daemon.home, 'HsmStart', { id });
      await fixture.daemon.hsm(id);
    }
    await client.destroy(session, made);
    expect(await find(nobody, { [CKA.LABEL]: 'door' })).toEqual([]);
  });

  test('of another kind, or without a value, is refused', async () => {
    const { client, session } = await fixture.open();
    const { [CKA.VALUE]: _, ...without } = given;
    expect(await refusal(client.create(session, template(without)))).toBe(CKR.TEMPLATE_INCOMPLETE);
    const other = template({ ...given, [CKA.CERTIFICATE_TYPE]: 1 });
    expect(await refusal(client.create(session, other))).toBe(CKR.ATTRIBUTE_VALUE_INVALID);
  });
});

describe('an object', () => {
  test('is changed, copied and destroyed within its attributes', async () => {
    const opened = await fixture.open();
    const { client, session } = opened;
    const data = { [CKA.CLASS]: CKO.DATA, [CKA.VALUE]: Buffer.from('what is kept'), ...onToken };
    const object = await client.create(
      session,
      template({ ...data, [CKA.LABEL]: 'first', [CKA.APPLICATION]: 'tests' }),
    );
    await client.setAttributes(session, object, template({ [CKA.LABEL]: 'second' }));
    expect(await find(opened, { [CKA.LABEL]: 'first' })).toEqual([]);
    expect(await find(opened, { [CKA.LABEL]: 'second' })).toEqual([object]);
    const copy = await client.copy(
      session,
      object,
      template({ [CKA.LABEL]: 'copy', [CKA.TOKEN]: false }),
    );
    expect(await client.attribute(session, copy, CKA.TOKEN)).toBe(false);
    expect(
      Buffer.from(
        (await client.attribute(session, copy, CKA.APPLICATION)) as Uint8Array,
      ).toString(),
    ).toBe('tests');
    expect(
      Buffer.from((await client.attribute(session, copy, CKA.VALUE)) as Uint8Array).toString(),
    ).toBe('what is kept');
    await client.destroy(session, object);
    expect(await client.code('C_DestroyObject', [session, object])).toBe(CKR.OBJECT_HANDLE_INVALID);
    expect(await refusal(client.copy(session, object, []))).toBe(CKR.OBJECT_HANDLE_INVALID);
  });

  test('that may not be changed, copied or destroyed is not', async () => {
    const { client, session } = await fixture.open();
    const fixed = {
      [CKA.MODIFIABLE]: false,
      [CKA.COPYABLE]: false,
      [CKA.DESTROYABLE]: Buffer.of(0),
    };
    const key = await client.create(session, aesKey(randomBytes(16), fixed));
    const label = template({ [CKA.LABEL]: 'other' });
    expect(await client.code('C_SetAttributeValue', [session, key, label])).toBe(
      CKR.ACTION_PROHIBITED,
    );
    expect(await refusal(client.copy(session, key, label))).toBe(CKR.ACTION_PROHIBITED);
    expect(await client.code('C_DestroyObject', [session, key])).toBe(CKR.ACTION_PROHIBITED);
  });

  test('loses its secrecy by no change', async () => {
    const { client, session } = await fixture.open();
    const key = await client.create(session, aesKey(randomBytes(16), { [CKA.EXTRACTABLE]: true }));
    const set = async (given: Record<number, boolean>): Promise<number> =>
      await client.code('C_SetAttributeValue', [session, key, template(given)]);
    expect(await set({ [CKA.SENSITIVE]: false })).toBe(CKR.ATTRIBUTE_READ_ONLY);
    expect(await set({ [CKA.LOCAL]: true })).toBe(CKR.ATTRIBUTE_READ_ONLY);
    expect(await set({ [CKA.EXTRACTABLE]: false })).toBe(CKR.OK);
    expect(await set({ [CKA.EXTRACTABLE]: true })).toBe(CKR.ATTRIBUTE_READ_ONLY);
    expect(await refusal(client.copy(session, key, template({ [CKA.SENSITIVE]: false })))).not.toBe(
      CKR.OK,
    );
  });

  test('of a session ends with it, and is seen in no other application', async () => {
    const opened = await fixture.open();
    const { client, slot } = opened;
    const second = await client.open(slot);
    const key = await client.create(second, aesKey(randomBytes(16), { [CKA.LABEL]: 'passing' }));
    expect(await find(opened, { [CKA.LABEL]: 'passing' })).toEqual([key]);
    expect(await find(await fixture.open(), { [CKA.LABEL]: 'passing' })).toEqual([]);
    await client.call('C_CloseSession', [second]);
    expect(await find(opened, { [CKA.LABEL]: 'passing' })).toEqual([]);
    expect(await client.code('C_GetObjectSize', [opened.session, key])).toBe(
      CKR.OBJECT_HANDLE_INVALID,
    );
  });

  test('of others is seen when it is shared, and not before or after', async () => {
    const admin = await fixture.daemon.client();
    const [name = '', password = ''] = fixture.soPin.split(':');
    const officer = await admin.session({ username: name, password, role: 'admin' });
    await officer.createUser({ username: 'bob', password: 'password1', role: 'crypto-user' });
    const { client, session } = await fixture.open();
    await client.create(session, aesKey(randomBytes(16), { ...onToken, [CKA.LABEL]: 'shared' }));
    const bob = await fixture.open({ pin: 'bob:password1' });
    expect(await find(bob, { [CKA.LABEL]: 'shared' })).toEqual([]);
    const [owner = '', secret = ''] = fixture.pin.split(':');
    const login = await admin.session({ username: owner, password: secret });
    const { keys } = await login.find({ filter: { attributes: { label: 'shared' } } });
    const key = keys[0]?.['key-reference'] ?? '';
    await login.share({ key, username: 'bob' });
    await eventually(
      async () => ((await find(bob, { [CKA.LABEL]: 'shared' })).length === 1 ? true : undefined),
      'the key at bob',
    );
    await login.unshare({ key, username: 'bob' });
    expect(await find(bob, { [CKA.LABEL]: 'shared' })).toEqual([]);
  });

  test('is not made by who did not log in, nor on the token by who only reads', async () => {
    const nobody = await fixture.open({});
    const key = aesKey(randomBytes(16));
    expect(await refusal(nobody.client.create(nobody.session, key))).toBe(CKR.USER_NOT_LOGGED_IN);
    const { client, slot } = await fixture.open();
    const reading = await client.open(slot, CKF.SERIAL_SESSION);
    const there = aesKey(randomBytes(16), onToken);
    expect(await refusal(client.create(reading, there))).toBe(CKR.SESSION_READ_ONLY);
    expect(await refusal(client.create(reading, key))).toBe(CKR.OK);
  });
});

test('what is done with keys stands in the audit log, and nothing of them', async () => {
  const { client, session } = await fixture.open();
  const value = randomBytes(16);
  await client.create(session, aesKey(value, { [CKA.LABEL]: 'audited' }));
  expect(await refusal(client.create(session, []))).toBe(CKR.TEMPLATE_INCOMPLETE);
  const path = join(fixture.daemon.home.audit, 'audit.jsonl');
  const lines = await eventually(async () => {
    const all = readFileSync(path, 'utf8').split('\n');
    const own = all.filter((line) => line.includes('C_CreateObject'));
    return own.some((line) => line.includes('CKR_TEMPLATE_INCOMPLETE')) ? all : undefined;
  }, 'lines of the audit log');
  const whole = lines.join('\n');
  for (const secret of [value.toString('hex'), value.toString('base64'), fixture.pin]) {
    expect(whole).not.toContain(secret);
  }
  expect(whole).toContain('"door":"pkcs11"');
});

describe('C_GetAttributeValue', () => {
  test('answers each attribute by itself', async () => {
    const { client, session } = await fixture.open();
    const key = await client.create(session, aesKey(randomBytes(16), { [CKA.LABEL]: 'lengths' }));
    const ask = async (rooms: readonly { type: number; room: number }[]) =>
      await client.call('C_GetAttributeValue', [session, key, rooms]);
    const [asked, rv] = await ask([
      { type: CKA.LABEL, room: 0 },
      { type: CKA.CLASS, room: 8 },
    ]);
    expect([asked[0]?.length, asked[1]?.value, rv]).toEqual([7, CKO.SECRET_KEY, CKR.OK]);
    const [small, code] = await ask([
      { type: CKA.LABEL, room: 3 },
      { type: CKA.TOKEN, room: 1 },
    ]);
    expect([small[0]?.value, small[1]?.value, code]).toEqual([
      undefined,
      false,
      CKR.BUFFER_TOO_SMALL,
    ]);
    const [absent, missing] = await ask([
      { type: CKA.MODULUS, room: 0 },
      { type: CKA.TOKEN, room: 1 },
    ]);
    expect([absent[0]?.value, absent[1]?.value, missing]).toEqual([
      undefined,
      false,
      CKR.ATTRIBUTE_TYPE_INVALID,
    ]);
    expect(await client.code('C_GetAttributeValue', [session, key, []])).toBe(CKR.ARGUMENTS_BAD);
    expect(await client.code('C_GetAttributeValue', [session, 999, [{ type: 0, room: 8 }]])).toBe(
      CKR.OBJECT_HANDLE_INVALID,
    );
  });
});

describe('C_FindObjects', () => {
  test('tells all in portions, and what has begun ends first', async () => {
    const { client, session } = await fixture.open();
    for (let i = 0; i < 5; i += 1) {
      await client.create(session, aesKey(randomBytes(16), { [CKA.LABEL]: 'portion' }));
    }
    await client.call('C_FindObjectsInit', [session, template({ [CKA.LABEL]: 'portion' })]);
    expect(await client.code('C_FindObjectsInit', [session, []])).toBe(CKR.OPERATION_ACTIVE);
    const portions: number[] = [];
    for (;;) {
      const [handles] = await client.call('C_FindObjects', [session, 2]);
      portions.push((handles as number[]).length);
      if ((handles as number[]).length === 0) break;
    }
    expect(portions).toEqual([2, 2, 1, 0]);
    await client.call('C_FindObjectsFinal', [session]);
    expect(await client.code('C_FindObjects', [session, 1])).toBe(CKR.OPERATION_NOT_INITIALIZED);
    expect(await client.code('C_FindObjectsFinal', [session])).toBe(CKR.OPERATION_NOT_INITIALIZED);
  });
});
