import { describe, expect, test } from 'vitest';
import { lasting, summarize, type Examined, type Look } from '../../src/cluster/check.js';
import { OBJECT_PURPOSE, type LedgerEntry } from '../../src/cluster/key-ledger.js';
import type { Differences } from '../../src/cluster/reconcile.js';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';

type State = LedgerEntry['state'];
const NONE: Differences = {
  missing: [],
  damaged: [],
  superseded: [],
  ahead: [],
  discard: [],
  unknown: [],
  conflicting: [],
};
const [k1, k2, k3] = [newHsmKeyId(), newHsmKeyId(), newHsmKeyId()];

const ledgerOf = (states: Readonly<Record<string, State>>): Look['ledger'] =>
  new Map(
    Object.entries(states).map(([id, state]) => [
      id as HsmKeyId,
      { state, epoch: 1, purpose: 'kms', proof: null, revision: 1, record: null },
    ]),
  );

const hsm = (
  id: string,
  held: readonly HsmKeyId[],
  differences: Partial<Differences> = {},
): Examined => ({
  id,
  state: 'ACTIVE',
  held: new Set(held),
  differences: { ...NONE, ...differences },
});
const away = (id: string): Examined => ({
  id,
  state: 'KILLED',
  held: undefined,
  differences: undefined,
});

describe('what is where', () => {
  test('all is as the ledger says', () => {
    const ledger = ledgerOf({ [k1]: 'live', [k2]: 'live' });
    const examined = [hsm('a', [k1, k2]), hsm('b', [k1, k2])];
    expect(summarize({ ledger, examined }, 2)).toMatchObject({
      clean: true,
      live: 2,
      intents: 0,
      buried: 0,
      scarce: 0,
      lost: 0,
      hsms: [
        { id: 'a', answered: true, held: 2, missing: 0 },
        { id: 'b', answered: true, held: 2 },
      ],
    });
  });

  test('keys on too few HSMs, and on none', () => {
    const ledger = ledgerOf({ [k1]: 'live', [k2]: 'live', [k3]: 'live' });
    const examined = [hsm('a', [k1, k2]), hsm('b', [k1]), away('c')];
    const check = summarize({ ledger, examined }, 2);
    expect(check).toMatchObject({ clean: false, live: 3, scarce: 1, lost: 1 });
    expect(check.hsms[2]).toMatchObject({ id: 'c', state: 'KILLED', answered: false, held: 0 });
  });

  test('an HSM that is away hides nothing of those that answered', () => {
    const ledger = ledgerOf({ [k1]: 'live' });
    const examined = [hsm('a', [k1]), hsm('b', [k1]), away('c')];
    expect(summarize({ ledger, examined }, 2).clean).toBe(true);
    expect(summarize({ ledger, examined: [hsm('a', [k1]), away('b')] }, 2).clean).toBe(false);
  });

  test('attempts are no fault, what is buried is to go', () => {
    const attempt = summarize({ ledger: ledgerOf({ [k1]: 'intent' }), examined: [] }, 2);
    expect(attempt).toMatchObject({ clean: true, live: 0, intents: 1, buried: 0 });
    for (const state of ['abandoned', 'tombstone'] as const) {
      const buried = summarize({ ledger: ledgerOf({ [k1]: state }), examined: [] }, 2);
      expect(buried).toMatchObject({ clean: false, buried: 1 });
    }
  });

  test.each(Object.keys(NONE) as (keyof Differences)[])('a copy in %s is not clean', (kind) => {
    const ledger = ledgerOf({ [k1]: 'live' });
    const examined = [hsm('a', [k1]), hsm('b', [k1]), hsm('c', [k1], { [kind]: [k2] })];
    const { clean, hsms } = summarize({ ledger, examined }, 2);
    expect(clean).toBe(false);
    expect(hsms[2]).toMatchObject({
      [kind === 'discard' ? 'toDiscard' : kind]: 1,
      unknownKeys: kind === 'unknown' ? [k2] : [],
    });
  });
});

describe('of two looks counts', () => {
  const both = (before: Look, now: Look): ReturnType<typeof summarize> =>
    summarize(lasting(before, now), 2);

  test('what was the same in both', () => {
    const ledger = ledgerOf({ [k1]: 'live', [k2]: 'tombstone' });
    const examined = [hsm('a', [k1]), hsm('b', [], { missing: [k1], unknown: [k3] })];
    const look = { ledger, examined };
    const check = both(look, look);
    expect(check).toMatchObject({ clean: false, live: 1, buried: 1, scarce: 1 });
    expect(check.hsms[1]).toMatchObject({ held: 0, missing: 1, unknown: 1 });
  });

  test('no copy that was on its way in one of them', () => {
    const before = {
      ledger: ledgerOf({ [k1]: 'live', [k3]: 'abandoned' }),
      examined: [hsm('a', [k1]), hsm('b', [], { missing: [k1] })],
    };
    const now = {
      ledger: ledgerOf({ [k1]: 'live', [k2]: 'live', [k3]: 'abandoned' }),
      examined: [hsm('a', [k1], { missing: [k2] }), hsm('b', [k1], { missing: [k2] })],
    };
    expect(
      both(before, { ...now, ledger: ledgerOf({ [k1]: 'live', [k2]: 'live' }) }),
    ).toMatchObject({
      clean: true,
      live: 2,
      scarce: 0,
      lost: 0,
    });
    // one that was given up and stands there still is to be seen
    expect(both(before, now)).toMatchObject({ clean: false, buried: 1 });
  });

  test('what an HSM shows that did not answer before', () => {
    const ledger = ledgerOf({ [k1]: 'live' });
    const before = { ledger, examined: [away('a')] };
    const now = { ledger, examined: [hsm('a', [], { missing: [k1] })] };
    expect(both(before, now)).toMatchObject({ clean: false, lost: 1 });
  });
});

test('certificates and data are looked after, and not counted as keys', () => {
  const ledger = new Map(ledgerOf({ [k1]: 'live', [k2]: 'live' }));
  const entry = ledger.get(k2);
  if (entry) ledger.set(k2, { ...entry, purpose: OBJECT_PURPOSE });
  const look = { ledger, examined: [hsm('a', [k1])] };
  expect(summarize(look, 1)).toMatchObject({ live: 1, lost: 1, clean: false });
});
