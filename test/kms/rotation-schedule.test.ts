import { describe, expect, test } from 'vitest';
import { enabledAt, rotatedAt } from '../../src/kms/rotation-schedule.js';

const DAY = 86_400;
const NOW = 1_800_000_000.123;
const year = enabledAt(NOW, 365);

test('the first rotation comes a period after the enabling', () => {
  expect(year).toEqual({ periodDays: 365, next: 1_831_536_000.123 });
  expect(enabledAt(NOW, 90).next).toBe(1_807_776_000.123);
});

describe('the next one comes', () => {
  test('a period after the day of this one, however late on that day it was made', () => {
    const second = { periodDays: 365, next: 1_863_072_000.123 };
    expect(rotatedAt(year.next, year)).toEqual(second);
    expect(rotatedAt(year.next + 59, year)).toEqual(second);
    expect(rotatedAt(year.next + DAY - 1, year)).toEqual(second);
  });

  test('a period after this one when its day was missed, by a day or by several periods', () => {
    for (const lateDays of [1, 40, 3 * 365]) {
      const made = year.next + lateDays * DAY;
      const { periodDays, next } = rotatedAt(made, year);
      expect([periodDays, Math.round((next - made) / DAY)]).toEqual([365, 365]);
    }
  });
});
