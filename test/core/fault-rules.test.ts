import { describe, expect, test } from 'vitest';
import { FaultRules, type FaultRule } from '../../src/core/fault-rules.js';

const rule = (changes: Partial<FaultRule> = {}): FaultRule => ({
  operation: 'encrypt',
  when: 'before',
  nth: 1,
  times: 1,
  action: { do: 'drop' },
  ...changes,
});

/** Which of so many operations a fault strikes, from 1. */
function struck(faults: FaultRules, count: number): number[] {
  return Array.from({ length: count }, (_, at) => at + 1).filter(
    () => faults.take('encrypt', 'before') !== undefined,
  );
}

describe('a rule', () => {
  test.each([
    { nth: 1, times: 1, expected: [1] },
    { nth: 3, times: 1, expected: [3] },
    { nth: 1, times: 3, expected: [1, 2, 3] },
    { nth: 2, times: 2, expected: [2, 3] },
  ])('strikes from match $nth on, $times times', ({ nth, times, expected }) => {
    const faults = new FaultRules();
    faults.add(rule({ nth, times }));
    expect(struck(faults, 6)).toEqual(expected);
    expect(faults.list()).toEqual([]);
  });

  test('counts its own operation and its own moment alone', () => {
    const faults = new FaultRules();
    faults.add(rule({ nth: 2 }));
    expect(faults.take('decrypt', 'before')).toBeUndefined();
    expect(faults.take('encrypt', 'after')).toBeUndefined();
    expect(faults.list()).toMatchObject([{ seen: 0 }]);
    expect(struck(faults, 2)).toEqual([2]);
  });

  test('of any operation takes all of them', () => {
    const faults = new FaultRules();
    faults.add(rule({ operation: '*', times: 2, action: { do: 'delay', ms: 5 } }));
    expect(faults.take('insert', 'before')).toEqual({ do: 'delay', ms: 5 });
    expect(faults.take('extract', 'after')).toBeUndefined();
    expect(faults.take('extract', 'before')).toEqual({ do: 'delay', ms: 5 });
    expect(faults.take('extract', 'before')).toBeUndefined();
  });
});

test('of two for one operation the first strikes, and the other as often as it should', () => {
  const faults = new FaultRules();
  faults.add(rule({ action: { do: 'drop' } }));
  faults.add(rule({ times: 2, action: { do: 'crash' } }));
  const taken = [1, 2, 3, 4].map(() => faults.take('encrypt', 'before')?.do);
  expect(taken).toEqual(['drop', 'crash', 'crash', undefined]);
});

test('the list says what waits and what it has seen, until all are cleared', () => {
  const faults = new FaultRules();
  const first = faults.add(rule({ nth: 5 }));
  const second = faults.add(rule({ operation: 'insert' }));
  expect(second).not.toBe(first);
  faults.take('encrypt', 'before');
  expect(faults.list()).toEqual([
    { ...rule({ nth: 5 }), id: first, seen: 1 },
    { ...rule({ operation: 'insert' }), id: second, seen: 0 },
  ]);
  faults.clear();
  expect(faults.list()).toEqual([]);
  expect(struck(faults, 6)).toEqual([]);
});
