import { describe, expect, test } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import type { LedgerEntry } from '../../src/cluster/key-ledger.js';
import { compare, type Difference, type Differences } from '../../src/cluster/reconcile.js';

const PROOF = new Uint8Array(16).fill(1);
/** the digest of a first record */
const FIRST = new Uint8Array(0);
const COPIES = {
  none: undefined,
  good: PROOF,
  other: new Uint8Array(16).fill(2),
  /** what an HSM says of a copy that failed its own proof */
  unproven: new Uint8Array(0),
};
const digest = (mark: number): Uint8Array => new Uint8Array(32).fill(mark);
const STATES = ['absent', 'intent', 'live', 'abandoned', 'tombstone'] as const;
const NOTHING: Differences = {
  missing: [],
  damaged: [],
  superseded: [],
  ahead: [],
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
  record: null,
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
    const inventory = proof ? [{ id, revision: 1, proof, digest: FIRST }] : [];
    const found = compare(ledger, inventory);
    expect(found).toEqual(expected === '' ? NOTHING : { ...NOTHING, [expected]: [id] });
  });

  test('a live entry without a proof is served from no copy', () => {
    const id = newHsmKeyId();
    const found = compare(
      [[id, entry('live', null)]],
      [{ id, revision: 1, proof: PROOF, digest: FIRST }],
    );
    expect(found.conflicting).toEqual([id]);
  });

  /** What is to be done about a copy by the revision and digest of its record. */
  const RECORDS: readonly [string, number, number, Difference | ''][] = [
    ['the record of the commit', 3, 1, ''],
    ['an older record', 2, 2, 'superseded'],
    ['the first record', 1, 0, 'superseded'],
    ['a newer record', 4, 3, 'ahead'],
    ['another record of that revision', 3, 9, 'conflicting'],
  ];
  test.each(RECORDS)('a copy with %s', (_, revision, mark, expected) => {
    const id = newHsmKeyId();
    const record = { digest: digest(1), masked: new Uint8Array(9) };
    const ledger = [[id, { ...entry('live', PROOF), revision: 3, record }]] as const;
    const found = compare(ledger, [{ id, revision, proof: PROOF, digest: digest(mark) }]);
    expect(found).toEqual(expected === '' ? NOTHING : { ...NOTHING, [expected]: [id] });
    const dead = [[id, { ...entry('tombstone', PROOF), revision: 3, record }]] as const;
    expect(compare(dead, [{ id, revision, proof: PROOF, digest: digest(mark) }])).toEqual({
      ...NOTHING,
      discard: [id],
    });
  });

  test('a copy with a changed record, where the commit names the first', () => {
    const id = newHsmKeyId();
    const copy = { id, revision: 2, proof: PROOF, digest: digest(1) };
    expect(compare([[id, entry('live', PROOF)]], [copy])).toEqual({ ...NOTHING, ahead: [id] });
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
      digest: FIRST,
    }));
    expect(compare(ledger, inventory)).toEqual({
      missing: [missing],
      damaged: [],
      superseded: [],
      ahead: [],
      discard: [gone],
      unknown: [unknown],
      conflicting: [],
    });
  });
});
