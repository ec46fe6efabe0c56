import { describe, expect, onTestFinished, test } from 'vitest';
import { KeyspanError } from '../../src/core/errors.js';
import { LIMITS } from '../../src/core/limits.js';
import { MemoryStore } from '../../src/store/memory.js';
import { Snapshot, type SnapshotOptions } from '../../src/store/snapshot.js';
import { SqliteStore } from '../../src/store/sqlite.js';
import type {
  Entry,
  Range,
  RangeOptions,
  Store,
  StoreReader,
  Watch,
  WatchBatch,
} from '../../src/store/store.js';
import { bytes, deleteOf, expectCode, putOf, text, write } from '../support/store-calls.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const STORES: [string, () => Promise<Store>][] = [
  ['memory', () => MemoryStore.open()],
  ['sqlite', () => SqliteStore.open(temporaryDirectory())],
];

const decode = (entry: Entry): string => {
  const value = text(entry.value) ?? '';
  if (value === 'broken') throw new Error('no good');
  return value;
};

async function follow(
  store: StoreReader,
  prefix: string,
  options: SnapshotOptions = {},
): Promise<Snapshot<string>> {
  const snapshot = await Snapshot.open(store, prefix, decode, options);
  onTestFinished(() => snapshot[Symbol.asyncDispose]());
  return snapshot;
}

const keysOf = (snapshot: Snapshot<string>, prefix?: string): string[] =>
  snapshot.entries(prefix).map((entry) => entry.key);

describe.each(STORES)('a snapshot of the store in %s', (_, openStore) => {
  async function open(): Promise<Store> {
    const store = await openStore();
    onTestFinished(() => store[Symbol.asyncDispose]());
    return store;
  }

  test('shows what is there and what comes', async () => {
    const store = await open();
    const first = await write(store, putOf('k/2', 'two'), putOf('k/1', 'one'), putOf('k0'));
    const snapshot = await follow(store, 'k/');
    expect(snapshot.get('k/1')).toEqual({ value: 'one', modRevision: first });
    expect(snapshot.get('k0')).toBeUndefined();
    const second = await write(store, putOf('k/3/x', 'new'), deleteOf('k/2'), putOf('k/1', '1'));
    await snapshot.reached(second);
    expect(snapshot.get('k/2')).toBeUndefined();
    expect(snapshot.entries()).toEqual([
      { key: 'k/1', value: '1', modRevision: second },
      { key: 'k/3/x', value: 'new', modRevision: second },
    ]);
    expect(keysOf(snapshot, 'k/3/')).toEqual(['k/3/x']);
    const page = snapshot.entries('k/', { after: 'k/1', limit: 1 });
    expect(page.map((entry) => entry.key)).toEqual(['k/3/x']);
  });

  test('lets a writer read what it wrote', async () => {
    const store = await open();
    const snapshot = await follow(store, 'k/');
    const writer = async (name: string): Promise<void> => {
      for (let i = 0; i < 60; i += 1) {
        const revision = await write(store, putOf(`k/${name}`, String(i)));
        await snapshot.reached(revision);
        expect(snapshot.revision).toBeGreaterThanOrEqual(revision);
        expect(snapshot.get(`k/${name}`)).toEqual({ value: String(i), modRevision: revision });
      }
    };
    await Promise.all(['a', 'b', 'c', 'd'].map(writer));
  });

  test('reaches revisions that touched nothing under its prefix', async () => {
    const store = await open();
    const snapshot = await follow(store, 'k/');
    for (let i = 0; i < 20; i += 1) await snapshot.reached(await write(store, putOf('other')));
    expect(snapshot.revision).toBe(20);
    await snapshot.reached(20);
    await snapshot.reached(0);
  });

  test('reads a prefix of many pages while it is being changed', async () => {
    const store = await open();
    const count = 2_500;
    const names = Array.from({ length: count }, (_, i) => `k/${String(i).padStart(5, '0')}`);
    await Promise.all(names.map((key) => write(store, putOf(key, 'old'))));
    const opening = follow(store, 'k/');
    const changes = names.map((key, i) =>
      i % 3 === 0 ? write(store, deleteOf(key)) : write(store, putOf(key, 'new')),
    );
    const snapshot = await opening;
    await snapshot.reached(Math.max(...(await Promise.all(changes))));
    expect(keysOf(snapshot)).toEqual(names.filter((_, i) => i % 3 !== 0));
    expect(snapshot.entries().every((entry) => entry.value === 'new')).toBe(true);
  });

  test('tells which keys changed', async () => {
    const store = await open();
    await write(store, putOf('k/1'));
    const told: string[][] = [];
    const seen: boolean[] = [];
    const snapshot = await follow(store, 'k/', {
      onChange: (keys) => {
        told.push([...keys]);
        seen.push(snapshot.get('k/2') !== undefined);
      },
    });
    await write(store, putOf('k/2'), deleteOf('k/1'), putOf('other'));
    await write(store, putOf('other'));
    await snapshot.reached(await write(store, deleteOf('k/2')));
    expect(told).toEqual([['k/2', 'k/1'], ['k/2']]);
    expect(seen).toEqual([true, false]);
  });

  test('denies everything when the store is gone', async () => {
    const store = await open();
    await write(store, putOf('k/1'));
    const snapshot = await follow(store, 'k/');
    const waiting = expectCode(snapshot.reached(100), 'StoreClosed');
    await store[Symbol.asyncDispose]();
    await waiting;
    expect(snapshot.lost.aborted).toBe(true);
    expect(() => snapshot.get('k/1')).toThrow(KeyspanError);
    expect(() => snapshot.entries()).toThrow(KeyspanError);
    await expectCode(snapshot.reached(0), 'StoreClosed');
  });

  test('denies everything when it is disposed', async () => {
    const store = await open();
    const snapshot = await follow(store, 'k/');
    const waiting = expectCode(snapshot.reached(100), 'StoreClosed');
    await snapshot[Symbol.asyncDispose]();
    await waiting;
    expect(() => snapshot.get('k/1')).toThrow(KeyspanError);
    await write(store, putOf('k/1'));
    await snapshot[Symbol.asyncDispose]();
  });

  test('cannot be opened on a closed store', async () => {
    const store = await open();
    await store[Symbol.asyncDispose]();
    await expectCode(Snapshot.open(store, 'k/', decode), 'StoreClosed');
  });

  test('denies one entry that cannot be parsed, and no other', async () => {
    const store = await open();
    await write(store, putOf('k/1', 'broken'), putOf('k/2', 'fine'));
    const snapshot = await follow(store, 'k/');
    expect(() => snapshot.get('k/1')).toThrow('cannot be read');
    expect(() => snapshot.entries()).toThrow('cannot be read');
    expect(snapshot.get('k/2')?.value).toBe('fine');
    await snapshot.reached(await write(store, putOf('k/1', 'mended')));
    expect(keysOf(snapshot)).toEqual(['k/1', 'k/2']);
  });
});

test('a snapshot that fell behind the history reads everything again', async () => {
  const store = await MemoryStore.open();
  onTestFinished(() => store[Symbol.asyncDispose]());
  await write(store, putOf('k/gone'), putOf('k/kept'));
  const told: string[] = [];
  const onChange = (keys: readonly string[]): void => void told.push(...keys);
  const snapshot = await follow(store, 'k/', { onChange });
  // all in one turn, so that the snapshot cannot keep up
  const commits = [write(store, deleteOf('k/gone'))];
  for (let i = 0; i <= LIMITS.store_history_max; i += 1) {
    commits.push(write(store, putOf('k/busy', String(i))));
  }
  const revisions = await Promise.all(commits);
  await snapshot.reached(revisions.at(-1) ?? 0);
  expect(keysOf(snapshot)).toEqual(['k/busy', 'k/kept']);
  expect(snapshot.get('k/busy')?.value).toBe(String(LIMITS.store_history_max));
  expect(new Set(told)).toEqual(new Set(['k/gone', 'k/busy']));
  await snapshot.reached(await write(store, putOf('k/next', 'after')));
  expect(snapshot.get('k/next')?.value).toBe('after');
});

/** A reader whose watches break, and whose ranges wait, when a test says so. */
class FaultyReader implements StoreReader {
  readonly #store: StoreReader;
  #break: ((error: KeyspanError) => void)[] = [];
  #gate: Promise<void> = Promise.resolve();
  ranges = 0;

  constructor(store: StoreReader) {
    this.#store = store;
  }

  get(key: string): Promise<Entry | undefined> {
    return this.#store.get(key);
  }

  async range(prefix: string, options?: RangeOptions): Promise<Range> {
    this.ranges += 1;
    await this.#gate;
    return this.#store.range(prefix, options);
  }

  async watch(prefix: string, afterRevision: number): Promise<Watch> {
    const watch = await this.#store.watch(prefix, afterRevision);
    const broken = new Promise<never>((_, reject) => this.#break.push(reject));
    broken.catch(() => undefined);
    const inner = watch[Symbol.asyncIterator]();
    return {
      [Symbol.asyncIterator]: (): AsyncIterator<WatchBatch> => ({
        next: () => Promise.race([inner.next(), broken]),
      }),
      [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
    };
  }

  breakWatches(error: KeyspanError): void {
    for (const reject of this.#break.splice(0)) reject(error);
  }

  /** Ranges wait until the returned function is called. */
  closeGate(): () => void {
    let open = (): void => undefined;
    this.#gate = new Promise((resolve) => {
      open = resolve;
    });
    return open;
  }
}

test.each(['StoreCompacted', 'StoreFailed'] as const)(
  'a snapshot whose watch broke with %s denies until it has read again',
  async (code) => {
    const store = await MemoryStore.open();
    onTestFinished(() => store[Symbol.asyncDispose]());
    await write(store, putOf('k/1', 'old'));
    const reader = new FaultyReader(store);
    const snapshot = await follow(reader, 'k/');
    const openGate = reader.closeGate();
    reader.breakWatches(new KeyspanError(code));
    await expect.poll(() => reader.ranges, { timeout: 30_000 }).toBe(2);
    const revision = await write(store, putOf('k/1', 'new'));
    expect(() => snapshot.get('k/1')).toThrow(KeyspanError);
    expect(() => snapshot.entries()).toThrow(KeyspanError);
    let reached = false;
    const waiting = snapshot.reached(1).then(() => (reached = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(reached).toBe(false);
    expect(snapshot.lost.aborted).toBe(false);
    openGate();
    await waiting;
    await snapshot.reached(revision);
    expect(snapshot.get('k/1')?.value).toBe('new');
  },
);

test('values of the store are what the decoder sees', async () => {
  const store = await MemoryStore.open();
  onTestFinished(() => store[Symbol.asyncDispose]());
  const value = bytes('\u0000\u0001');
  await store.commit({ compares: [], writes: [{ op: 'put', key: 'k/1', value }] });
  const snapshot = await Snapshot.open(store, 'k/', (entry) => [...entry.value]);
  onTestFinished(() => snapshot[Symbol.asyncDispose]());
  expect(snapshot.get('k/1')?.value).toEqual([0, 1]);
});
