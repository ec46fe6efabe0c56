import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deadlineIn } from '../../src/core/deadline.js';
import type { ClusterId, HsmId } from '../../src/core/ids.js';
import { CKF, CKM, CKR, CKU } from '../../src/core/pkcs11.js';
import { Channel } from '../../src/hsm/channel.js';
import { mechanismsOf } from '../../src/protocol/p11-mechanism.js';
import { eventually } from '../support/daemon-fixture.js';
import { P11Client } from '../support/p11-client.js';
import { P11Fixture } from '../support/p11-fixture.js';

let fixture: P11Fixture;
beforeAll(async () => {
  fixture = await P11Fixture.start();
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
});

const READ_ONLY = CKF.SERIAL_SESSION;
const READ_WRITE = CKF.SERIAL_SESSION | CKF.RW_SESSION;
const STATES = { roPublic: 0, roUser: 1, rwPublic: 2, rwUser: 3, rwSo: 4 };

describe('a slot', () => {
  test('is each active cluster, with a token that tells what it is', async () => {
    const client = await fixture.connect();
    const { cluster } = await fixture.daemon.status();
    const [slot = 0, ...others] = await client.slots();
    expect(others).toEqual([]);
    const token = await client.call('C_GetTokenInfo', [slot]);
    const [label, manufacturer, model, serial, flags] = token;
    expect([label, manufacturer, model]).toEqual([cluster.id, 'Keyspan', 'Keyspan']);
    expect(cluster.id).toContain(serial);
    expect(flags).toBe(
      CKF.RNG | CKF.LOGIN_REQUIRED | CKF.USER_PIN_INITIALIZED | CKF.TOKEN_INITIALIZED,
    );
    expect(await client.code('C_GetTokenInfo', [slot + 1])).toBe(CKR.SLOT_ID_INVALID);
    expect(await client.code('C_GetSlotInfo', [-1])).toBe(CKR.SLOT_ID_INVALID);
  });

  test('has for each version of a client what that can carry', async () => {
    for (const offer of [0, 1, 2] as const) {
      const client = await fixture.connect(offer);
      const [slot = 0] = await client.slots();
      const mechanisms = await client.mechanisms(slot);
      const carried = mechanismsOf(offer);
      expect(mechanisms.filter((one) => !carried.has(one))).toEqual([]);
      expect(mechanisms.includes(CKM.AES_GCM)).toBe(offer > 0);
      expect(mechanisms).toContain(CKM.SHA256_RSA_PKCS);
      for (const type of mechanisms) {
        const [min, max, flags] = await client.call('C_GetMechanismInfo', [slot, type]);
        expect([min <= max, flags > 0]).toEqual([true, true]);
      }
    }
  });

  test("is reached by a socket that is the daemon's own user's alone", () => {
    expect(statSync(fixture.socket).mode & 0o777).toBe(0o600);
    expect(statSync(dirname(fixture.socket)).mode & 0o777).toBe(0o700);
  });
});

describe('a connection', () => {
  test('says C_Initialize first, and again after C_Finalize', async () => {
    const client = await P11Client.connect(fixture.socket, { initialize: false });
    expect(await client.code('C_GetInfo', [])).toBe(CKR.CRYPTOKI_NOT_INITIALIZED);
    await client.initialize();
    const [version, manufacturer] = await client.call('C_GetInfo', []);
    expect([version, manufacturer]).toEqual([{ major: 2, minor: 40 }, 'Keyspan']);
    await expect(client.initialize()).rejects.toMatchObject({
      rv: CKR.CRYPTOKI_ALREADY_INITIALIZED,
    });
    await client.call('C_Finalize', []);
    expect(await client.code('C_GetSlotList', [1, 0])).toBe(CKR.CRYPTOKI_NOT_INITIALIZED);
    await client.initialize();
    await client.close();
  });

  test('answers what there is not as such', async () => {
    const { client, slot, session } = await fixture.open();
    expect(await client.code('C_InitToken2', [slot, null, 'x'])).toBe(CKR.FUNCTION_NOT_SUPPORTED);
    expect(await client.code('C_InitPIN', [session, null])).toBe(CKR.FUNCTION_NOT_SUPPORTED);
    expect(await client.code('C_MessageEncryptInit', [session, null, 0])).toBe(
      CKR.FUNCTION_NOT_SUPPORTED,
    );
    expect(await client.code('C_GetOperationState', [session, 100])).toBe(CKR.STATE_UNSAVEABLE);
    const seed = Buffer.from('seed');
    expect(await client.code('C_SeedRandom', [session, seed])).toBe(CKR.RANDOM_SEED_NOT_SUPPORTED);
  });

  test('has the calls of its version alone', async () => {
    const { client, session } = await fixture.open({ offer: 0, pin: fixture.pin });
    expect(client.version).toBe(0);
    expect(await client.code('C_SessionCancel', [session, 0])).toBe(CKR.FUNCTION_NOT_SUPPORTED);
  });

  test('waits for an event of a slot without holding up other calls', async () => {
    const client = await fixture.connect();
    expect(await client.code('C_WaitForSlotEvent', [1])).toBe(CKR.NO_EVENT);
    const waiting = client.code('C_WaitForSlotEvent', [0]);
    expect(await client.slots()).toHaveLength(1);
    await client.call('C_Finalize', []);
    expect(await waiting).toBe(CKR.CRYPTOKI_NOT_INITIALIZED);
  });

  test('ends when it says what no client says, and the others go on', async () => {
    const client = await fixture.connect();
    const other = await fixture.connect();
    client.raw(Buffer.from('not a frame at all, and longer than a head'));
    await eventually(async () => (client.ended ? true : undefined), 'the end of the connection');
    expect(await other.slots()).toHaveLength(1);
  });
});

describe('a session', () => {
  test('is read-only or read-write, and of nobody until somebody logs in', async () => {
    const client = await fixture.connect();
    const [slot = 0] = await client.slots();
    const [reading, writing] = [await client.open(slot, READ_ONLY), await client.open(slot)];
    const states = async (): Promise<number[]> =>
      Promise.all(
        [reading, writing].map(async (one) => (await client.call('C_GetSessionInfo', [one]))[1]),
      );
    expect(await states()).toEqual([STATES.roPublic, STATES.rwPublic]);
    await client.login(reading, fixture.pin);
    expect(await states()).toEqual([STATES.roUser, STATES.rwUser]);
    await client.logout(writing);
    expect(await states()).toEqual([STATES.roPublic, STATES.rwPublic]);
    expect(await client.code('C_Logout', [writing])).toBe(CKR.USER_NOT_LOGGED_IN);
    expect(await client.code('C_GetSessionInfo', [99])).toBe(CKR.SESSION_HANDLE_INVALID);
    expect(await client.code('C_OpenSession', [slot, CKF.RW_SESSION])).toBe(
      CKR.SESSION_PARALLEL_NOT_SUPPORTED,
    );
  });

  test('ends with its login when it is the last', async () => {
    const { client, slot, session } = await fixture.open();
    await client.call('C_CloseSession', [session]);
    expect(await client.code('C_CloseSession', [session])).toBe(CKR.SESSION_HANDLE_INVALID);
    const next = await client.open(slot);
    expect((await client.call('C_GetSessionInfo', [next]))[1]).toBe(STATES.rwPublic);
    await client.login(next, fixture.pin);
    await client.call('C_CloseAllSessions', [slot]);
    const last = await client.open(slot);
    expect((await client.call('C_GetSessionInfo', [last]))[1]).toBe(STATES.rwPublic);
  });

  test('of one connection is nothing to another', async () => {
    const first = await fixture.open();
    const second = await fixture.open({});
    const [, state] = await second.client.call('C_GetSessionInfo', [second.session]);
    expect([first.session, state]).toEqual([second.session, STATES.rwPublic]);
  });

  test('of a client that vanishes is no more, and neither is its login', async () => {
    const before = await hsmSessions();
    const { client } = await fixture.open();
    expect(await hsmSessions()).toBe(before + 3);
    await client.close();
    await eventually(
      async () => ((await hsmSessions()) === before ? true : undefined),
      'the end of its logins',
    );
  });
});

/** logins on all HSMs */
async function hsmSessions(): Promise<number> {
  const { cluster } = await fixture.daemon.status();
  const counts = cluster.hsms.map(async ({ id }) => {
    const deadline = deadlineIn(5_000);
    const path = join(fixture.daemon.home.runtime, `${id}.sock`);
    const about = { hsm: id as HsmId, cluster: cluster.id as ClusterId };
    const channel = await Channel.connect({ path, ...about, deadline });
    const { sessions } = await channel.request({ operation: 'info', fields: {}, deadline });
    channel.close();
    return sessions;
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

describe('a login', () => {
  const login = async (
    pin: string,
    user: number = CKU.USER,
    flags = READ_WRITE,
  ): Promise<number> => {
    const client = await fixture.connect();
    const [slot = 0] = await client.slots();
    const session = await client.open(slot, flags);
    return await client.code('C_Login', [session, user, Buffer.from(pin)]);
  };

  test('is by name and password of a crypto-user, or of an admin as the officer', async () => {
    expect(await login(fixture.pin)).toBe(CKR.OK);
    expect(await login(fixture.soPin, CKU.SO)).toBe(CKR.OK);
    expect(await login(fixture.soPin, CKU.SO, READ_ONLY)).toBe(CKR.SESSION_READ_ONLY_EXISTS);
    expect(await login(fixture.soPin)).toBe(CKR.PIN_INCORRECT);
    expect(await login(fixture.pin, CKU.SO)).toBe(CKR.PIN_INCORRECT);
    expect(await login('nobody:password1')).toBe(CKR.PIN_INCORRECT);
    expect(await login('password without a name')).toBe(CKR.PIN_INCORRECT);
    expect(await login(fixture.pin.split(':')[1] ?? '')).toBe(CKR.OK);
    expect(await login(':no name')).toBe(CKR.PIN_INCORRECT);
    expect(await login('')).toBe(CKR.PIN_LEN_RANGE);
    expect(await login('x'.repeat(200))).toBe(CKR.PIN_LEN_RANGE);
    expect(await login(fixture.pin, 7)).toBe(CKR.USER_TYPE_INVALID);
  });

  test('is one at a time', async () => {
    const { client, session } = await fixture.open();
    const pin = Buffer.from(fixture.pin);
    expect(await client.code('C_Login', [session, CKU.USER, pin])).toBe(CKR.USER_ALREADY_LOGGED_IN);
    expect(await client.code('C_Login', [session, CKU.SO, Buffer.from(fixture.soPin)])).toBe(
      CKR.USER_ANOTHER_ALREADY_LOGGED_IN,
    );
    expect(await client.code('C_Login', [session, CKU.CONTEXT_SPECIFIC, pin])).toBe(
      CKR.OPERATION_NOT_INITIALIZED,
    );
  });

  test('with the name beside the PIN is that of newer clients', async () => {
    const client = await fixture.connect();
    const [slot = 0] = await client.slots();
    const session = await client.open(slot);
    const [name = '', password = ''] = fixture.pin.split(':');
    const words = [Buffer.from(password), Buffer.from(name)] as const;
    await client.call('C_LoginUser', [session, CKU.USER, ...words]);
    expect((await client.call('C_GetSessionInfo', [session]))[1]).toBe(STATES.rwUser);
  });

  test('that is wrong five times locks the user, as in CloudHSM', async () => {
    const user = await fixture.daemon.client();
    const [admin = '', password = ''] = fixture.soPin.split(':');
    const officer = await user.session({ username: admin, password, role: 'admin' });
    await officer.createUser({ username: 'clumsy', password: 'password1', role: 'crypto-user' });
    for (let attempt = 0; attempt < 5; attempt += 1) {
      expect(await login('clumsy:password2')).toBe(CKR.PIN_INCORRECT);
    }
    expect(await login('clumsy:password1')).toBe(CKR.PIN_LOCKED);
    expect(fixture.daemon.log()).not.toContain('password2');
  });

  test('changes its password', async () => {
    const user = await fixture.daemon.client();
    const [admin = '', password = ''] = fixture.soPin.split(':');
    const officer = await user.session({ username: admin, password, role: 'admin' });
    await officer.createUser({ username: 'changer', password: 'password1', role: 'crypto-user' });
    const { client, session } = await fixture.open({ pin: 'changer:password1' });
    const change = async (before: string, after: string): Promise<number> =>
      await client.code('C_SetPIN', [session, Buffer.from(before), Buffer.from(after)]);
    expect(await change('changer:wrong-one', 'changer:password2')).toBe(CKR.PIN_INCORRECT);
    expect(await change('changer:password1', 'other:password2')).toBe(CKR.PIN_INCORRECT);
    expect(await change('changer:password1', 'changer:short')).toBe(CKR.PIN_LEN_RANGE);
    expect(await change('changer:password1', 'password2')).toBe(CKR.OK);
    expect(await login('changer:password1')).toBe(CKR.PIN_INCORRECT);
    expect(await login('changer:password2')).toBe(CKR.OK);
  });
});
