import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { packageFile } from '../../src/core/entry.js';
import { LIMITS } from '../../src/core/limits.js';
import type { CredentialsDocument } from '../../src/protocol/admin.js';
import type { HsmInfo, ListedUser } from '../../src/protocol/hsm-session.js';
import { cloudhsmCli, keyspan, type Outcome } from '../support/command.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { atTerminal } from '../support/terminal-dialogue.js';

let daemon: DaemonFixture;
let credentials: Required<CredentialsDocument>;
beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 3 });
  credentials = (await callAdmin(daemon.home, 'Credentials')) as typeof credentials;
});
afterAll(() => daemon?.[Symbol.asyncDispose]());

const PROGRAM = 'dist/cli/cloudhsm-cli.cjs';
const REFUSED = { error_code: 1, data: 'Incorrect authentication credentials' };

interface Printed {
  readonly error_code: 0 | 1;
  readonly data: unknown;
}

/** What was printed: documents one behind the other, each over several lines. */
const documents = (stdout: Buffer): Printed[] =>
  stdout
    .toString()
    .split(/(?<=^\}\n)/m)
    .filter((text) => text !== '')
    .map((text) => JSON.parse(text) as Printed);

async function one(
  args: readonly string[],
  options: { env?: Record<string, string>; input?: string } = {},
): Promise<Printed> {
  const { env = {}, input = '' } = options;
  const home = daemon.home.root;
  const outcome = await cloudhsmCli(args, { home, env, input: Buffer.from(input) });
  const [document] = documents(outcome.stdout);
  if (!document) throw new Error(`nothing was printed: ${outcome.stderr}`);
  expect(outcome).toMatchObject({ code: document.error_code, stderr: '' });
  return document;
}

const converse = (...lines: readonly string[]): Promise<Outcome> =>
  cloudhsmCli(['interactive'], {
    home: daemon.home.root,
    input: Buffer.from(lines.map((line) => `${line}\n`).join('')),
  });

const asUser = (username: string, password: string, role = 'crypto-user') => ({
  env: { CLOUDHSM_ROLE: role, CLOUDHSM_PIN: `${username}:${password}` },
});

async function listed(name: string): Promise<ListedUser | undefined> {
  const { users } = (await one(['user', 'list'])).data as { users: ListedUser[] };
  return users.find(({ username }) => username === name);
}

describe('one command', () => {
  test('cluster hsm-info names every HSM', async () => {
    const { error_code, data } = await one(['cluster', 'hsm-info']);
    expect(error_code).toBe(0);
    const { hsms } = data as { hsms: HsmInfo[] };
    expect(hsms.map((hsm) => hsm['hsm-id'])).toEqual((await daemon.hsms()).map(({ id }) => id));
    expect(new Set(hsms.map((hsm) => hsm['serial-number'])).size).toBe(3);
    for (const hsm of hsms) {
      expect(Object.values(hsm).every((value) => typeof value === 'string')).toBe(true);
      expect(hsm['fips-state']).toMatch(/^\d \[\w.+\]$/);
    }
  });

  test('user list is printed as CloudHSM prints it', async () => {
    const { stdout } = await cloudhsmCli(['user', 'list'], { home: daemon.home.root });
    const text = stdout.toString();
    expect(text).toMatch(/^\{\n {2}"error_code": 0,\n {2}"data": \{\n {4}"users": \[\n/);
    const { users } = JSON.parse(text).data as { users: ListedUser[] };
    const found = Object.fromEntries(users.map(({ username, role }) => [username, role]));
    expect(found).toEqual({
      admin: 'admin',
      app_user: 'internal(APPLIANCE_USER)',
      crypto_user: 'crypto-user',
      kmsuser: 'crypto-user',
    });
    for (const user of users) {
      const common = { locked: 'false', mfa: [], quorum: [], 'cluster-coverage': 'full' };
      expect(user).toMatchObject(common);
    }
  });

  test('keyspan has it too, with its own --home', async () => {
    const args = ['--home', daemon.home.root, 'cloudhsm-cli', 'user', 'list'];
    for (const given of [args, ['cloudhsm-cli', '--home', daemon.home.root, 'user', 'list']]) {
      const { code, stdout } = await keyspan(given);
      expect(code).toBe(0);
      expect(documents(stdout)).toEqual([await one(['user', 'list'])]);
    }
  });

  test('names the cluster, or is refused', async () => {
    const { id } = (await daemon.status()).cluster;
    expect(await one(['user', 'list', '--cluster-id', id])).toMatchObject({ error_code: 0 });
    const other = await one(['cluster', 'hsm-info', '--cluster-id', 'cluster-aaaaaaaaaaa']);
    expect(other).toEqual({ error_code: 1, data: 'there is no cluster cluster-aaaaaaaaaaa' });
  });

  test('logs in whom the environment names', async () => {
    const { admin, cryptoUser } = credentials;
    for (const command of [['user', 'list'], ['cluster', 'hsm-info'], ['logout']]) {
      const good = await one(command, asUser('ADMIN', admin.password, 'admin'));
      expect(good).toMatchObject({ error_code: 0 });
      expect(await one(command, asUser('admin', 'wrong', 'admin'))).toEqual(REFUSED);
    }
    // another's role and an unknown name read as a wrong password does
    expect(await one(['user', 'list'], asUser('admin', admin.password))).toEqual(REFUSED);
    expect(await one(['user', 'list'], asUser('nobody', admin.password))).toEqual(REFUSED);
    const good = asUser(cryptoUser.username, cryptoUser.password);
    expect(await one(['logout'], good)).toEqual({ error_code: 0, data: 'Logout successful' });
  });

  test.each([
    [{ CLOUDHSM_PIN: 'admin:x' }, 'CLOUDHSM_ROLE and CLOUDHSM_PIN are needed together'],
    [{ CLOUDHSM_ROLE: 'admin' }, 'CLOUDHSM_ROLE and CLOUDHSM_PIN are needed together'],
    [{ CLOUDHSM_ROLE: 'root', CLOUDHSM_PIN: 'a:x' }, 'CLOUDHSM_ROLE is one of: admin, crypto-user'],
    [{ CLOUDHSM_ROLE: 'admin', CLOUDHSM_PIN: 'admin' }, 'CLOUDHSM_PIN is user:password'],
    [{ CLOUDHSM_ROLE: 'admin', CLOUDHSM_PIN: ':x' }, 'CLOUDHSM_PIN is user:password'],
    [{ CLOUDHSM_ROLE: 'admin', CLOUDHSM_PIN: 'admin:' }, 'CLOUDHSM_PIN is user:password'],
    [
      { CLOUDHSM_ROLE: 'admin', CLOUDHSM_PIN: 'a-b:x' },
      'UserLogin: username has a character that is not allowed',
    ],
  ])('by %j is refused', async (env, data) => {
    expect(await one(['user', 'list'], { env })).toEqual({ error_code: 1, data });
  });

  test('login asks for the password, and it is over with the process', async () => {
    const { username, password } = credentials.cryptoUser;
    const args = ['login', '--username', username, '--role', 'crypto-user'];
    const ok = { error_code: 0, data: { username, role: 'crypto-user' } };
    expect(await one(args, { input: `${password}\n` })).toEqual(ok);
    expect(await one([...args, '--password', password])).toEqual(ok);
    const none = { error_code: 1, data: 'No password was given' };
    for (const input of ['', '\n']) expect(await one(args, { input })).toEqual(none);
  });

  test.each([
    [['bogus'], /^unknown command 'bogus'/],
    [['user'], /^A command is missing/],
    [[], /^A command is missing/],
    [['user', 'list', 'more'], /^too many arguments/],
    [['user', 'list', '--more'], /^unknown option '--more'/],
    [['user', 'list', '--cluster-id'], /argument missing/],
    [['user', 'list', '--cluster-id', 'x'.repeat(65)], /^UserList: cluster must have 1 to 64/],
    [['login', '--role', 'admin'], /^required option '--username <name>' not specified$/],
    [['login', '--username', 'a'], /^required option '--role <role>' not specified$/],
    [['login', '--username', 'a', '--role', 'co'], /^option '--role <role>' argument 'co'/],
    [['help', 'bogus'], /^There is no command bogus$/],
  ])('%j is an error in JSON', async (args, data) => {
    expect(await one(args)).toEqual({ error_code: 1, data: expect.stringMatching(data) });
  });

  test.each([[['help']], [['--help']], [['help', 'cluster', 'activate']], [['login', '-h']]])(
    '%j is a text',
    async (args) => {
      const { code, stdout } = await cloudhsmCli(args, { home: daemon.home.root });
      expect(code).toBe(0);
      expect(stdout.toString()).toMatch(/^Usage: cloudhsm-cli /);
    },
  );

  test('without a daemon says how to start one', async () => {
    const { code, stdout } = await cloudhsmCli(['--home', '/nowhere', 'user', 'list']);
    expect(code).toBe(1);
    expect(documents(stdout)).toEqual([
      { error_code: 1, data: expect.stringMatching(/^no daemon runs on \/nowhere; start one/) },
    ]);
  });
});

describe('cluster activate', () => {
  const done = { error_code: 1, data: 'Cluster is already activated' };

  test('is over for the cluster that `up` made', async () => {
    expect(await one(['cluster', 'activate', '--password', 'password-1'])).toEqual(done);
    const twice = { input: 'password-1\npassword-1\n' };
    expect(await one(['cluster', 'activate'], twice)).toEqual(done);
    const { username, password } = credentials.admin;
    expect(await one(['logout'], asUser(username, password, 'admin'))).toMatchObject({
      error_code: 0,
    });
  });

  test.each(['1234567', 'x'.repeat(33), 'pass:word'])('refuses the password %j', async (bad) => {
    const data = 'A password has 8 to 32 characters, and no colon among them';
    const args = ['cluster', 'activate', '--password', bad];
    expect(await one(args)).toEqual({ error_code: 1, data });
    const ask = callAdmin(daemon.home, 'ClusterActivate', { password: bad });
    await expect(ask).rejects.toMatchObject({ code: 'ValidationException' });
  });

  test('wants the same password twice', async () => {
    const twice = { input: 'password-1\npassword-2\n' };
    const differ = { error_code: 1, data: 'The passwords do not match' };
    expect(await one(['cluster', 'activate'], twice)).toEqual(differ);
  });
});

describe('the interactive form, from a pipe', () => {
  test('goes on after what fails, and ends with its input', async () => {
    const { username, password } = credentials.admin;
    const outcome = await converse(
      '',
      'user list',
      'bogus',
      `login --username "${username}" --role admin`,
      password,
      'login --username admin --role admin --password x',
      `'unclosed`,
      'interactive',
      'cluster hsm-info',
      'logout',
      'logout',
    );
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(documents(outcome.stdout)).toEqual([
      { error_code: 0, data: { users: expect.any(Array) } },
      { error_code: 1, data: expect.stringContaining("unknown command 'bogus'") },
      { error_code: 0, data: { username, role: 'admin' } },
      { error_code: 1, data: 'A user is already logged in. Log out first' },
      { error_code: 1, data: 'A quote is not closed' },
      { error_code: 1, data: expect.stringContaining("unknown command 'interactive'") },
      { error_code: 0, data: { hsms: expect.any(Array) } },
      { error_code: 0, data: 'Logout successful' },
      { error_code: 1, data: 'You are not logged in, or the login has ended' },
    ]);
  });

  test('ends with quit, though more stands behind it', async () => {
    const { code, stdout } = await converse('help login', 'quit', 'user list');
    expect(code).toBe(0);
    expect(stdout.toString()).toMatch(/^Usage: cloudhsm-cli login [^{]*$/);
  });

  test('takes the cluster that it began with', async () => {
    const args = ['interactive', '--cluster-id', 'cluster-aaaaaaaaaaa'];
    const { id } = (await daemon.status()).cluster;
    const input = Buffer.from(`user list\nuser list --cluster-id ${id}\n`);
    const { stdout } = await cloudhsmCli(args, { home: daemon.home.root, input });
    expect(documents(stdout).map(({ error_code }) => error_code)).toEqual([1, 0]);
  });
});

describe('the interactive form, at a terminal', () => {
  const prompt = 'aws-cloudhsm > ';
  const talk = (...steps: readonly (readonly [string, string])[]) =>
    atTerminal(PROGRAM, ['interactive'], { home: daemon.home.root, steps });

  test('prompts, and shows no password', async () => {
    const { password } = credentials.admin;
    const { code, screen } = await talk(
      [prompt, 'login --username admin --role admin\n'],
      ['Enter password:', `${password}\n`],
      ['"role": "admin"', ''],
      // what came last is the command: the password was not remembered
      [prompt, '\u001b[A'],
      ['login --username admin', '\u0015logout\n'],
      ['Logout successful', ''],
      [prompt, 'quit\n'],
    );
    expect(code).toBe(0);
    expect(screen).not.toContain(password);
  });

  test('asks twice for a new password', async () => {
    const { screen } = await talk(
      [prompt, 'cluster activate\n'],
      ['Enter password:', 'secret-one\n'],
      ['Confirm password:', 'secret-two\n'],
      ['The passwords do not match', ''],
      [prompt, '\u0004'],
    );
    expect(screen).not.toMatch(/secret-(?:one|two)/);
  });

  test('shows the cluster that a login named, and ends with Ctrl-C', async () => {
    const { id } = (await daemon.status()).cluster;
    const { username, password } = credentials.cryptoUser;
    const login = `login --username ${username} --role crypto-user --cluster-id ${id}`;
    const { code } = await talk(
      [prompt, `${login} --password ${password}\n`],
      [`${username}@${id} > `, 'logout\n'],
      ['Logout successful', ''],
      [prompt, '\u0003'],
    );
    expect(code).toBe(0);
  });
});

describe('HSMs that come and go', () => {
  test('a login outlives an HSM that is killed', async () => {
    const { username, password } = credentials.admin;
    const [hsm] = await daemon.hsms();
    const id = hsm?.id ?? '';
    const child = spawn(process.execPath, [packageFile(PROGRAM), 'interactive'], {
      env: { ...process.env, KEYSPAN_HOME: daemon.home.root },
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    const printed = async (count: number): Promise<Printed[]> => {
      const all = (): Printed[] => documents(Buffer.concat(chunks));
      await expect.poll(() => all().length, { timeout: 40_000 }).toBe(count);
      return all();
    };
    child.stdin.write(`login --username ${username} --role admin --password ${password}\n`);
    await printed(1);
    await callAdmin(daemon.home, 'HsmKill', { id });
    try {
      child.stdin.write('cluster hsm-info\nuser list\n');
      const [, info, users] = await printed(3);
      const others = (await daemon.hsms()).filter((other) => other.id !== id);
      const shown = others.map((other) => expect.objectContaining({ 'hsm-id': other.id }));
      expect(info).toEqual({ error_code: 0, data: { hsms: shown } });
      expect(JSON.stringify(users)).not.toContain('inconsistent');
    } finally {
      await callAdmin(daemon.home, 'HsmStart', { id });
      await daemon.allActive();
    }
    child.stdin.write('logout\n');
    expect((await printed(4)).at(-1)).toEqual({ error_code: 0, data: 'Logout successful' });
    // its input stays open: quit alone ends it
    child.stdin.write('quit\n');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
  });

  test('a lock that not every HSM knows is inconsistent', async () => {
    const name = credentials.cryptoUser.username;
    const hsms = await daemon.hsms();
    const id = hsms[2]?.id ?? '';
    await callAdmin(daemon.home, 'HsmKill', { id });
    await daemon.hsm(id, 'KILLED');
    for (let time = 0; time < LIMITS.hsm_login_failures_max; time += 1) {
      expect(await one(['user', 'list'], asUser(name, 'not the password'))).toEqual(REFUSED);
    }
    expect(await listed(name)).toMatchObject({ locked: 'true', 'cluster-coverage': 'full' });
    const refusal = await one(['user', 'list'], asUser(name, credentials.cryptoUser.password));
    expect(refusal).toEqual({ error_code: 1, data: expect.stringMatching(/^User is locked out/) });
    await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.allActive();
    expect(await listed(name)).toMatchObject({ locked: 'inconsistent', role: 'crypto-user' });
    // the HSM that was away lets the user in
    const late = asUser(name, credentials.cryptoUser.password);
    expect(await one(['user', 'list'], late)).toMatchObject({ error_code: 0 });
  });

  test('without any HSM it says so', async () => {
    const hsms = await daemon.hsms();
    for (const { id } of hsms) await callAdmin(daemon.home, 'HsmKill', { id });
    for (const { id } of hsms) await daemon.hsm(id, 'KILLED');
    const none = { error_code: 1, data: 'No HSM of the cluster is active' };
    const { username, password } = credentials.admin;
    expect(await one(['user', 'list'])).toEqual(none);
    expect(await one(['cluster', 'activate', '--password', 'password-1'])).toEqual(none);
    expect(await one(['logout'], asUser(username, password, 'admin'))).toEqual(none);
    for (const { id } of hsms) await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.allActive();
  });

  test('a login ends with its daemon, and what needs none goes on', async () => {
    const { username, password, role } = { ...credentials.admin, role: 'admin' };
    const params = { username, password, role };
    const { session } = await callAdmin(daemon.home, 'UserLogin', params);
    await daemon.down();
    await daemon.up();
    for (const action of ['UserList', 'HsmInfo', 'UserLogout'] as const) {
      const ask = callAdmin(daemon.home, action, { session });
      await expect(ask).rejects.toMatchObject({ code: 'HsmNotLoggedIn' });
    }
    expect(await one(['user', 'list'])).toMatchObject({ error_code: 0 });
  });
});

test('the audit names who logged in, and nothing holds a password', async () => {
  const { admin } = credentials;
  await one(['user', 'list'], asUser('admin', 'not the password', 'admin'));
  await one(['user', 'list'], asUser('admin', admin.password, 'admin'));
  await one(['cluster', 'activate', '--password', 'password-1']);
  // what is written is in the files
  await daemon.down();
  const folders = [daemon.home.logs, daemon.home.audit];
  const files = folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
  const texts = files.map((file) => readFileSync(file, 'utf8'));
  const logins = texts
    .join('\n')
    .split('\n')
    .filter((line) => line.includes('"user.login"'))
    .map((line) => JSON.parse(line) as { user: string; role?: string; code?: string });
  const refused = { user: 'admin', code: 'HsmCredentialsRefused' };
  expect(logins).toContainEqual(expect.objectContaining(refused));
  // who was let in has no code
  const letIn = logins.filter(({ code }) => code === undefined);
  expect(letIn).toContainEqual(expect.objectContaining({ user: 'admin', role: 'admin' }));
  const words = [admin.password, 'not the password', 'password-1'];
  for (const text of texts) for (const word of words) expect(text).not.toContain(word);
});
