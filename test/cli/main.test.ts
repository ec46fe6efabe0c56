import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import { keyspan } from '../support/command.js';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyspan-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each(['--version', '-V'])('%s', async (flag) => {
  const { version } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as {
    version: string;
  };
  expect(await keyspan([flag])).toEqual({
    code: 0,
    stdout: Buffer.from(`${version}\n`),
    stderr: '',
  });
  expect((await keyspan(['--json', flag])).stdout.toString()).toBe(`${version}\n`);
});

test('--help names every verb', async () => {
  const { code, stdout } = await keyspan(['--help']);
  expect(code).toBe(0);
  const verbs =
    'up down status credentials env aws call encrypt decrypt hsm cluster fault top logs cert';
  for (const verb of verbs.split(' '))
    expect(stdout.toString()).toMatch(new RegExp(`^ +${verb} `, 'm'));
});

describe('wrong use is 252', () => {
  test.each([
    [[]],
    [['dance']],
    [['up', '--hsms', '0']],
    [['up', '--hsms', '29']],
    [['up', '--hsms', 'three']],
    [['up', '--region', 'nowhere']],
    [['up', '--account', '12']],
    [['up', '--eni-mode', 'magic']],
    [['up', '--metrics', '65536']],
    [['up', '--port', '65536']],
    [['call']],
    [['call', 'Encrypt', 'not json']],
    [['call', 'Encrypt', '[1]']],
    [['call', 'Encrypt', '{"Plaintext":"fileb:///does/not/exist"}']],
    [['encrypt', 'x']],
    [['encrypt', '/does/not/exist', '--key', 'k', '-o', '/dev/null']],
    [['encrypt', '/tmp', '--key', 'k', '-o', '/dev/null']],
    [['encrypt', 'x', '--key', 'k', '--context', 'pair']],
    [['encrypt', 'x', '--key', 'k', '--context', 'a=1', '--context', 'a=2']],
    [['hsm']],
    [['hsm', 'kill']],
    [['hsm', 'remove']],
    [['hsm', 'wipe']],
    [['cluster']],
    [['fault']],
    [['fault', 'add', '--crash']],
    [['fault', 'add', '--hsm', 'next']],
    [['fault', 'add', '--hsm', 'next', '--crash', '--drop']],
    [['fault', 'add', '--hsm', 'next', '--crash', '--when', 'during']],
    [['fault', 'add', '--hsm', 'next', '--crash', '--nth', '0']],
    [['fault', 'add', '--hsm', 'next', '--delay', '600001']],
    [['cert', 'issue']],
    [['cert', 'issue', '--principal', 'a', '--days', '0']],
    [['status', '--nonsense']],
  ])('%j', async (args) => {
    const { code, stdout, stderr } = await keyspan(args, { home: join(folder, 'none') });
    expect(code).toBe(252);
    expect(stdout.toString()).toBe('');
    expect(stderr).not.toBe('');
  });
});

describe('where nothing runs', () => {
  const here = (): { home: string } => ({ home: join(folder, 'none') });

  test.each([
    [['hsm', 'list']],
    [['hsm', 'kill', 'hsm-aaaaaaaaaaa']],
    [['hsm', 'add']],
    [['hsm', 'remove', 'hsm-aaaaaaaaaaa']],
    [['hsm', 'replace', 'hsm-aaaaaaaaaaa']],
    [['cluster', 'check']],
    [['fault', 'add', '--hsm', 'next', '--crash']],
    [['fault', 'list']],
    [['fault', 'clear']],
    [['credentials']],
    [['env']],
    [['aws', 'cloudhsmv2', 'describe-clusters']],
    [['logs']],
    [['top']],
    [['call', 'ListKeys', '{}']],
    [['cert', 'issue', '--principal', 'arn:aws:iam::000000000000:user/a']],
    [['encrypt', packageFile('package.json'), '--key', 'k', '-o', '/does/not/matter']],
  ])('%j is 255', async (args) => {
    const { code, stdout, stderr } = await keyspan(args, here());
    expect(code).toBe(255);
    expect(stdout.toString()).toBe('');
    const { error } = JSON.parse(stderr) as { error: { code: string; message: string } };
    expect(error.code).toBe('KeyspanNotRunning');
    expect(error.message).not.toBe('');
  });

  test('status is 3', async () => {
    const { code, stdout } = await keyspan(['status', '--json'], here());
    expect(code).toBe(3);
    expect(JSON.parse(stdout.toString())).toEqual({ state: 'STOPPED' });
    const home = join(folder, 'elsewhere');
    for (const args of [
      ['--home', home, 'status'],
      ['status', '--home', home],
    ]) {
      const other = await keyspan(args, here());
      expect(other.code).toBe(3);
      expect(other.stdout.toString()).toContain(home);
    }
  });

  test('down is 0', async () => {
    const { code, stdout } = await keyspan(['down', '--json'], here());
    expect(code).toBe(0);
    expect(JSON.parse(stdout.toString())).toEqual({ state: 'STOPPED' });
  });
});
