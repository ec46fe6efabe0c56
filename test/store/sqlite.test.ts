import SqliteDriver from 'better-sqlite3';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import { openStore } from '../../src/store/open.js';
import { DATABASE_FILE } from '../../src/store/sqlite-database.js';
import { SqliteStore } from '../../src/store/sqlite.js';
import {
  brief,
  bytes,
  expectCode,
  putOf,
  readThrough,
  text,
  write,
} from '../support/store-calls.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const modeOf = (path: string): number => statSync(path).mode & 0o777;

async function open(directory: string): Promise<SqliteStore> {
  const store = await SqliteStore.open(directory);
  onTestFinished(() => store[Symbol.asyncDispose]());
  return store;
}

/** A process that runs `code` with an open `store`; `directory` and `put(key)` are at hand. */
function start(directory: string, code: string, shell = ''): ChildProcess {
  const program = `
    import { SqliteStore } from ${JSON.stringify(packageFile('dist/store/sqlite.js'))};
    const directory = ${JSON.stringify(directory)};
    const say = (line) => new Promise((done) => process.stdout.write(line + '\\n', done));
    const store = await SqliteStore.open(directory).catch(async (error) => {
      await say(error.code + ' ' + error.message);
      process.exit(1);
    });
    const value = new Uint8Array(2_000);
    const put = (key) => store.commit({ compares: [], writes: [{ op: 'put', key, value }] });
    ${code}`;
  const node = [process.execPath, '--input-type=module', '-e', program];
  const command = ['-c', `${shell} exec "$@"`, 'sh', ...node];
  const child = spawn('/bin/sh', command, { stdio: ['ignore', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** The child's lines, until `enough` of them came or it ended. */
async function linesOf(child: ChildProcess, enough = Infinity): Promise<string[]> {
  const lines: string[] = [];
  if (!child.stdout) throw new Error('no output');
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    if (lines.length >= enough) break;
  }
  return lines;
}

test('a store that is opened again has its id, entries, revision and history', async () => {
  const directory = join(temporaryDirectory(), 'store');
  const before = await openStore({ kind: 'sqlite', directory });
  await write(before, putOf('a/1', 'one'));
  await write(before, putOf('a/2'));
  await before.compact(1);
  await before[Symbol.asyncDispose]();
  const store = await open(directory);
  expect(store.id).toBe(before.id);
  expect(text((await store.get('a/1'))?.value)).toBe('one');
  expect(await write(store, putOf('a/3'))).toBe(3);
  expect(brief(await readThrough(await store.watch('', 1), 3))).toEqual(['2+a/2', '3+a/3']);
  await expectCode(store.watch('', 0), 'StoreCompacted');
});

test('a revision is never used twice, even when all history was compacted', async () => {
  const directory = temporaryDirectory();
  const before = await SqliteStore.open(directory);
  for (const key of ['a', 'b', 'c']) await write(before, putOf(key));
  await before.compact(3);
  await before[Symbol.asyncDispose]();
  const store = await open(directory);
  expect((await store.range('')).revision).toBe(3);
  expect(await write(store, putOf('d'))).toBe(4);
});

test('entries of sessions end with the process, in one revision that watches see', async () => {
  const directory = temporaryDirectory();
  const before = await SqliteStore.open(directory);
  const session = await before.session(60_000);
  await write(before, putOf('lease/1', 'x', session.id), putOf('lease/2', 'x', session.id));
  await write(before, putOf('kept'));
  await before[Symbol.asyncDispose]();
  const store = await open(directory);
  const range = await store.range('');
  expect(range.entries.map((entry) => entry.key)).toEqual(['kept']);
  const batches = await readThrough(await store.watch('', 2), range.revision);
  expect(brief(batches)).toEqual(['3-lease/1', '3-lease/2']);
});

test('nobody but the owner may read the files', async () => {
  const directory = join(temporaryDirectory(), 'deep', 'store');
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755);
  const store = await open(directory);
  await write(store, putOf('a'));
  expect(modeOf(directory)).toBe(0o700);
  const files = readdirSync(directory);
  expect(files.length).toBeGreaterThan(1);
  for (const file of files) expect([file, modeOf(join(directory, file))]).toEqual([file, 0o600]);
});

test('every commit that was acknowledged survives kill -9', async () => {
  const directory = temporaryDirectory();
  const acknowledged: string[] = [];
  for (let round = 0; round < 4; round += 1) {
    // eight writers, so that commits are grouped
    const child = start(
      directory,
      `const work = async (writer) => {
         for (let i = 0; ; i += 1) {
           const key = 'r${round}/' + writer + '/' + i;
           await put(key);
           await say(key);
         }
       };
       await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(work));`,
    );
    const exit = once(child, 'exit');
    acknowledged.push(...(await linesOf(child, 40 + round * 25)));
    child.kill('SIGKILL');
    await exit;
  }
  const store = await open(directory);
  expect(acknowledged.length).toBe(4 * 40 + 6 * 25);
  for (const key of acknowledged) expect((await store.get(key))?.value.length).toBe(2_000);
  // and what is there is whole: each revision wrote one of the entries
  const { revision } = await store.range('', { limit: 1 });
  const history = await readThrough(await store.watch('', 0), revision);
  expect(history.map((batch) => batch.revision)).toEqual(
    Array.from({ length: revision }, (_, i) => i + 1),
  );
});

test('a second process is told who owns the store and what to do', async () => {
  const directory = temporaryDirectory();
  const store = await open(directory);
  await write(store, putOf('a'));
  const [line] = await linesOf(start(directory, ''));
  expect(line).toBe(
    `StoreInUse Another Keyspan daemon owns the store in ${directory}. ` +
      'Stop it with `keyspan down`, or choose another home with --home.',
  );
  expect(await write(store, putOf('b'))).toBe(2);
});

test('the store is free again when its owner was killed', async () => {
  const directory = temporaryDirectory();
  const child = start(directory, `await put('a'); await say('put'); setInterval(() => {}, 1e6);`);
  expect(await linesOf(child, 1)).toEqual(['put']);
  await expectCode(SqliteStore.open(directory), 'StoreInUse');
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
  const store = await open(directory);
  expect(await store.get('a')).toBeDefined();
});

test('a file that cannot grow ends the store with a named error and loses nothing', async () => {
  const directory = temporaryDirectory();
  const child = start(
    directory,
    `let count = 0;
     for (;;) {
       try {
         await put('k/' + count);
         count += 1;
       } catch (error) {
         await say(error.code);
         break;
       }
     }
     await store.get('k/0').catch((error) => say(error.code));
     await store[Symbol.asyncDispose]();
     await say(String(count));`,
    'trap "" XFSZ; ulimit -f 1500;',
  );
  const [first, second, count] = await linesOf(child);
  expect([first, second]).toEqual(['StoreFailed', 'StoreFailed']);
  const store = await open(directory);
  for (let i = 0; i < Number(count); i += 1) expect(await store.get(`k/${i}`)).toBeDefined();
  expect(Number(count)).toBeGreaterThan(0);
});

test('a store of a newer Keyspan is left alone', async () => {
  const directory = temporaryDirectory();
  const store = await SqliteStore.open(directory);
  await store[Symbol.asyncDispose]();
  const db = new SqliteDriver(join(directory, DATABASE_FILE));
  db.pragma('user_version = 999');
  db.close();
  await expectCode(SqliteStore.open(directory), 'StoreVersion');
});

test('a file that is no database is left alone', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, DATABASE_FILE), bytes('not a database. '.repeat(100)));
  await expectCode(SqliteStore.open(directory), 'StoreCorrupt');
});

test('a directory that cannot be made is a named error', async () => {
  const file = join(temporaryDirectory(), 'file');
  writeFileSync(file, '');
  await expectCode(SqliteStore.open(join(file, 'store')), 'StoreFailed');
});
