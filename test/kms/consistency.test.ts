import { expect, test } from 'vitest';
import { ConsistencyDelay } from '../../src/kms/consistency.js';

function scene(): { delay: ConsistencyDelay<string>; at: (now: number) => string | undefined } {
  let now = 0;
  const delay = new ConsistencyDelay<string>({ delayMs: 10, monotonic: () => now });
  const at = (time: number): string | undefined => {
    now = time;
    return delay.inForce('a');
  };
  return { delay, at };
}

test('what was there at the start is in force', () => {
  const { delay, at } = scene();
  delay.begin('a', 'one');
  expect(at(0)).toBe('one');
});

test('a change is in force when it is old enough, not earlier', () => {
  const { delay, at } = scene();
  delay.begin('a', 'one');
  expect(at(5)).toBe('one');
  delay.change('a', 'two');
  expect([delay.current('a'), delay.waits('a'), delay.waits('b')]).toEqual(['two', true, false]);
  expect([at(5), at(14.9), at(15), at(99)]).toEqual(['one', 'one', 'two', 'two']);
  expect(delay.waits('a')).toBe(false);
});

test('each of several changes has its own time', () => {
  const { delay, at } = scene();
  at(1);
  delay.change('a', 'one');
  at(4);
  delay.change('a', 'two');
  at(8);
  delay.change('a', undefined);
  const seen = [8, 10.9, 11, 13.9, 14, 17.9, 18].map(at);
  expect(seen).toEqual([undefined, undefined, 'one', 'one', 'two', 'two', undefined]);
});

test('what changed and is over is forgotten, and so many may wait', () => {
  const { delay, at } = scene();
  for (let time = 0; time < 1_000; time += 1) {
    delay.change('a', String(time));
    delay.change(`b${time}`, 'b');
  }
  expect(at(9)).toBe(String(1_000 - 65));
  expect(at(10)).toBe('999');
  delay.change('c', 'c');
  expect(at(11)).toBe('999');
});
