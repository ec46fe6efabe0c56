import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { ListedUser } from '../../src/protocol/hsm-session.js';
import { cloudhsmCli } from '../support/command.js';
import { DaemonFixture } from '../support/daemon-fixture.js';

const PASSWORD = 'alices-password';
let daemon: DaemonFixture;
let ids: string[];
let admin = '';
beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 3 });
  ids = (await daemon.hsms()).map(({ id }) => id);
  admin = (await callAdmin(daemon.home, 'Credentials')).admin?.password ?? '';
});
afterAll(() => daemon?.[Symbol.asyncDispose]());

interface Printed {
  readonly error_code: 0 | 1;
  readonly data: unknown;
}

const pin = (username: string, password: string, role: string): Record<string, string> => ({
  CLOUDHSM_ROLE: role,
  CLOUDHSM_PIN: `${username}:${password}`,
});

async function run(
  line: string,
  env: Record<string, string> = pin('admin', admin, 'admin'),
  input = '',
): Promise<Printed> {
  const options = { home: daemon.home.root, env, input: Buffer.from(input) };
  const { stdout } = await cloudhsmCli(line.split(' '), options);
  return JSON.parse(stdout.toString()) as Printed;
}

const done = (data: unknown): Printed => ({ error_code: 0, data });
const failed = (data: unknown): Printed => ({ error_code: 1, data });
const named = (name: string, role = 'crypto-user'): string => `--username ${name} --role ${role}`;

async function listed(name: string): Promise<ListedUser | undefined> {
  const { users } = await callAdmin(daemon.home, 'UserList');
  return users.find(({ username }) => username === name);
}

/** What is done while this HSM is away. */
async function without(away: readonly string[], work: () => Promise<void>): Promise<void> {
  for (const id of away) await callAdmin(daemon.home, 'HsmStop', { id });
  for (const id of away) await daemon.hsm(id, 'STOPPED');
  await work();
  for (const id of away) await callAdmin(daemon.home, 'HsmStart', { id });
  await daemon.allActive();
}

describe('an admin', () => {
  test('makes a user on every HSM, once', async () => {
    const create = `user create ${named('Alice')} --password ${PASSWORD}`;
    expect(await run(create)).toEqual(done({ username: 'alice', role: 'crypto-user' }));
    expect(await listed('alice')).toMatchObject({ 'cluster-coverage': 'full' });
    expect(await run(create)).toEqual(failed('User already exists'));
    const alice = pin('ALICE', PASSWORD, 'crypto-user');
    expect(await run('user list', alice)).toMatchObject({ error_code: 0 });
  });

  test('is asked twice for a password that it does not give', async () => {
    const create = `user create ${named('bob')}`;
    const differing = 'one-password\nanother-one\n';
    const admins = pin('admin', admin, 'admin');
    expect(await run(create, admins, differing)).toEqual(failed('The passwords do not match'));
    expect(await listed('bob')).toBeUndefined();
    expect(await run(create, admins, 'bobs-password\nbobs-password\n')).toMatchObject(
      done({ username: 'bob' }),
    );
  });

  test('gives a user another password: the old one is void', async () => {
    const change = `user change-password ${named('bob')} --password bobs-second`;
    expect(await run(change)).toEqual(done({ username: 'bob', role: 'crypto-user' }));
    const old = pin('bob', 'bobs-password', 'crypto-user');
    expect(await run('user list', old)).toEqual(failed('Incorrect authentication credentials'));
    const fresh = pin('bob', 'bobs-second', 'crypto-user');
    expect(await run('user list', fresh)).toMatchObject({ error_code: 0 });
  });

  test('deletes a user under its role alone', async () => {
    const wrong = failed('Specified user does not exist');
    expect(await run(`user delete ${named('bob', 'admin')}`)).toEqual(wrong);
    expect(await run(`user delete ${named('bob')}`)).toEqual(
      done({ username: 'bob', role: 'crypto-user' }),
    );
    expect(await run(`user delete ${named('bob')}`)).toEqual(wrong);
    expect(await listed('bob')).toBeUndefined();
  });

  test('cannot take from KMS the user that it works as', async () => {
    const sentence = failed('kmsuser is the user that KMS works as here');
    expect(await run(`user delete ${named('kmsuser')}`)).toEqual(sentence);
    const change = `user change-password ${named('kmsuser')} --password ${PASSWORD}`;
    expect(await run(change)).toEqual(sentence);
  });

  test("changes its own password, and the installation's credentials show it", async () => {
    const second = 'the-second-of-admins';
    const change = `user change-password ${named('admin', 'admin')} --password ${second}`;
    expect(await run(change)).toMatchObject({ error_code: 0 });
    expect((await callAdmin(daemon.home, 'Credentials')).admin?.password).toBe(second);
    admin = second;
    expect(await run('user list')).toMatchObject({ error_code: 0 });
  });
});

describe('a crypto-user', () => {
  const alice = pin('alice', PASSWORD, 'crypto-user');

  test.each([
    ['create', `user create ${named('carol')} --password ${PASSWORD}`],
    ['delete', `user delete ${named('alice')}`],
    ['change another one', `user change-password ${named('crypto_user')} --password ${PASSWORD}`],
  ])('may not %s', async (_what, line) => {
    expect(await run(line, alice)).toMatchObject({ error_code: 1 });
    expect(await listed('carol')).toBeUndefined();
    expect(await listed('alice')).toBeDefined();
  });

  test('changes its own password', async () => {
    const change = (to: string): string =>
      `user change-password ${named('alice')} --password ${to}`;
    expect(await run(change('alices-second'), alice)).toMatchObject({ error_code: 0 });
    const second = pin('alice', 'alices-second', 'crypto-user');
    expect(await run(change(PASSWORD), second)).toMatchObject({ error_code: 0 });
  });
});

describe('what is wrong is refused before any HSM is asked', () => {
  test.each([
    ['a name with a hyphen', `user create ${named('a-b')} --password ${PASSWORD}`, "'-'"],
    ['a long name', `user create ${named('a'.repeat(32))} --password ${PASSWORD}`, '1 to 31'],
    ['a short password', `user create ${named('carol')} --password short`, '8 to 32'],
    ['a password with a colon', `user create ${named('carol')} --password with:colon`, 'no colon'],
    ['another role', `user create ${named('carol', 'root')} --password ${PASSWORD}`, 'root'],
    ['no name', 'user delete --role admin', '--username'],
  ])('%s', async (_what, line, sentence) => {
    expect(await run(line)).toEqual(failed(expect.stringContaining(sentence)));
  });

  test('a cluster that the login is not on', async () => {
    const lines = [
      `login ${named('admin', 'admin')}`,
      admin,
      `user delete ${named('alice')} --cluster-id cluster-abcdefghijk`,
    ];
    const input = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    const { stdout } = await cloudhsmCli(['interactive'], { home: daemon.home.root, input });
    expect(stdout.toString()).toContain('The login is not on the cluster cluster-abcdefghijk');
    expect(await listed('alice')).toBeDefined();
  });

  test('nobody who is not logged in', async () => {
    const nobody = failed('You are not logged in, or the login has ended');
    for (const line of [
      `user create ${named('carol')} --password ${PASSWORD}`,
      `user delete ${named('alice')}`,
      `user change-password ${named('alice')} --password ${PASSWORD}`,
    ]) {
      expect(await run(line, {})).toEqual(nobody);
    }
  });
});

/** As CloudHSM's troubleshooting of inconsistent values has it; each by an HSM that was away. */
describe('a user that differs', () => {
  test('in its coverage: the same command again makes it whole', async () => {
    const create = `user create ${named('dave')} --password ${PASSWORD}`;
    await without(ids.slice(0, 1), async () => {
      expect(await run(create)).toMatchObject({ error_code: 0 });
    });
    expect(await listed('dave')).toMatchObject({ 'cluster-coverage': 'inconsistent' });
    expect(await run(create)).toEqual(done({ username: 'dave', role: 'crypto-user' }));
    expect(await listed('dave')).toMatchObject({ 'cluster-coverage': 'full' });
  });

  test('in its role: it is deleted under both, and made again', async () => {
    const create = (role: string): Promise<Printed> =>
      run(`user create ${named('eve', role)} --password ${PASSWORD}`);
    await without(ids.slice(0, 1), async () => {
      expect(await create('crypto-user')).toMatchObject({ error_code: 0 });
    });
    await without(ids.slice(1), async () => {
      expect(await create('admin')).toMatchObject({ error_code: 0 });
    });
    expect(await listed('eve')).toMatchObject({ role: 'inconsistent' });
    for (const role of ['crypto-user', 'admin']) {
      expect(await run(`user delete ${named('eve', role)}`)).toMatchObject({ error_code: 0 });
    }
    expect(await listed('eve')).toBeUndefined();
    expect(await create('crypto-user')).toMatchObject({ error_code: 0 });
    expect(await listed('eve')).toMatchObject({ role: 'crypto-user', 'cluster-coverage': 'full' });
  });

  test('in its lock: a new password opens it everywhere', async () => {
    const wrong = pin('dave', 'wrong-password', 'crypto-user');
    await without(ids.slice(0, 1), async () => {
      for (let time = 0; time < 5; time += 1) await run('user list', wrong);
    });
    expect(await listed('dave')).toMatchObject({ locked: 'inconsistent' });
    const change = `user change-password ${named('dave')} --password ${PASSWORD}`;
    expect(await run(change)).toMatchObject({ error_code: 0 });
    expect(await listed('dave')).toMatchObject({ locked: 'false' });
  });

  test('because an HSM missed its deletion: it is deleted once more', async () => {
    const remove = `user delete ${named('dave')}`;
    await without(ids.slice(2), async () => {
      expect(await run(remove)).toMatchObject({ error_code: 0 });
    });
    expect(await listed('dave')).toMatchObject({ 'cluster-coverage': 'inconsistent' });
    expect(await run(remove)).toMatchObject({ error_code: 0 });
    expect(await listed('dave')).toBeUndefined();
  });
});

test('a new HSM has the users as they are', async () => {
  const hsm = await callAdmin(daemon.home, 'HsmAdd', {}, 60_000);
  expect(await listed('alice')).toMatchObject({ 'cluster-coverage': 'full' });
  await callAdmin(daemon.home, 'HsmRemove', { id: hsm.id }, 60_000);
});

test('the audit log has each change, allowed or not, and no password', () => {
  const text = readFileSync(join(daemon.home.audit, 'audit.jsonl'), 'utf8');
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const about = (action: string): unknown[] =>
    lines.filter((line) => line['action'] === action).map(({ code }) => code);
  expect(about('user create')).toContain(undefined);
  expect(about('user create')).toContain('HsmAlreadyExists');
  expect(about('user create')).toContain('HsmRoleRefused');
  expect(about('user delete')).toContain('HsmUserNotFound');
  expect(about('user change-password')).toContain('KeyspanRefused');
  const log = daemon.log();
  for (const secret of [PASSWORD, admin, 'bobs-second', 'alices-second']) {
    expect(text).not.toContain(secret);
    expect(log).not.toContain(secret);
  }
});
