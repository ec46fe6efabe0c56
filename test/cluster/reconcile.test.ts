import { describe, expect, test } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import type { LedgerEntry } from '../../src/cluster/key-ledger.js';
import { compare, type Differences } from '../../src/cluster/reconcile.js';

const PROOF = new Uint8Array(16).fill(1);
const COPIES = {
  none: undefined,
  good: PROOF,
  other: new Uint8Array(16).fill(2),
  /** what an HSM says of a copy that failed its own proof */
  unproven: new Uint8Array(0),
};
const STATES = ['absent', 'intent', 'live', 'abandoned', 'tombstone'] as const;
const NOTHING: Differences = {
  missing: [],
  damaged: [],
  discard: [],
  unknown: [],
  conflicting: [],
};

const entry = (state: LedgerEntry['state'], proof: Uint8Array | null): LedgerEntry => ({
  state,
  epoch: 1,
  purpose: 'kms',
  proof,
  revision: 1,
});

/** What is to be done about one key, by the state of its entry and of the copy. */
const TABLE: Record<
  (typeof STATES)[number],
  Record<keyof typeof COPIES, keyof Differences | ''>
> = {
  absent: { none: '', good: 'unknown', other: 'unknown', unproven: 'unknown' },
  intent: { none: '', good: '', other: '', unproven: '' },
  live: { none: 'missing', good: '', other: 'conflicting', unproven: 'damaged' },
  abandoned: { none: '', good: 'discard', other: 'discard', unproven: 'discard' },
  tombstone: { none: '', good: 'discard', other: 'discard', unproven: 'discard' },
};

const cases = STATES.flatMap((state) =>
  (Object.keys(COPIES) as (keyof typeof COPIES)[]).map(
    (copy) => [state, copy, TABLE[state][copy]] as const,
  ),
);

describe('compare', () => {
  test.each(cases)('entry %s, copy %s: %s', (state, copy, expected) => {
    const id = newHsmKeyId();
    const proofed = state === 'live' || state === 'tombstone' ? PROOF : null;
    const ledger = state === 'absent' ? [] : [[id, entry(state, proofed)] as const];
    const proof = COPIES[copy];
    const inventory = proof ? [{ id, revision: 1, proof }] : [];
    const found = compare(ledger, inventory);
    expect(found).toEqual(expected === '' ? NOTHING : { ...NOTHING, [expected]: [id] });
  });

  test('a live entry without a proof is served from no copy', () => {
    const id = newHsmKeyId();
    const found = compare([[id, entry('live', null)]], [{ id, revision: 1, proof: PROOF }]);
    expect(found.conflicting).toEqual([id]);
  });

  test('many keys at once', () => {
    const ids = Array.from({ length: 5 }, () => newHsmKeyId());
    const [held, missing, gone, attempt, unknown] = ids as [
      HsmKeyId,
      HsmKeyId,
      HsmKeyId,
      HsmKeyId,
      HsmKeyId,
    ];
    const ledger = [
      [held, entry('live', PROOF)],
      [missing, entry('live', PROOF)],
      [gone, entry('tombstone', PROOF)],
      [attempt, entry('intent', null)],
    ] as const;
    const inventory = [held, gone, attempt, unknown].map((id) => ({
      id,
      revision: 1,
      proof: PROOF,
    }));
    expect(compare(ledger, inventory)).toEqual({
      missing: [missing],
      damaged: [],
      discard: [gone],
      unknown: [unknown],
      conflicting: [],
    });
  });
});
