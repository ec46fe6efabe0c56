import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { cloudhsmCli } from '../support/command.js';
import { ForeignInstallation } from '../support/foreign-installation.js';

/** What the program says to the daemon, which is played here. */
let place: ForeignInstallation;
beforeAll(async () => {
  place = await new ForeignInstallation().start();
});
afterAll(() => place.stop());
beforeEach(() => {
  place.calls.length = 0;
  place.admin = () => ({});
});

/** The exit code and what was printed. */
async function run(args: readonly string[], input = ''): Promise<unknown[]> {
  const home = place.home.root;
  const { code, stdout } = await cloudhsmCli(args, { home, input: Buffer.from(input) });
  const list = stdout.toString().replaceAll(/^\}\n\{/gm, '},{');
  return [code, ...(JSON.parse(`[${list}]`) as unknown[])];
}

const password = 'password-1';

test.each([
  [['--password', password], '', {}],
  [[], `${password}\n${password}\n`, {}],
  [['--password', password, '--cluster-id', 'cluster-b'], '', { cluster: 'cluster-b' }],
])('cluster activate %j', async (options, input, more) => {
  const outcome = await run(['cluster', 'activate', ...options], input);
  expect(outcome).toEqual([0, { error_code: 0, data: 'Cluster activation successful' }]);
  expect(place.calls).toEqual([{ action: 'ClusterActivate', params: { password, ...more } }]);
});

test('a login that has ended is told of once, and the next command does without', async () => {
  const alice = { username: 'alice', role: 'crypto-user' };
  place.admin = (action, params) => {
    if (action === 'UserLogin') return { ...alice, session: 'token' };
    if (action === 'UserLogout') return {};
    const ended = { error: { code: 'HsmNotLoggedIn', message: 'ended' } };
    return 'session' in params ? ended : { users: [] };
  };
  const login = `login --username alice --role crypto-user --password ${password}`;
  const outcome = await run(['interactive'], `${login}\nuser list\nuser list\n${login}\n`);
  expect(outcome).toEqual([
    0,
    { error_code: 0, data: alice },
    { error_code: 1, data: 'You are not logged in, or the login has ended' },
    { error_code: 0, data: { users: [] } },
    { error_code: 0, data: alice },
  ]);
  // who is logged in at the end is logged out
  expect(place.calls).toEqual([
    { action: 'UserLogin', params: { ...alice, password } },
    { action: 'UserList', params: { session: 'token' } },
    { action: 'UserList', params: {} },
    { action: 'UserLogin', params: { ...alice, password } },
    { action: 'UserLogout', params: { session: 'token' } },
  ]);
});

test('a login of the environment ends with its command, also when that fails', async () => {
  place.admin = (action) => {
    if (action === 'UserLogin') return { username: 'alice', role: 'admin', session: 'token' };
    return action === 'UserLogout' ? {} : { error: { code: 'HsmBusy', message: 'busy' } };
  };
  const home = place.home.root;
  const env = { CLOUDHSM_ROLE: 'admin', CLOUDHSM_PIN: `alice:${password}` };
  const { code, stdout } = await cloudhsmCli(['user', 'list'], { home, env });
  expect([code, JSON.parse(stdout.toString())]).toEqual([1, { error_code: 1, data: 'busy' }]);
  expect(place.calls.map(({ action }) => action)).toEqual(['UserLogin', 'UserList', 'UserLogout']);
});
