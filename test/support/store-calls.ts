import { expect } from 'vitest';
import type { Compare, Delete, Put, Write } from '../../src/core/commit.js';
import { isKeyspanError, type ErrorCode } from '../../src/core/errors.js';
import type { Store, Watch, WatchBatch } from '../../src/store/store.js';

export const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'utf8'));
export const text = (value: Uint8Array | undefined): string | undefined =>
  value && Buffer.from(value).toString('utf8');

export const putOf = (key: string, value = key, lease?: string): Put => ({
  op: 'put',
  key,
  value: bytes(value),
  ...(lease === undefined ? {} : { lease }),
});
export const deleteOf = (key: string): Delete => ({ op: 'delete', key });

export const write = (store: Store, ...writes: Write[]): Promise<number> =>
  store.commit({ compares: [], writes });
export const writeIf = (store: Store, compares: Compare[], ...writes: Write[]): Promise<number> =>
  store.commit({ compares, writes });

export async function expectCode(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  const outcome = await promise.then(
    () => 'success',
    (error: unknown) => (isKeyspanError(error) ? error.code : error),
  );
  expect(outcome).toBe(code);
}

/** What a watch tells up to `revision`, without mere progress; then it is disposed. */
export async function readThrough(watch: Watch, revision: number): Promise<WatchBatch[]> {
  const batches: WatchBatch[] = [];
  for await (const batch of watch) {
    if (batch.events.length > 0) batches.push(batch);
    if (batch.revision >= revision) break;
  }
  return batches;
}

/** A short form of batches: `3+a/1` is a put in revision 3, `4-a/1` a delete. */
export const brief = (batches: readonly WatchBatch[]): string[] =>
  batches.flatMap(({ revision, events }) =>
    events.map((event) => `${revision}${event.type === 'put' ? '+' : '-'}${event.key}`),
  );
