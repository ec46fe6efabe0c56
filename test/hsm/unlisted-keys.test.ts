import { afterAll, beforeAll, expect, test } from 'vitest';
import { newHsmKeyId } from '../../src/core/ids.js';
import { UnlistedKeys } from '../../src/hsm/unlisted-keys.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

test('keys are vouched for until they were found', () => {
  const [one, two] = [newHsmKeyId(), newHsmKeyId()];
  const note = { revision: 1, proof: Buffer.alloc(16), digest: Buffer.alloc(0) };
  const keys = new Map([
    [one, note],
    [two, note],
  ]);
  const unlisted = new UnlistedKeys(fixture.token, { census: '', stamp: 5, keys, shelves: {} });
  expect([unlisted.size, unlisted.stamp, [...unlisted.ids()]]).toEqual([2, 5, [one, two]]);
  expect(unlisted.note(one)).toEqual(note);
  expect([unlisted.found(one), unlisted.found(one)]).toEqual([true, false]);
  expect([unlisted.note(one), unlisted.size]).toEqual([undefined, 1]);
  // nothing is on the token
  expect(unlisted.next()).toBeUndefined();
  // the manifest itself is not changed
  expect(keys.size).toBe(2);
});
