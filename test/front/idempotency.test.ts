import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { Idempotency } from '../../src/front/idempotency.js';

const PRINCIPAL = 'arn:aws:iam::123456789012:root';
const key = (
  token: string,
  request = 'r',
  principal = PRINCIPAL,
): Parameters<Idempotency['run']>[0] => ({
  principal,
  token,
  request,
});

class Counter {
  count = 0;
  readonly work = async (): Promise<number> => (this.count += 1);
}

describe('one token', () => {
  test('is one piece of work, also while it runs', async () => {
    const idempotency = new Idempotency(() => 0);
    const { work } = new Counter();
    const all = [1, 2, 3].map(() => idempotency.run(key('t'), work));
    expect(await Promise.all(all)).toEqual([1, 1, 1]);
    expect(await idempotency.run(key('t'), work)).toBe(1);
  });

  test('belongs to its principal', async () => {
    const idempotency = new Idempotency(() => 0);
    const { work } = new Counter();
    await idempotency.run(key('t'), work);
    const other = key('t', 'r', 'arn:aws:iam::123456789012:user/a');
    expect(await idempotency.run(other, work)).toBe(2);
  });

  test('belongs to its request', async () => {
    const idempotency = new Idempotency(() => 0);
    const { work } = new Counter();
    await idempotency.run(key('t'), work);
    expect(() => idempotency.run(key('t', 'other'), work)).toThrow(/another request/);
  });

  test('is free again after its time', async () => {
    let now = 0;
    const idempotency = new Idempotency(() => now);
    const { work } = new Counter();
    await idempotency.run(key('t'), work);
    now = LIMITS.idempotency_ttl_ms - 1;
    expect(await idempotency.run(key('t'), work)).toBe(1);
    now += 1;
    expect(await idempotency.run(key('t', 'other'), work)).toBe(2);
  });
});

test('a failure may be tried again', async () => {
  const idempotency = new Idempotency(() => 0);
  await expect(
    idempotency.run(key('t'), async () => Promise.reject(new Error('no'))),
  ).rejects.toThrow();
  expect(await idempotency.run(key('t'), async () => 'yes')).toBe('yes');
});

test('a late failure does not forget who came after it', async () => {
  let now = 0;
  const idempotency = new Idempotency(() => now);
  let fail = (): void => undefined;
  const first = idempotency.run(key('t'), async () => {
    await new Promise<void>((resolve) => (fail = resolve));
    throw new Error('late');
  });
  now = LIMITS.idempotency_ttl_ms;
  const counter = new Counter();
  await idempotency.run(key('t'), counter.work);
  fail();
  await expect(first).rejects.toThrow('late');
  await idempotency.run(key('t'), counter.work);
  expect(counter.count).toBe(1);
});

test('it remembers a bounded number, and the oldest go first', async () => {
  const idempotency = new Idempotency(() => 0);
  const { work } = new Counter();
  for (let index = 0; index <= LIMITS.idempotency_entries_max; index += 1) {
    await idempotency.run(key(String(index)), work);
  }
  const last = LIMITS.idempotency_entries_max;
  expect(await idempotency.run(key(String(last)), work)).toBe(last + 1);
  expect(await idempotency.run(key('1'), work)).toBe(2);
  expect(await idempotency.run(key('0'), work)).toBe(last + 2);
});
