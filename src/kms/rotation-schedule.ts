import type { KeyRecord } from './records.js';

/** When a key's material is replaced by itself: pure, by the words of AWS's documentation. */
export type Rotation = NonNullable<KeyRecord['rotation']>;

const DAY_SECONDS = 86_400;
/** Later than this a rotation was missed: the key was disabled on its day, or the clock moved. */
const MISSED_SECONDS = DAY_SECONDS;

const later = (seconds: number, days: number): number =>
  Math.round((seconds + days * DAY_SECONDS) * 1000) / 1000;

/** It counts from its enabling, also where it was enabled before. @param now in seconds */
export const enabledAt = (now: number, periodDays: number): Rotation => ({
  periodDays,
  next: later(now, periodDays),
});

/**
 * What comes after a rotation. One that comes on its day keeps to the schedule; one that was
 * missed is made once, and the period begins anew with it.
 * @param now when it is made, in seconds
 */
export function rotatedAt(now: number, { periodDays, next }: Rotation): Rotation {
  const from = now - next < MISSED_SECONDS ? next : now;
  return { periodDays, next: later(from, periodDays) };
}
