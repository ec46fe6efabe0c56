import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { packageFile } from '../../src/core/entry.js';
import type { Home } from '../../src/core/home.js';
import { keyspan } from '../support/command.js';
import { CloudHsmAccount } from '../support/cloudhsm-account.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const run = promisify(execFile);
const SCRIPT = packageFile('docs/operators.sh');

/** Runs the script as an operator does who typed `eval "$(keyspan env)"`. */
async function operate(home: Home, env: object, ...args: readonly string[]): Promise<string> {
  const directory = temporaryDirectory();
  const [bin, cwd] = [join(directory, 'bin'), join(directory, 'files')];
  for (const path of [bin, cwd]) mkdirSync(path);
  for (const name of ['keyspan', 'cloudhsm-cli']) {
    symlinkSync(packageFile(`dist/cli/${name}.cjs`), join(bin, name));
  }
  const { stdout: printed } = await keyspan(['env', '--json'], { home: home.root });
  const variables = JSON.parse(printed.toString()) as Record<string, string>;
  const path = `${bin}${delimiter}${process.env['PATH']}`;
  const whole = { ...process.env, ...variables, PATH: path, ...env };
  const { stdout } = await run('bash', [SCRIPT, ...args], { cwd, env: whole });
  return stdout;
}

/** What must stand in the output, in this order. */
const MARKS = [
  '# Two crypto-users',
  'bob\tcrypto-user\tfull',
  'Verified OK',
  '# Alice takes the key back',
  // the wrapping that nobody trusts
  '"error_code": 1',
  'Successfully replicated key',
  '# The same command repairs it',
  '"user": 2',
  'Quorum approval is required for this operation',
  '# Done',
];

function expectAll(output: string): void {
  let at = 0;
  for (const mark of MARKS) {
    const found = output.indexOf(mark, at);
    expect(found, `${mark} in\n${output}`).toBeGreaterThanOrEqual(0);
    at = found;
  }
}

describe("the operator's day", () => {
  test('on the cluster that `up` made', async () => {
    await using daemon = await DaemonFixture.start({ port: 0 });
    expectAll(await operate(daemon.home, {}));
    const { users } = await callAdmin(daemon.home, 'UserList', {});
    const shown = users.map((user) => `${user.username} ${user['cluster-coverage']}`);
    expect(shown).toContain('erin full');
  }, 120_000);

  test('on one that was made by the ceremony', async () => {
    await using account = await CloudHsmAccount.open();
    const { ClusterId = '' } = await account.create();
    await account.createHsm(ClusterId);
    await account.initialize(ClusterId);
    await account.activate(ClusterId, 'changeme-please');
    await account.active(ClusterId, 1);
    const env = { ADMIN_PASSWORD: 'changeme-please' };
    expectAll(await operate(account.daemon.home, env, ClusterId));
    const { clusters } = await callAdmin(account.daemon.home, 'Status');
    expect(clusters.map(({ hsms }) => hsms.length).sort((a, b) => a - b)).toEqual([1, 3]);
  }, 120_000);
});

test('the page shows commands of the script as they are', () => {
  const script = readFileSync(SCRIPT, 'utf8').split('\n');
  const page = readFileSync(packageFile('docs/operators.md'), 'utf8');
  const blocks = [...page.matchAll(/^```operators\n([\s\S]*?)^```$/gm)].map(
    ([, block = '']) => block,
  );
  expect(blocks.length).toBeGreaterThan(4);
  for (const line of blocks.join('').trimEnd().split('\n')) expect(script).toContain(line);
});
