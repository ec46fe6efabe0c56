import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AuditLog, type AuditLogOptions } from '../../src/audit/audit-log.js';
import { verifyChain, type AuditText, type ChainReport } from '../../src/cli/audit-chain.js';
import type { ChainHead } from '../../src/core/audit-seal.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const TIME = '2030-01-02T03:04:05.006Z';

/** Writes portions of lines, each with its seal. @returns the newest seal */
async function write(
  directory: string,
  portions: readonly (readonly string[])[],
  options: AuditLogOptions = {},
): Promise<ChainHead> {
  let head: ChainHead | undefined;
  for (const portion of portions) {
    await using log = await AuditLog.open(directory, options);
    for (const text of portion) log.write({ time: TIME, event: 'test', text });
    await log[Symbol.asyncDispose]();
    ({ head } = log);
  }
  return head ?? { sequence: 0, hash: '' };
}

/** Oldest first. */
function filesIn(directory: string): AuditText[] {
  const age = (name: string): number => Number(/\d+/.exec(name)?.[0] ?? 0);
  const names = readdirSync(directory).toSorted((one, other) => age(other) - age(one));
  return names.map((name) => ({ name, bytes: readFileSync(join(directory, name)) }));
}

type Change = (lines: string[]) => string[];

/** The report about a file with lines 1, 2, seal 3, line 4, seal 5, line 6, seal 7. */
async function changed(change: Change, anchor?: ChainHead): Promise<ChainReport> {
  const directory = temporaryDirectory();
  await write(directory, [['a', 'b'], ['c'], ['d']]);
  const [file] = filesIn(directory);
  const lines = file?.bytes.toString('utf8').split('\n').slice(0, -1) ?? [];
  expect(lines).toHaveLength(7);
  const text = change(lines).map((line) => `${line}\n`);
  return verifyChain([{ name: 'audit.jsonl', bytes: Buffer.from(text.join('')) }], anchor);
}

const same: Change = (lines) => lines;
const without =
  (...numbers: number[]): Change =>
  (lines) =>
    lines.filter((_, at) => !numbers.includes(at + 1));

test('a log that nobody touched is whole', async () => {
  expect(await changed(same)).toEqual({
    whole: true,
    lines: 7,
    seals: 3,
    first: 1,
    last: 7,
    anchored: false,
    dropped: 0,
    resumed: 0,
    unsealed: 0,
  });
});

test('a changed line is found', async () => {
  const alter =
    (number: number): Change =>
    (lines) =>
      lines.with(number - 1, (lines[number - 1] ?? '').replace(TIME, TIME.replace('2030', '2031')));
  expect((await changed(alter(1))).break).toMatchObject({ kind: 'altered', line: 1, lastLine: 3 });
  expect((await changed(alter(4))).break).toMatchObject({ kind: 'altered', line: 4, lastLine: 5 });
  // a seal itself
  expect((await changed(alter(5))).break).toMatchObject({ kind: 'altered', line: 4, lastLine: 5 });
});

test('a line that is gone is found, a seal too, and a portion with its seal', async () => {
  const gone = async (...numbers: number[]): Promise<unknown> =>
    (await changed(without(...numbers))).break;
  expect(await gone(2)).toMatchObject({ kind: 'removed', line: 2 });
  expect(await gone(3)).toMatchObject({ kind: 'removed', line: 3 });
  expect(await gone(4, 5)).toMatchObject({ kind: 'removed', line: 4 });
});

test('what is gone at the beginning is found: a file begins with what ties it', async () => {
  expect((await changed(without(1, 2, 3))).break).toMatchObject({ kind: 'removed', line: 1 });
});

test('lines that changed places, or are there twice, are found', async () => {
  const swapped: Change = ([a = '', b = '', ...rest]) => [b, a, ...rest];
  expect((await changed(swapped)).break).toMatchObject({ kind: 'removed', line: 1 });
  const twice: Change = (lines) => lines.toSpliced(2, 0, lines[1] ?? '');
  expect((await changed(twice)).break).toMatchObject({ kind: 'moved', line: 3 });
});

test('a file that ends within a portion was cut off', async () => {
  expect((await changed(without(7))).break).toMatchObject({ kind: 'cut off', line: 6 });
  const torn: Change = (lines) => lines.with(6, (lines[6] ?? '').slice(0, 40));
  expect((await changed(torn)).break).toMatchObject({ kind: 'altered', line: 6 });
});

test('a portion that was cut off, and a chain made anew, the newest seal finds', async () => {
  const directory = temporaryDirectory();
  const head = await write(directory, [['a'], ['b']]);
  expect(verifyChain(filesIn(directory), head)).toMatchObject({ whole: true, anchored: true });
  const shorter = await changed(without(6, 7));
  expect(shorter.whole).toBe(true);
  const anchor = { sequence: 7, hash: '0'.repeat(64) };
  expect((await changed(without(6, 7), anchor)).break).toMatchObject({ kind: 'cut off', line: 5 });
  expect((await changed(same, anchor)).break).toMatchObject({ kind: 'made anew' });
  // one who computes all seals again is found by it alone
  const forged = temporaryDirectory();
  await write(forged, [['a'], ['x']]);
  expect(verifyChain(filesIn(forged)).whole).toBe(true);
  expect(verifyChain(filesIn(forged), head).break).toMatchObject({ kind: 'made anew' });
});

test('the chain goes on over files, and a missing one is found', async () => {
  const directory = temporaryDirectory();
  const portions = Array.from({ length: 12 }, (_, n) => [`${n}`.repeat(100)]);
  const head = await write(directory, portions, { fileMaxBytes: 1_500, filesMax: 4 });
  const files = filesIn(directory);
  expect(files).toHaveLength(4);
  const whole = verifyChain(files, head);
  expect(whole).toMatchObject({ whole: true, anchored: true });
  expect(whole.first).toBeGreaterThan(1);
  expect(verifyChain(files.toSpliced(1, 1), head).break).toMatchObject({
    kind: 'removed',
    file: 'audit.1.jsonl',
    line: 1,
  });
  const [first, ...rest] = files;
  const short = first?.bytes.subarray(0, first.bytes.lastIndexOf('{"event":"audit.seal"'));
  const cut = [{ name: first?.name ?? '', bytes: short ?? Buffer.of() }, ...rest];
  expect(verifyChain(cut, head).break).toMatchObject({ kind: 'cut off' });
});

test('lines that a crash left are sealed by the next start, and told of', async () => {
  const directory = temporaryDirectory();
  await write(directory, [['a']]);
  const [file] = filesIn(directory);
  const left = '{"event":"test","sequence":3}\n{"event":"te';
  const found = Buffer.concat([file?.bytes ?? Buffer.of(), Buffer.from(left)]);
  writeFileSync(join(directory, 'audit.jsonl'), found);
  expect(verifyChain(filesIn(directory)).break).toMatchObject({ kind: 'cut off', line: 3 });
  await write(directory, [['b']]);
  expect(verifyChain(filesIn(directory))).toMatchObject({ whole: true, resumed: 1 });
});

test('a daemon that found its log broken says so in it', async () => {
  const directory = temporaryDirectory();
  const kept = { sequence: 9, hash: createHash('sha256').digest('hex') };
  const anchor = { read: async () => kept, keep: async () => undefined };
  await write(directory, [['a']], { anchor });
  expect(verifyChain(filesIn(directory)).break).toMatchObject({ kind: 'found broken' });
});
