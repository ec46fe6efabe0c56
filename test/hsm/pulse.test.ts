import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { Pulse } from '../../src/hsm/pulse.js';

const STEP = LIMITS.heartbeat_interval_ms;

/** Looks every interval from `from` to `until`; the times at which a silence began. */
function lookOn(pulse: Pulse, from: number, until: number, beat?: 'a' | 'b'): number[] {
  const silences: number[] = [];
  for (let now = from; now <= until; now += STEP) {
    if (beat) expect(pulse.beat(now, beat === 'a')).toBe(false);
    if (pulse.look(now)) silences.push(now);
  }
  return silences;
}

describe('a pulse', () => {
  test('is there while heartbeats come', () => {
    expect(lookOn(new Pulse(0), STEP, 60_000, 'a')).toEqual([]);
  });

  test.each([
    ['the first one', false, LIMITS.heartbeat_first_ms],
    ['a further one', true, LIMITS.heartbeat_missed_ms],
  ])('is silent once when %s does not come, after the bound', (_what, isHeard, bound) => {
    const pulse = new Pulse(0);
    if (isHeard) pulse.beat(0, true);
    const silences = lookOn(pulse, STEP, 30_000);
    expect(silences).toHaveLength(1);
    expect(silences[0]).toBeGreaterThan(bound);
    expect(silences[0]).toBeLessThanOrEqual(bound + 2 * STEP);
  });

  test('comes back with the next heartbeat, and can be silent again', () => {
    const pulse = new Pulse(0);
    expect(lookOn(pulse, STEP, 5_000)).toHaveLength(1);
    expect(pulse.beat(5_050, true)).toBe(true);
    expect(pulse.beat(5_060, true)).toBe(false);
    expect(lookOn(pulse, 5_100, 10_000)).toHaveLength(1);
  });

  test('tells a main thread that works long from one that stands still', () => {
    const silences = lookOn(new Pulse(0), STEP, 60_000, 'b');
    expect(silences).toHaveLength(1);
    expect(silences[0]).toBeGreaterThan(LIMITS.hsm_busy_max_ms);
  });

  test('does not come back before the main thread turns', () => {
    const pulse = new Pulse(0);
    const until = LIMITS.hsm_busy_max_ms + 10_000;
    expect(lookOn(pulse, STEP, until, 'b')).toHaveLength(1);
    expect(pulse.beat(until + STEP, false)).toBe(false);
    expect(pulse.beat(until + 2 * STEP, true)).toBe(true);
  });

  test('is not judged by one who stood still itself', () => {
    const pulse = new Pulse(0);
    expect(pulse.look(STEP)).toBe(false);
    expect(pulse.look(20_000)).toBe(false);
    // the heartbeats that waited are read before the next look
    expect(pulse.beat(20_001, true)).toBe(false);
    expect(pulse.look(20_000 + STEP)).toBe(false);
    expect(lookOn(pulse, 20_000 + 2 * STEP, 22_000)).toHaveLength(1);
  });
});
