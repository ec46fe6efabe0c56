import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { InFlight } from '../../src/core/in-flight.js';

test('it does what a Map of numbers that are given once does', () => {
  const step = fc.oneof(
    fc.constant({ add: true, at: 0 }),
    fc.record({ add: fc.constant(false), at: fc.nat() }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const inFlight = new InFlight<string>();
      const model = new Map<number, string>();
      const given: number[] = [];
      for (const { add, at } of steps) {
        if (add) {
          const { next } = inFlight;
          const number = inFlight.add(`item ${given.length}`);
          expect(number).toBe(next);
          expect(number).toBeGreaterThan(given.at(-1) ?? 0);
          model.set(number, `item ${given.length}`);
          given.push(number);
        } else {
          const number = given[at % (given.length + 1)] ?? at;
          expect(inFlight.get(number)).toBe(model.get(number));
          expect(inFlight.remove(number)).toBe(model.get(number));
          model.delete(number);
        }
        expect(inFlight.size).toBe(model.size);
      }
      expect(inFlight.entries()).toEqual([...model]);
    }),
  );
});

test('numbers that nobody has name nothing', () => {
  const inFlight = new InFlight<string>();
  const number = inFlight.add('a');
  for (const other of [0, -1, 0.5, NaN, Infinity, number + 1, 2 ** 53]) {
    expect(inFlight.get(other)).toBeUndefined();
    expect(inFlight.remove(other)).toBeUndefined();
  }
  expect(inFlight.get(number)).toBe('a');
});

test('a number is not given again, however often its place is', () => {
  const inFlight = new InFlight<number>();
  const first = inFlight.add(0);
  inFlight.remove(first);
  for (let i = 1; i < 10_000; i += 1) inFlight.remove(inFlight.add(i));
  expect(inFlight.get(first)).toBeUndefined();
  expect(inFlight.next).toBeGreaterThan(first);
  expect(Number.isSafeInteger(inFlight.next)).toBe(true);
});
