import { describe, expect, test } from 'vitest';
import { backoffMs, Failover } from '../../src/client/failover.js';
import { LIMITS } from '../../src/core/limits.js';

const first = LIMITS.client_backoff_first_ms;

describe('Failover', () => {
  test('the first turn is immediate, every further one waits longer', () => {
    const failover = new Failover(['a', 'b'], () => 1);
    const seen: [string, number][] = [];
    for (let attempt = 0; attempt < 6; attempt += 1) {
      const delay = failover.delayMs();
      seen.push([failover.next(), delay]);
      failover.failed({ fatal: false });
    }
    expect(seen).toEqual([
      ['a', 0],
      ['b', 0],
      ['a', first],
      ['b', first],
      ['a', 2 * first],
      ['b', 2 * first],
    ]);
  });

  test('after a connection of use the others come first, at once', () => {
    const failover = new Failover(['a', 'b', 'c']);
    expect([failover.next(), failover.next()]).toEqual(['a', 'b']);
    failover.failed({ fatal: false });
    failover.succeeded();
    failover.failed({ fatal: false });
    expect(failover.delayMs()).toBe(0);
    expect(failover.next()).toBe('c');
    expect(failover.roundDone).toBe(false);
  });

  test('an endpoint that accepts and never answers does not spin', () => {
    const failover = new Failover(['a'], () => 0);
    failover.next();
    failover.failed({ fatal: false });
    expect(failover.delayMs()).toBe(first / 2);
  });

  test('it is hopeless when every endpoint refused in a row', () => {
    const failover = new Failover(['a', 'b']);
    failover.failed({ fatal: true });
    expect(failover.hopeless).toBe(false);
    failover.failed({ fatal: false });
    failover.failed({ fatal: true });
    expect(failover.hopeless).toBe(false);
    failover.failed({ fatal: true });
    expect(failover.hopeless).toBe(true);
    failover.succeeded();
    expect(failover.hopeless).toBe(false);
  });
});

test('the back-off stays between half a step and a step, and under its bound', () => {
  expect(backoffMs(1, () => 0)).toBe(first / 2);
  expect(backoffMs(3, () => 1)).toBe(4 * first);
  expect(backoffMs(1000, () => 1)).toBe(LIMITS.client_backoff_max_ms);
});
