import { expect, test } from 'vitest';
import { MovableClock, systemClock } from '../../src/core/clock.js';

const DAY_MS = 86_400_000;

test('civil time alone is moved, there and back', () => {
  const [now, moved] = [systemClock(), new MovableClock(DAY_MS)];
  const aheadMs = (): number => Math.round((moved.civil() - now.civil()) / DAY_MS);
  expect(aheadMs()).toBe(1);
  moved.move(31 * DAY_MS);
  expect([aheadMs(), moved.offsetMs]).toEqual([31, 31 * DAY_MS]);
  moved.move(-DAY_MS);
  expect(aheadMs()).toBe(-1);
  expect(moved.wire() - now.wire()).toBeLessThan(DAY_MS);
  expect(moved.monotonic() - now.monotonic()).toBeLessThan(DAY_MS);
});

test('who waits for a point of civil time is told of each move, until it is over', () => {
  const clock = new MovableClock();
  const seen: number[] = [];
  const end = clock.onMove(() => seen.push(clock.offsetMs));
  clock.move(5);
  clock.move(5);
  clock.move(3);
  end();
  clock.move(9);
  expect(seen).toEqual([5, 3]);
});
