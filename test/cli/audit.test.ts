import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatAuditLine } from '../../src/cli/commands/audit.js';
import type { ChainReport } from '../../src/cli/audit-chain.js';
import { findHome, type Home } from '../../src/core/home.js';
import { keyspan, type Outcome } from '../support/command.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

let daemon: DaemonFixture;
let KeyId: string;

beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 1 });
  const client = await daemon.client();
  ({ KeyId = '' } = await client.kms.createKey());
  await client.kms.encrypt({ KeyId, Plaintext: Buffer.from('text') });
  const absent = client.kms.encrypt({ KeyId: 'alias/absent', Plaintext: Buffer.from('text') });
  await expect(absent).rejects.toThrow('alias/absent');
  await eventually(async () => {
    const { stdout } = await tail('--json', '--event', 'Encrypt');
    return stdout.toString().includes('NotFoundException') ? true : undefined;
  }, 'the lines are there');
});
afterAll(() => daemon[Symbol.asyncDispose]());

const tail = (...more: string[]): Promise<Outcome> =>
  keyspan(['audit', 'tail', ...more], { home: daemon.home.root });
const linesOf = ({ stdout }: Outcome): string[] => stdout.toString().trimEnd().split('\n');
const verify = (home: Home, ...more: string[]): Promise<Outcome> =>
  keyspan(['audit', 'verify', ...more], { home: home.root });

/** The log as it stands, in a home where nothing runs. */
function copyOfLog(): { home: Home; path: string } {
  const home = findHome(join(temporaryDirectory(), 'home'));
  mkdirSync(home.root);
  cpSync(daemon.home.audit, home.audit, { recursive: true });
  return { home, path: join(home.audit, 'audit.jsonl') };
}

describe('audit tail', () => {
  test('says who did what, and how it ended', async () => {
    const { code, stdout } = await tail('--event', 'Encrypt');
    expect(code).toBe(0);
    const [allowed, refused] = stdout.toString().trimEnd().split('\n');
    const who = '\\d{12}:root  Encrypt';
    expect(allowed).toMatch(new RegExp(`^[\\dT:-]+Z  ${who}  key/${KeyId}  allowed  hsm-\\w+$`));
    expect(refused).toMatch(new RegExp(`^[\\dT:-]+Z  ${who}  NotFoundException$`));
  });

  test('takes so many lines, of an event or about a key', async () => {
    expect(linesOf(await tail('-n', '2'))).toHaveLength(2);
    const about = linesOf(await tail('--key', KeyId, '--json'));
    const names = about.map((line) => (JSON.parse(line) as { eventName: string }).eventName);
    expect(names).toEqual(['CreateKey', 'Encrypt']);
    const started = linesOf(await tail('--event', 'daemon.step'));
    expect(started).toEqual([expect.stringContaining('daemon.step  step="started"')]);
    expect(linesOf(await tail('-n', '1000')).join('\n')).not.toContain('audit.seal');
    expect((await tail('-n', '0')).code).toBe(252);
  });
});

describe('audit verify', () => {
  test("finds the daemon's newest seal in a log that is whole", async () => {
    const { code, stdout } = await verify(daemon.home);
    expect(stdout.toString()).toMatch(/^Whole: \d+ lines, numbers 1 to \d+\.\n/);
    expect(stdout.toString()).toContain("The daemon's newest seal is in it.");
    expect(code).toBe(0);
    const report = JSON.parse((await verify(daemon.home, '--json')).stdout.toString()) as unknown;
    expect(report).toMatchObject({ whole: true, anchored: true, first: 1 });
  });

  test('names the first line where the chain breaks', async () => {
    const { home, path } = copyOfLog();
    expect((await verify(home)).stdout.toString()).toContain('No daemon runs');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace('"errorCode":"NotFoundException"', '"errorCode":"None"'));
    const { code, stdout } = await verify(home, '--json');
    expect(code).toBe(1);
    const report = JSON.parse(stdout.toString()) as ChainReport;
    expect(report.break).toMatchObject({ kind: 'altered', file: 'audit.jsonl' });
    const line = text.split('\n').findIndex((one) => one.includes('NotFoundException')) + 1;
    expect(report.break?.line).toBeLessThanOrEqual(line);
    expect(report.break?.lastLine ?? 0).toBeGreaterThanOrEqual(line);
    expect((await verify(home)).stdout.toString()).toMatch(/^BROKEN at lines? \d+/);
  });

  test('needs a log', async () => {
    const home = findHome(join(temporaryDirectory(), 'home'));
    expect((await verify(home)).code).toBe(252);
    expect((await keyspan(['audit', 'tail'], { home: home.root })).code).toBe(252);
  });
});

test('lines of any form can be shown', () => {
  expect(formatAuditLine('{"time":"20')).toBe('{"time":"20');
  expect(formatAuditLine('{"time":"t","event":"hsm.state","hsm":"h","sequence":3}')).toBe(
    't  hsm.state  hsm="h"',
  );
});
