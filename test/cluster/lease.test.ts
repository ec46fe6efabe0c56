import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Lease } from '../../src/cluster/lease.js';
import { newClusterId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { expectCode } from '../support/store-calls.js';

const cluster = newClusterId();
let store: MemoryStore;
let leases: Lease[];

beforeEach(() => {
  store = new MemoryStore();
  leases = [new Lease(store, cluster), new Lease(store, cluster)];
});
afterEach(async () => {
  vi.useRealTimers();
  for (const lease of leases) await lease[Symbol.asyncDispose]();
  await store[Symbol.asyncDispose]();
});

const [first, second] = [0, 1].map((at) => () => leases[at] ?? expect.unreachable());

test('one of two holds it, and holds it again', async () => {
  expect(await first?.().hold()).toBe(true);
  expect(await second?.().hold()).toBe(false);
  expect(await first?.().hold()).toBe(true);
  expect(await second?.().hold()).toBe(false);
});

test('one of two holds it when both ask at once', async () => {
  const held = await Promise.all(leases.map((lease) => lease.hold()));
  expect(held.filter(Boolean)).toHaveLength(1);
});

test('each cluster has its own', async () => {
  const other = new Lease(store, newClusterId());
  leases.push(other);
  expect(await first?.().hold()).toBe(true);
  expect(await other.hold()).toBe(true);
});

test('the other takes it when the holder lets it go', async () => {
  await first?.().hold();
  await first?.()[Symbol.asyncDispose]();
  expect(await store.get(KEYSPACE.lease(cluster))).toBeUndefined();
  expect(await second?.().hold()).toBe(true);
  expect(await first?.().hold()).toBe(false);
});

test('a session that was not needed is let go', async () => {
  await first?.().hold();
  await second?.().hold();
  await second?.()[Symbol.asyncDispose]();
  expect(await first?.().hold()).toBe(true);
  expect((await store.get(KEYSPACE.lease(cluster)))?.lease).toBeDefined();
});

test('a holder that stood still for too long holds it no more', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  let now = 0;
  await using frozen = new MemoryStore({ now: () => now });
  await using holder = new Lease(frozen, cluster);
  await using other = new Lease(frozen, cluster);
  expect(await holder.hold()).toBe(true);
  now += 2 * LIMITS.store_session_ttl_ms;
  vi.advanceTimersByTime(LIMITS.store_session_ttl_ms);
  expect(await other.hold()).toBe(true);
  expect(await holder.hold()).toBe(false);
});

test('a store that fails is no answer', async () => {
  await store[Symbol.asyncDispose]();
  await expectCode(first?.().hold() ?? Promise.resolve(), 'StoreClosed');
});
