import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import {
  AuditLog,
  type AuditAnchor,
  type AuditLogOptions,
  type AuditRecord,
} from '../../src/audit/audit-log.js';
import { SEAL_START, type ChainHead } from '../../src/core/audit-seal.js';
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
/** What was written, without what chains it. */
const recordsIn = (path: string): Record<string, unknown>[] =>
  linesOf(path)
    .filter((line) => !line.startsWith(SEAL_START))
    .map((line) => {
      const { sequence: _, ...record } = JSON.parse(line) as Record<string, unknown>;
      return record;
    });
const numbersIn = (path: string): unknown[] =>
  recordsIn(path)
    .map((record) => record['n'])
    .filter((n) => n !== undefined);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

test('records are JSON lines in a file for its owner alone', async () => {
  const directory = join(temporaryDirectory(), 'audit');
  const log = await open(directory);
  log.write(record(1, 'line\nbreak "é"'));
  await log[Symbol.asyncDispose]();
  const path = join(directory, 'audit.jsonl');
  expect([modeOf(directory), modeOf(path)]).toEqual([0o700, 0o600]);
  expect(recordsIn(path)).toEqual([record(1, 'line\nbreak "é"')]);
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
  expect(lines[4]).toBe('{"time":"20');
  const resumed = { event: 'audit.resumed', time: TIME, unsealed: 0, torn: true };
  expect(lines.slice(5, 7).map((line) => JSON.parse(line) as unknown)).toEqual([
    { ...resumed, sequence: 5 },
    { ...record(2), sequence: 6 },
  ]);
});

test('files rotate: none too large, never too many, no line split', async () => {
  const directory = temporaryDirectory();
  const bounds = { fileMaxBytes: 2_000, filesMax: 3 };
  const log = await open(directory, bounds);
  const total = 30;
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
  expect(kept.length).toBeGreaterThan(10);
  expect(kept).toEqual(upTo(kept.length).map((n) => n + 100 + total - kept.length));
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
    expect(recordsIn(path)).toEqual([{ time: TIME, event: 'audit.dropped', lines: 8 }, record(8)]);
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
  const lines = recordsIn(join(directory, 'audit.jsonl')).length;
  // one more line tells of the dropped ones
  expect(lines).toBe(fits + 50 - log.droppedTotal + 1);
});

test('a record that is too long leaves its head', async () => {
  const directory = temporaryDirectory();
  const log = await open(directory);
  const long = record(1, 'é'.repeat(LIMITS.audit_line_max_bytes / 2));
  log.write(long);
  await log[Symbol.asyncDispose]();
  const [told] = recordsIn(join(directory, 'audit.jsonl'));
  const bytes = Buffer.byteLength(JSON.stringify(long));
  expect(told).toEqual({ time: TIME, event: 'test', truncated: true, bytes });
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

/** The newest seal, kept as a store would. */
class KeptSeal implements AuditAnchor {
  kept: ChainHead | undefined;
  read = async (): Promise<ChainHead | undefined> => this.kept;
  keep = async (head: ChainHead): Promise<void> => {
    this.kept = head;
  };
}

async function writeTo(
  directory: string,
  options: AuditLogOptions,
  ...ns: number[]
): Promise<void> {
  await using log = await AuditLog.open(directory, options);
  for (const n of ns) log.write(record(n));
}

const eventsIn = (directory: string): unknown[] =>
  recordsIn(join(directory, 'audit.jsonl')).map(({ event, n, lost }) => n ?? lost ?? event);

test('what is kept outside tells of a log that lost its end, once', async () => {
  const directory = temporaryDirectory();
  const anchor = new KeptSeal();
  await writeTo(directory, { anchor }, 1);
  const shorter = readFileSync(join(directory, 'audit.jsonl'));
  await writeTo(directory, { anchor }, 2);
  expect(anchor.kept?.sequence).toBe(4);
  writeFileSync(join(directory, 'audit.jsonl'), shorter);
  await writeTo(directory, { anchor }, 3);
  // before line 3 stands the number of the line that was lost
  expect(eventsIn(directory)).toEqual([1, 4, 3]);
  await writeTo(directory, { anchor }, 4);
  expect(eventsIn(directory)).toEqual([1, 4, 3, 4]);
});

test('a daemon that was killed before the newest seal was kept lost nothing', async () => {
  const directory = temporaryDirectory();
  const anchor = new KeptSeal();
  await writeTo(directory, { anchor }, 1);
  const { kept } = anchor;
  await writeTo(directory, { anchor }, 2);
  anchor.kept = kept;
  await writeTo(directory, { anchor }, 3);
  expect(eventsIn(directory)).toEqual([1, 2, 3]);
});

test('files that are gone altogether are told of too', async () => {
  const directory = temporaryDirectory();
  const anchor = new KeptSeal();
  await writeTo(directory, { anchor }, 1);
  unlinkSync(join(directory, 'audit.jsonl'));
  await writeTo(directory, { anchor }, 2);
  expect(eventsIn(directory)).toEqual(['audit.continued', 2, 2]);
  const [first] = linesOf(join(directory, 'audit.jsonl'));
  expect(JSON.parse(first ?? '')).toMatchObject({ sequence: 3 });
});

test('a daemon that was killed between two files goes on from the older one', async () => {
  const directory = temporaryDirectory();
  const anchor = new KeptSeal();
  await writeTo(directory, { anchor }, 1);
  renameSync(join(directory, 'audit.jsonl'), join(directory, 'audit.1.jsonl'));
  await writeTo(directory, { anchor }, 2);
  expect(eventsIn(directory)).toEqual(['audit.continued', 2]);
});
