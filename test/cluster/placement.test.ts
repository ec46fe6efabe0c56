import { describe, expect, test } from 'vitest';
import type { HsmId } from '../../src/core/ids.js';
import { place, type Candidate } from '../../src/cluster/placement.js';

const hsm = (name: string, inflight = 0, isActive = true): Candidate => ({
  id: name as HsmId,
  isActive,
  inflight,
});
const [a, b, c] = [hsm('a', 5), hsm('b', 2), hsm('c', 9)];
const set = (...hsms: { id: HsmId }[]): Set<HsmId> => new Set(hsms.map(({ id }) => id));

describe('place', () => {
  test('takes the HSM of the ENI, however busy', () => {
    expect(place([a, b, c], c.id)).toBe(c);
  });

  test('takes the least busy when the ENI is not given or its HSM not there', () => {
    expect(place([a, b, c], undefined)).toBe(b);
    expect(place([a, b], c.id)).toBe(b);
  });

  test('never takes one to avoid, also not the preferred', () => {
    expect(place([a, b, c], b.id, set(b))).toBe(a);
    expect(place([a, b, c], undefined, set(a, b))).toBe(c);
    expect(place([a, b, c], a.id, set(a, b, c))).toBeUndefined();
    expect(place([], a.id)).toBeUndefined();
  });

  test('fills one before it takes another, where that is asked for', () => {
    expect(place([a, b, c], undefined, undefined, 6)).toBe(a);
    expect(place([a, b, c], undefined, undefined, 5)).toBe(b);
    expect(place([a, b, c], c.id, undefined, 6)).toBe(c);
    expect(place([a, b, c], undefined, set(a), 6)).toBe(b);
  });

  test('takes none that does not serve, also not the preferred', () => {
    const resting = hsm('d', 0, false);
    expect(place([a, resting, b], resting.id)).toBe(b);
    expect(place([resting], undefined)).toBeUndefined();
  });
});
