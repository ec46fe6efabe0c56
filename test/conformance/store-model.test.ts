import * as fc from 'fast-check';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { CommitPart } from '../../src/core/commit.js';
import { isKeyspanError } from '../../src/core/errors.js';
import { MemoryStore } from '../../src/store/memory.js';
import { SqliteStore } from '../../src/store/sqlite.js';
import type { Entry, Store, WatchBatch } from '../../src/store/store.js';
import { readThrough } from '../support/store-calls.js';

const KEYS = ['a', 'a/', 'a/1', 'a/2', 'a0', 'é/1', '\uffff', '\u{1f600}', 'a/\u0000', 'b'];
const PREFIXES = ['', 'a', 'a/', 'é', 'b', '\u{1f600}', 'none'];

type Guess = 'absent' | 'present' | 'stale';
type Step =
  | { do: 'commit'; compares: [string, Guess][]; writes: [string, Uint8Array | null][] }
  | { do: 'range'; prefix: string; after?: string | undefined; limit?: number | undefined }
  | { do: 'get'; key: string }
  | { do: 'watch'; prefix: string; back: number }
  | { do: 'compact'; back: number }
  | { do: 'reopen' };

const key = fc.constantFrom(...KEYS);
const prefix = fc.constantFrom(...PREFIXES);
const guess = fc.constantFrom<Guess>('present', 'absent', 'stale');
const back = fc.integer({ min: -2, max: 12 });
const optional = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined });

const commit = fc.record({
  do: fc.constant('commit' as const),
  compares: fc.array(fc.tuple(key, guess), { maxLength: 2 }),
  writes: fc.uniqueArray(fc.tuple(key, fc.option(fc.uint8Array({ maxLength: 40 }))), {
    maxLength: 5,
    selector: ([name]) => name,
  }),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 10, arbitrary: commit },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('range' as const),
      prefix,
      after: optional(key),
      limit: optional(fc.integer({ min: 1, max: 4 })),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('get' as const), key }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('watch' as const), prefix, back }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('compact' as const), back }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
);

const plainEntry = (entry: Entry | undefined): unknown =>
  entry && { ...entry, value: Buffer.from(entry.value).toString('hex') };

const plainBatch = (batch: WatchBatch): unknown => ({
  revision: batch.revision,
  events: batch.events.map((event) =>
    event.type === 'put' ? { ...event, entry: plainEntry(event.entry) } : event,
  ),
});

/** The commit that a step means, in the model's present state. */
async function partOf(model: Store, wanted: Step & { do: 'commit' }): Promise<CommitPart> {
  const compares = [];
  for (const [name, state] of wanted.compares) {
    const present = (await model.get(name))?.modRevision ?? null;
    if (state === 'present') compares.push({ key: name, modRevision: present });
    else if (state === 'absent') compares.push({ key: name, modRevision: null });
    else compares.push({ key: name, modRevision: (present ?? 0) + 1 });
  }
  const writes = wanted.writes.map(([name, value]) =>
    value === null
      ? { op: 'delete' as const, key: name }
      : { op: 'put' as const, key: name, value },
  );
  return { compares, writes };
}

async function perform(store: Store, wanted: Step, part: CommitPart | undefined): Promise<unknown> {
  const { revision } = await store.range('', { limit: 1 });
  switch (wanted.do) {
    case 'commit':
      return part && store.commit(part);
    case 'get':
      return plainEntry(await store.get(wanted.key));
    case 'range': {
      const { after, limit } = wanted;
      const options = {
        ...(after === undefined ? {} : { after }),
        ...(limit === undefined ? {} : { limit }),
      };
      const range = await store.range(wanted.prefix, options);
      return { ...range, entries: range.entries.map(plainEntry) };
    }
    case 'watch': {
      const from = Math.max(0, revision - wanted.back);
      const watch = await store.watch(wanted.prefix, from);
      if (from >= revision) return watch[Symbol.asyncDispose]();
      return (await readThrough(watch, revision)).map(plainBatch);
    }
    case 'compact':
      return store.compact(revision - wanted.back);
    case 'reopen':
      return undefined;
  }
}

const outcomeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.catch((error: unknown) => {
    if (!isKeyspanError(error)) throw error;
    return { refused: error.code };
  });

const put = (name: string, compares: [string, Guess][] = []): Step => ({
  do: 'commit',
  compares,
  writes: [[name, Uint8Array.of(1)]],
});
/** What chance may leave out: a conflict, and a watch from what was compacted away. */
const worthy: Step[] = [
  put('a'),
  put('b', [['a', 'stale']]),
  put('a'),
  put('b'),
  { do: 'compact', back: 0 },
  { do: 'watch', prefix: '', back: 3 },
];

test('SQLite does what the model in memory does, also across restarts', async () => {
  let conflicts = 0;
  let compacted = 0;
  const property = fc.asyncProperty(
    fc.array(step, { minLength: 10, maxLength: 60 }),
    async (all) => {
      const directory = mkdtempSync(join(tmpdir(), 'keyspan-test-'));
      const model = await MemoryStore.open();
      let store = await SqliteStore.open(directory);
      try {
        for (const wanted of all) {
          if (wanted.do === 'reopen') {
            const { id } = store;
            await store[Symbol.asyncDispose]();
            store = await SqliteStore.open(directory);
            expect(store.id).toBe(id);
            continue;
          }
          const part = wanted.do === 'commit' ? await partOf(model, wanted) : undefined;
          const expected = await outcomeOf(perform(model, wanted, part));
          expect(await outcomeOf(perform(store, wanted, part))).toEqual(expected);
          if (JSON.stringify(expected)?.includes('StoreConflict')) conflicts += 1;
          if (JSON.stringify(expected)?.includes('StoreCompacted')) compacted += 1;
        }
      } finally {
        await store[Symbol.asyncDispose]();
        await model[Symbol.asyncDispose]();
        rmSync(directory, { recursive: true });
      }
    },
  );
  await fc.assert(property, { numRuns: 40, examples: [[worthy]] });
  // the steps were worth something
  expect(conflicts).toBeGreaterThan(0);
  expect(compacted).toBeGreaterThan(0);
});
