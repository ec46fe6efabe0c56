import { expect, test } from 'vitest';
import type { P11CallName } from '../../src/protocol/p11-calls.js';
import { P11_NAMES, P11_VERSIONS } from '../support/p11-arbitraries.js';
import { fuzzSeed } from '../support/mutation.js';
import { p11Mutants, type P11Handles } from '../support/p11-mutation.js';

const FRAMES = 50_000;
const HANDLES: P11Handles = {
  slot: 1,
  session: 0x11,
  secretKey: 21,
  publicKey: 22,
  privateKey: 23,
  pin: '1234567',
};

/** The mutants are read as they are made: anything but a P11WireError would end the test. */
test.each(P11_VERSIONS)('mutated requests are read or refused in version %d', (version) => {
  const seed = fuzzSeed();
  const reached = new Map<P11CallName, number>();
  const fates = { answered: 0, pending: 0, dropped: 0, incomplete: 0 };
  let reaching = 0;
  for (const { fate, calls } of p11Mutants({ seed, handles: HANDLES, version, count: FRAMES })) {
    fates[fate] += 1;
    if (calls.length > 0) reaching += 1;
    for (const call of calls) reached.set(call, (reached.get(call) ?? 0) + 1);
  }
  const told = `FUZZ_SEED=${seed} ${JSON.stringify(fates)}`;
  expect(reaching, told).toBeGreaterThan(FRAMES / 2);
  expect(fates.dropped, told).toBeGreaterThan(FRAMES / 50);
  expect(fates.incomplete, told).toBeGreaterThan(FRAMES / 500);
  expect(P11_NAMES.filter((call) => !reached.has(call))).toEqual([]);
});

test('the same seed makes the same frames', () => {
  const frames = (seed: number): string[] => {
    const plan = { seed, handles: HANDLES, version: 2, count: 200 } as const;
    return [...p11Mutants(plan)].map(({ bytes }) => bytes.toString('hex'));
  };
  expect(frames(7)).toEqual(frames(7));
  expect(frames(7)).not.toEqual(frames(8));
});
