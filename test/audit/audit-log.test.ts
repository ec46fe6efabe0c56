import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { AuditLog, type AuditLogOptions, type AuditRecord } from '../../src/audit/audit-log.js';
import { LIMITS } from '../../src/core/limits.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const TIME = '2030-01-02T03:04:05.006Z';
const record = (n: number, text = ''): AuditRecord => ({ time: TIME, event: 'test', n, text });
const modeOf = (path: string): number => statSync(path).mode & 0o777;

async function open(directory: string, options?: AuditLogOptions): Promise<AuditLog> {
  const log = await AuditLog.open(directory, options);
  onTestFinished(() => log[Symbol.asyncDispose]());
  return log;
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1);
const numbersIn = (path: string): unknown[] =>
  linesOf(path).map((line) => (JSON.parse(line) as AuditRecord)['n']);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

test('records are JSON lines in a file for its owner alone', async () => {
  const directory = join(temporaryDirectory(), 'audit');
  const log = await open(directory);
  log.write(record(1, 'line\nbreak "é"'));
  await log[Symbol.asyncDispose]();
  const path = join(directory, 'audit.jsonl');
  expect([modeOf(directory), modeOf(path)]).toEqual([0o700, 0o600]);
  expect(linesOf(path).map((line) => JSON.parse(line) as unknown)).toEqual([
    record(1, 'line\nbreak "é"'),
  ]);
  expect(readFileSync(path, 'utf8').endsWith('}\n')).toBe(true);
});

test('a burst over many turns is written whole and in order', async () => {
  const directory = temporaryDirectory();
  const log = await open(directory);
  const writer = async (turn: number): Promise<void> => {
    for (let i = 0; i < turn; i += 1) await new Promise((resolve) => setImmediate(resolve));
    for (let i = 0; i < 500; i += 1) log.write(record(turn * 500 + i));
  };
  await Promise.all(upTo(20).map(writer));
  await log[Symbol.asyncDispose]();
  expect(numbersIn(join(directory, 'audit.jsonl'))).toEqual(upTo(10_000));
  expect(log.droppedTotal).toBe(0);
});

test('a log that is opened again appends, also behind a line that was torn', async () => {
  const directory = temporaryDirectory();
  const path = join(directory, 'audit.jsonl');
  for (const n of [0, 1]) {
    const log = await open(directory);
    log.write(record(n));
    await log[Symbol.asyncDispose]();
  }
  expect(numbersIn(path)).toEqual([0, 1]);
  appendFileSync(path, '{"time":"20');
  const log = await open(directory);
  log.write(record(2));
  await log[Symbol.asyncDispose]();
  const lines = linesOf(path);
  expect(lines[2]).toBe('{"time":"20');
  expect(JSON.parse(lines[3] ?? '')).toEqual(record(2));
});

test('files rotate: none too large, never too many, no line split', async () => {
  const directory = temporaryDirectory();
  const bounds = { fileMaxBytes: 1_000, filesMax: 3 };
  const log = await open(directory, bounds);
  const line = JSON.stringify(record(100)).length + 1;
  const perFile = Math.floor(bounds.fileMaxBytes / line);
  const total = perFile * 5 + 1;
  for (let n = 100; n < 100 + total; n += 1) {
    log.write(record(n));
    // one line to a write, so that the bound binds lines
    await new Promise((resolve) => setImmediate(resolve));
    await expect
      .poll(() => numbersIn(join(directory, 'audit.jsonl')).includes(n), { timeout: 30_000 })
      .toBe(true);
  }
  await log[Symbol.asyncDispose]();
  expect(readdirSync(directory).toSorted()).toEqual([
    'audit.1.jsonl',
    'audit.2.jsonl',
    'audit.jsonl',
  ]);
  for (const file of readdirSync(directory)) {
    expect(statSync(join(directory, file)).size).toBeLessThanOrEqual(bounds.fileMaxBytes);
    expect(modeOf(join(directory, file))).toBe(0o600);
  }
  const names = ['audit.2.jsonl', 'audit.1.jsonl', 'audit.jsonl'];
  const kept = names.flatMap((file) => numbersIn(join(directory, file)));
  expect(kept).toEqual(upTo(perFile * 2 + 1).map((n) => n + 100 + perFile * 3));
});

test.skipIf(!existsSync('/dev/full'))(
  'a full disk stops nobody, and a later line tells what is missing',
  async () => {
    const directory = temporaryDirectory();
    const path = join(directory, 'audit.jsonl');
    symlinkSync('/dev/full', path);
    const log = await open(directory);
    for (let n = 0; n < 7; n += 1) log.write(record(n));
    await expect.poll(() => log.droppedTotal, { timeout: 30_000 }).toBe(7);
    log.write(record(7));
    await expect.poll(() => log.droppedTotal, { timeout: 30_000 }).toBe(8);
    unlinkSync(path);
    log.write(record(8));
    await log[Symbol.asyncDispose]();
    expect(linesOf(path).map((line) => JSON.parse(line) as unknown)).toEqual([
      { time: TIME, event: 'audit.dropped', lines: 8 },
      record(8),
    ]);
  },
);

test('what waits is bounded', async () => {
  const directory = temporaryDirectory();
  const log = await open(directory);
  const text = 'x'.repeat(10_000);
  const fits = Math.floor(
    LIMITS.audit_buffer_max_chars / (JSON.stringify(record(0, text)).length + 1),
  );
  // all in one turn: nothing can be written in between
  for (let n = 0; n < fits + 50; n += 1) log.write(record(n, text));
  expect(log.droppedTotal).toBeGreaterThan(40);
  await log[Symbol.asyncDispose]();
  const lines = linesOf(join(directory, 'audit.jsonl')).length;
  // one more line tells of the dropped ones
  expect(lines).toBe(fits + 50 - log.droppedTotal + 1);
});

test('a record that is too long leaves its head', async () => {
  const directory = temporaryDirectory();
  const log = await open(directory);
  const long = record(1, 'é'.repeat(LIMITS.audit_line_max_bytes / 2));
  log.write(long);
  await log[Symbol.asyncDispose]();
  const [line] = linesOf(join(directory, 'audit.jsonl'));
  const bytes = Buffer.byteLength(JSON.stringify(long));
  expect(JSON.parse(line ?? '')).toEqual({ time: TIME, event: 'test', truncated: true, bytes });
});

test('a log that is closed takes nothing more', async () => {
  const directory = temporaryDirectory();
  const log = await open(directory);
  await log[Symbol.asyncDispose]();
  log.write(record(1));
  expect(log.droppedTotal).toBe(1);
  expect(linesOf(join(directory, 'audit.jsonl'))).toEqual([]);
});

test('a place that cannot be used is told at the start', async () => {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, 'audit.jsonl'));
  await expect(AuditLog.open(directory)).rejects.toThrow('EISDIR');
});
