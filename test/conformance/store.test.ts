import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Compare } from '../../src/core/commit.js';
import { LIMITS } from '../../src/core/limits.js';
import { MemoryStore } from '../../src/store/memory.js';
import { SqliteStore } from '../../src/store/sqlite.js';
import type { Range, Store, Watch } from '../../src/store/store.js';
import {
  brief,
  bytes,
  deleteOf,
  expectCode,
  putOf,
  readThrough,
  text,
  write,
  writeIf,
} from '../support/store-calls.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

interface Options {
  now?: () => number;
}

const STORES: [string, (options: Options) => Promise<Store>][] = [
  ['memory', (options) => MemoryStore.open(options)],
  ['sqlite', (options) => SqliteStore.open(temporaryDirectory(), options)],
];

const keysOf = (range: Range): string[] => range.entries.map((entry) => entry.key);

describe.each(STORES)('the store in %s', (_, openStore) => {
  async function open(options: Options = {}): Promise<Store> {
    const store = await openStore(options);
    onTestFinished(() => store[Symbol.asyncDispose]());
    return store;
  }

  describe('entries', () => {
    test('are got as they were put, with the revisions that made and changed them', async () => {
      const store = await open();
      expect(await store.get('a')).toBeUndefined();
      const first = await write(store, putOf('a', 'one'));
      const second = await write(store, putOf('b'), putOf('a', 'two'));
      expect(second).toBe(first + 1);
      const entry = await store.get('a');
      expect(text(entry?.value)).toBe('two');
      expect(entry).toMatchObject({ key: 'a', createRevision: first, modRevision: second });
      expect(entry).not.toHaveProperty('lease');
      expect((await store.get('b'))?.createRevision).toBe(second);
    });

    test('begin anew after a delete', async () => {
      const store = await open();
      await write(store, putOf('a'));
      await write(store, deleteOf('a'));
      expect(await store.get('a')).toBeUndefined();
      const revision = await write(store, putOf('a'));
      expect((await store.get('a'))?.createRevision).toBe(revision);
    });

    test('do not change with the bytes that the caller reuses', async () => {
      const store = await open();
      const value = bytes('before');
      const commit = store.commit({ compares: [], writes: [{ op: 'put', key: 'a', value }] });
      value.fill(0);
      await commit;
      expect(text((await store.get('a'))?.value)).toBe('before');
    });

    test('may be views into larger memory, and empty', async () => {
      const store = await open();
      const pool = bytes('..value..');
      await store.commit({
        compares: [],
        writes: [
          { op: 'put', key: 'view', value: pool.subarray(2, 7) },
          { op: 'put', key: 'empty', value: new Uint8Array(0) },
        ],
      });
      expect(text((await store.get('view'))?.value)).toBe('value');
      expect((await store.get('empty'))?.value.length).toBe(0);
    });
  });

  describe('a commit', () => {
    test('that changes nothing takes no revision', async () => {
      const store = await open();
      const revision = await write(store, putOf('a'));
      expect(await write(store)).toBe(revision);
      expect(await write(store, deleteOf('absent'))).toBe(revision);
      expect(await writeIf(store, [{ key: 'a', modRevision: revision }])).toBe(revision);
      expect((await store.range('')).revision).toBe(revision);
    });

    test('happens only if everything it read still holds', async () => {
      const store = await open();
      const revision = await writeIf(store, [{ key: 'a', modRevision: null }], putOf('a', '1'));
      const absent = { key: 'a', modRevision: null };
      const older = { key: 'a', modRevision: revision - 1 };
      const same = { key: 'a', modRevision: revision };
      const other = { key: 'b', modRevision: 1 };
      await expectCode(writeIf(store, [absent], putOf('a', '2')), 'StoreConflict');
      await expectCode(writeIf(store, [older], putOf('a', '2')), 'StoreConflict');
      await expectCode(writeIf(store, [same, other], putOf('c'), putOf('a')), 'StoreConflict');
      expect(text((await store.get('a'))?.value)).toBe('1');
      expect(await store.get('c')).toBeUndefined();
      expect(await writeIf(store, [same], putOf('a', '2'))).toBe(revision + 1);
      await expectCode(writeIf(store, [same], deleteOf('a')), 'StoreConflict');
    });

    test('has one winner when two writers race over one compare', async () => {
      const store = await open();
      let modRevision: number | null = null;
      for (let round = 0; round < 200; round += 1) {
        const compares: Compare[] = [{ key: 'leader', modRevision }];
        const race = ['red', 'blue'].map((name) =>
          store.commit({ compares, writes: [putOf('leader', `${name} ${round}`)] }),
        );
        const results = await Promise.allSettled(race);
        const won = results.flatMap((result) =>
          result.status === 'fulfilled' ? [result.value] : [],
        );
        const lost = results.flatMap((result) =>
          result.status === 'rejected' ? [(result.reason as { code: string }).code] : [],
        );
        expect(won.length).toBe(1);
        expect(lost).toEqual(['StoreConflict']);
        modRevision = won[0] ?? null;
        const winner = results[0]?.status === 'fulfilled' ? 'red' : 'blue';
        expect(text((await store.get('leader'))?.value)).toBe(`${winner} ${round}`);
      }
    });

    test('that fails does not hurt those made together with it', async () => {
      const store = await open();
      const commits = Array.from({ length: 300 }, (_, i) =>
        writeIf(store, [{ key: `k/${i % 100}`, modRevision: null }], putOf(`k/${i % 100}`)),
      );
      const results = await Promise.allSettled(commits);
      const states = results.map((result) => result.status);
      expect(states.slice(0, 100).every((state) => state === 'fulfilled')).toBe(true);
      expect(states.slice(100).every((state) => state === 'rejected')).toBe(true);
      expect((await store.range('k/')).entries.length).toBe(100);
    });

    test('holds as many writes and compares as the limit says, and no more', async () => {
      const store = await open();
      const writes = Array.from({ length: 129 }, (_, i) => putOf(`w/${i}`));
      const compares = writes.map(({ key }) => ({ key, modRevision: null }));
      await expectCode(store.commit({ compares: [], writes }), 'StoreTooLarge');
      await expectCode(store.commit({ compares, writes: [] }), 'StoreTooLarge');
      await store.commit({ compares: compares.slice(1), writes: writes.slice(1) });
      expect((await store.range('w/')).entries.length).toBe(128);
    });

    test('bounds keys and values by their bytes', async () => {
      const store = await open();
      const longest = 'é'.repeat(512);
      await write(store, putOf(longest));
      expect(await store.get(longest)).toBeDefined();
      await expectCode(write(store, putOf(`${longest}x`)), 'StoreTooLarge');
      await expectCode(store.get(`${longest}x`), 'StoreTooLarge');
      await expectCode(store.range(`${longest}x`), 'StoreTooLarge');
      const value = new Uint8Array(LIMITS.store_value_max_bytes + 1);
      const tooLarge = store.commit({ compares: [], writes: [{ op: 'put', key: 'v', value }] });
      await expectCode(tooLarge, 'StoreTooLarge');
      const fits = value.subarray(1);
      await store.commit({ compares: [], writes: [{ op: 'put', key: 'v', value: fits }] });
      expect((await store.get('v'))?.value.length).toBe(LIMITS.store_value_max_bytes);
    });

    test('does not write one key twice, nor one without a name', async () => {
      const store = await open();
      await expect(write(store, putOf('a'), deleteOf('a'))).rejects.toThrow('each key once');
      await expect(write(store, putOf(''))).rejects.toThrow('not empty');
      await expect(write(store, putOf('a\ud800'))).rejects.toThrow('well-formed');
      expect((await store.range('')).entries).toEqual([]);
    });
  });

  describe('a range', () => {
    test('covers its prefix and nothing beside it', async () => {
      const store = await open();
      const keys = ['a', 'a.', 'a/', 'a/1', 'a/1/x', 'a/é', 'a/\u{10ffff}', 'a0', 'b'];
      await write(store, ...keys.map((key) => putOf(key)));
      const under = await store.range('a/');
      expect(keysOf(under)).toEqual(['a/', 'a/1', 'a/1/x', 'a/é', 'a/\u{10ffff}']);
      expect(keysOf(await store.range('a/1'))).toEqual(['a/1', 'a/1/x']);
      expect(keysOf(await store.range(''))).toEqual(keys);
      expect(await store.range('c')).toEqual({ entries: [], revision: 1, more: false });
    });

    test("has the order of the keys' bytes", async () => {
      const store = await open();
      const keys = ['\u{1f600}', '\ue000', '\uffff', 'z', 'a\u0000', 'a', 'é', '\u{10000}', 'aa'];
      await write(store, ...keys.map((key) => putOf(key)));
      const sorted = keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(keysOf(await store.range(''))).toEqual(sorted);
      const behind = await store.range('', { after: '\uffff' });
      expect(keysOf(behind)).toEqual(['\u{10000}', '\u{1f600}']);
    });

    test('comes in pages that meet each key once', async () => {
      const store = await open();
      const keys = Array.from({ length: 10 }, (_, i) => `p/${i}`);
      await write(store, ...keys.map((key) => putOf(key)), putOf('p0'));
      const first = await store.range('p/', { limit: 4 });
      expect([keysOf(first), first.more]).toEqual([keys.slice(0, 4), true]);
      const second = await store.range('p/', { limit: 4, after: 'p/3' });
      expect([keysOf(second), second.more]).toEqual([keys.slice(4, 8), true]);
      const third = await store.range('p/', { limit: 2, after: 'p/7' });
      expect([keysOf(third), third.more]).toEqual([keys.slice(8), false]);
      expect(keysOf(await store.range('p/', { after: 'p/55' }))).toEqual(keys.slice(6));
      expect(keysOf(await store.range('p/', { after: 'a' }))).toEqual(keys);
      expect(keysOf(await store.range('p/', { after: 'q' }))).toEqual([]);
    });

    test('is never larger than the limit', async () => {
      const store = await open();
      const all = Array.from({ length: 1_001 }, (_, i) => write(store, putOf(`n/${i}`)));
      await Promise.all(all);
      const range = await store.range('n/', { limit: 5_000 });
      expect([range.entries.length, range.more]).toEqual([LIMITS.store_range_max, true]);
    });
  });

  describe('a watch', () => {
    test('tells what happened since an old revision, and what happens from now on', async () => {
      const store = await open();
      await write(store, putOf('a/1'));
      await write(store, putOf('b/1'));
      await write(store, putOf('a/2'), putOf('b/2'), deleteOf('a/1'));
      const watch = await store.watch('a/', 0);
      await write(store, deleteOf('b/1'));
      const last = await write(store, putOf('a/3', 'three'));
      const batches = await readThrough(watch, last);
      expect(brief(batches)).toEqual(['1+a/1', '3+a/2', '3-a/1', '5+a/3']);
      const event = batches.at(-1)?.events[0];
      const entry = event?.type === 'put' ? event.entry : undefined;
      expect(text(entry?.value)).toBe('three');
      expect(entry).toMatchObject({ key: 'a/3', createRevision: 5, modRevision: 5 });
      const later = await store.watch('a/', 3);
      expect(brief(await readThrough(later, last))).toEqual(['5+a/3']);
    });

    test('tells that the revision moved, when nothing under its prefix did', async () => {
      const store = await open();
      await write(store, putOf('b'));
      const watch = await store.watch('a/', 0);
      const iterator = watch[Symbol.asyncIterator]();
      expect((await iterator.next()).value).toEqual({ revision: 1, events: [] });
      const next = iterator.next();
      await write(store, putOf('b'));
      expect((await next).value).toEqual({ revision: 2, events: [] });
    });

    test('may begin at a revision that is still to come', async () => {
      const store = await open();
      const watch = await store.watch('', 2);
      for (const key of ['a', 'b', 'c']) await write(store, putOf(key));
      expect(brief(await readThrough(watch, 3))).toEqual(['3+c']);
    });

    test('tells each revision once and in order while many are being made', async () => {
      const store = await open();
      const total = 400;
      const watches: Promise<Watch>[] = [];
      const commits = Array.from({ length: total }, (_, i) => {
        if (i % 40 === 0) watches.push(store.watch('k/', 0));
        return write(store, putOf(`k/${i}`));
      });
      await Promise.all(commits);
      const expected = Array.from({ length: total }, (_, i) => `${i + 1}+k/${i}`);
      for (const watch of watches) {
        expect(brief(await readThrough(await watch, total))).toEqual(expected);
      }
    });

    test('ends when it is disposed', async () => {
      const store = await open();
      const watch = await store.watch('', 0);
      const reading = (async () => {
        for await (const batch of watch) expect(batch.events).toEqual([]);
        return 'ended';
      })();
      await watch[Symbol.asyncDispose]();
      expect(await reading).toBe('ended');
      await write(store, putOf('a'));
      const next = await watch[Symbol.asyncIterator]().next();
      expect(next.done).toBe(true);
    });
  });

  describe('compaction', () => {
    test('forgets history, but no entry', async () => {
      const store = await open();
      for (const key of ['a', 'b', 'c']) await write(store, putOf(key));
      await store.compact(2);
      await expectCode(store.watch('', 0), 'StoreCompacted');
      await expectCode(store.watch('', 1), 'StoreCompacted');
      expect(brief(await readThrough(await store.watch('', 2), 3))).toEqual(['3+c']);
      expect(keysOf(await store.range(''))).toEqual(['a', 'b', 'c']);
    });

    test('goes no further than the present, and never back', async () => {
      const store = await open();
      await write(store, putOf('a'));
      await store.compact(100);
      await store.compact(0);
      await expectCode(store.watch('', 0), 'StoreCompacted');
      const watch = await store.watch('', 1);
      const revision = await write(store, putOf('b'));
      expect(revision).toBe(2);
      expect(brief(await readThrough(watch, 2))).toEqual(['2+b']);
    });

    test('does not touch a watch that is already open', async () => {
      const store = await open();
      await write(store, putOf('a'));
      const watch = await store.watch('', 0);
      await store.compact(1);
      expect(brief(await readThrough(watch, 1))).toEqual(['1+a']);
    });

    test('happens by itself behind the bound, also to a reader that is too slow', async () => {
      const store = await open();
      const slow = await store.watch('', 0);
      const count = LIMITS.store_history_max + 1;
      const commits = Array.from({ length: count }, (_, i) => write(store, putOf(`k/${i % 50}`)));
      await Promise.all(commits);
      await expectCode(store.watch('', 0), 'StoreCompacted');
      const whole = await readThrough(await store.watch('', 1), count);
      expect(whole.length).toBe(LIMITS.store_history_max);
      await expectCode(slow[Symbol.asyncIterator]().next(), 'StoreCompacted');
    });
  });

  describe('a session', () => {
    /** Time moves only by `pass`, and the keep-alive timer with it. */
    function stopTime(): { now: () => number; pass: (ms: number) => void; sleep: typeof sleep } {
      let time = 1_000;
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
      onTestFinished(() => {
        vi.useRealTimers();
      });
      const sleep = (ms: number): void => void (time += ms);
      const pass = (ms: number): void => {
        for (let step = 0; step < ms; step += 10) {
          time += 10;
          vi.advanceTimersByTime(10);
        }
      };
      return { now: () => time, pass, sleep };
    }

    test('takes its entries with it, in one revision, when it ends', async () => {
      const store = await open();
      const session = await store.session(10_000);
      await write(store, putOf('lease/1', 'x', session.id), putOf('kept'));
      const last = await write(store, putOf('lease/2', 'y', session.id));
      expect((await store.get('lease/1'))?.lease).toBe(session.id);
      await session[Symbol.asyncDispose]();
      expect(keysOf(await store.range(''))).toEqual(['kept']);
      const batches = await readThrough(await store.watch('', last), last + 1);
      expect(brief(batches)).toEqual([`${last + 1}-lease/1`, `${last + 1}-lease/2`]);
      expect(session.lost.aborted).toBe(false);
      await expectCode(write(store, putOf('lease/3', 'z', session.id)), 'StoreSessionLost');
      await session[Symbol.asyncDispose]();
    });

    test('lets go of an entry that was put again without it', async () => {
      const store = await open();
      const session = await store.session(10_000);
      await write(store, putOf('a', '1', session.id));
      await write(store, putOf('a', '2'));
      expect(await store.get('a')).not.toHaveProperty('lease');
      await session[Symbol.asyncDispose]();
      expect(text((await store.get('a'))?.value)).toBe('2');
    });

    test('is kept alive while its holder lives', async () => {
      const { now, pass } = stopTime();
      const store = await open({ now });
      const session = await store.session(300);
      await write(store, putOf('lease', 'x', session.id));
      pass(3_000);
      expect(session.lost.aborted).toBe(false);
      await write(store, putOf('lease', 'y', session.id));
      expect(await store.get('lease')).toBeDefined();
    });

    test('is lost when the process stood still for longer than its ttl', async () => {
      const { now, pass, sleep } = stopTime();
      const store = await open({ now });
      const session = await store.session(300);
      const other = await store.session(10_000);
      await write(store, putOf('lease/1', 'x', session.id), putOf('lease/2', 'x', other.id));
      const watch = await store.watch('lease/', 1);
      sleep(299);
      expect(session.lost.aborted).toBe(false);
      sleep(1);
      pass(100);
      expect(session.lost.aborted).toBe(true);
      expect(brief(await readThrough(watch, 2))).toEqual(['2-lease/1']);
      expect(other.lost.aborted).toBe(false);
      expect(keysOf(await store.range('lease/'))).toEqual(['lease/2']);
    });

    test('that ran out takes no put, even before anybody noticed', async () => {
      const { now, sleep } = stopTime();
      const store = await open({ now });
      const session = await store.session(300);
      await write(store, putOf('lease', 'x', session.id));
      sleep(300);
      await expectCode(write(store, putOf('lease', 'y', session.id)), 'StoreSessionLost');
      expect(session.lost.aborted).toBe(true);
      expect(await store.get('lease')).toBeUndefined();
    });

    test('must exist', async () => {
      const store = await open();
      await expectCode(write(store, putOf('a', 'x', 'nobody')), 'StoreSessionLost');
    });
  });

  describe('closing', () => {
    test('ends watches and sessions and refuses every call', async () => {
      const store = await open();
      const session = await store.session(10_000);
      const watch = await store.watch('', 0);
      const reading = watch[Symbol.asyncIterator]().next();
      const refused = expectCode(reading, 'StoreClosed');
      await store[Symbol.asyncDispose]();
      await refused;
      expect(session.lost.aborted).toBe(true);
      await expectCode(store.get('a'), 'StoreClosed');
      await expectCode(store.range('a'), 'StoreClosed');
      await expectCode(store.watch('a', 0), 'StoreClosed');
      await expectCode(store.session(1), 'StoreClosed');
      await expectCode(store.compact(1), 'StoreClosed');
      await expectCode(write(store, putOf('a')), 'StoreClosed');
      await session[Symbol.asyncDispose]();
      await watch[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
    });

    test('does what was asked before', async () => {
      const store = await open();
      const commits = Array.from({ length: 50 }, (_, i) => write(store, putOf(`k/${i}`)));
      await store[Symbol.asyncDispose]();
      const revisions = await Promise.all(commits);
      expect(revisions).toEqual(Array.from({ length: 50 }, (_, i) => i + 1));
    });
  });

  test('has an id of its own', async () => {
    const [one, two] = [await open(), await open()];
    expect(one.id).toMatch(/^[0-9a-f]{32}$/);
    expect(two.id).not.toBe(one.id);
  });
});
