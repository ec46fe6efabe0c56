import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ForeignInstallation } from '../support/foreign-installation.js';
import { atTerminal } from '../support/terminal-dialogue.js';

/** A person at a terminal; the daemon is played. */
let place: ForeignInstallation;
beforeAll(async () => {
  place = await new ForeignInstallation().start();
  place.admin = (action, params) => {
    if (action === 'UserLogin') return { ...params, session: 'token' };
    return action === 'UserList' ? { users: [] } : {};
  };
});
afterAll(() => place.stop());

const prompt = 'aws-cloudhsm > ';
const UP = '\u001b[A';
const CTRL_C = '\u0003';
const PROGRAM = 'dist/cli/cloudhsm-cli.cjs';
type Steps = readonly (readonly [string, string])[];
const talk = (...steps: Steps) =>
  atTerminal(PROGRAM, ['interactive'], { home: place.home.root, steps });
const history = (): string => join(place.home.root, 'cloudhsm-cli-history');

test('lines are remembered from one dialogue to the next, but none with a password', async () => {
  const login = 'login --username cu1 --role crypto-user';
  await talk(
    [prompt, 'user list\n'],
    ['"users": []', ''],
    [prompt, `${login} --password in-the-line\n`],
    ['"error_code": 0', ''],
    [prompt, 'logout\n'],
    ['Logout successful', ''],
    [prompt, `${login}\n`],
    ['Enter password:', 'at-the-question\n'],
    ['"error_code": 0', ''],
    [prompt, 'quit\n'],
  );
  expect(readFileSync(history(), 'utf8')).toBe(`quit\n${login}\nlogout\nuser list\n`);
  expect(statSync(history()).mode & 0o777).toBe(0o600);
  const { screen } = await talk(
    [prompt, `${UP}${UP}${UP}${UP}`],
    ['user list', '\n'],
    ['"users": []', ''],
    [prompt, 'quit\n'],
  );
  expect(screen).not.toMatch(/in-the-line|at-the-question/);
});

test('one command that asks leaves what is remembered as it is', async () => {
  const before = readFileSync(history(), 'utf8');
  const args = ['login', '--username', 'cu1', '--role', 'crypto-user'];
  const steps: Steps = [['Enter password:', 'at-the-question\n']];
  const { code } = await atTerminal(PROGRAM, args, { home: place.home.root, steps });
  expect([code, readFileSync(history(), 'utf8')]).toEqual([0, before]);
});

test('Ctrl-C gives up what was typed, and ends where nothing was', async () => {
  const { code, screen } = await talk(
    [prompt, 'bogus'],
    ['bogus', CTRL_C],
    // the line is there again, and empty
    [prompt, 'user list\n'],
    ['"users": []', ''],
    [prompt, CTRL_C],
  );
  expect(code).toBe(0);
  expect(screen).not.toContain('unknown command');
});

test('the prompt names the cluster of the newest login', async () => {
  const login = 'login --username cu1 --role crypto-user --password password-1';
  await talk(
    [prompt, `${login} --cluster-id cluster-bbbbbbbbbbb\n`],
    ['cu1@cluster-bbbbbbbbbbb > ', `${login} --cluster-id cluster-ccccccccccc\n`],
    ['cu1@cluster-ccccccccccc > ', 'logout\n'],
    ['cu1@cluster-bbbbbbbbbbb > ', 'logout\n'],
    ['Logout successful', ''],
    [prompt, 'quit\n'],
  );
});
