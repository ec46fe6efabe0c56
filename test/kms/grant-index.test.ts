import { describe, expect, test } from 'vitest';
import { newGrantId, newKmsKeyId } from '../../src/core/ids.js';
import { compareWith } from '../../src/kms/grant-constraints.js';
import { GrantFacts, GrantIndex } from '../../src/kms/grant-index.js';
import {
  decodeGrant,
  encodeGrant,
  type GrantFact,
  type GrantRecord,
} from '../../src/kms/grant-records.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import type { Entry } from '../../src/store/store.js';

const place = { account: '111122223333', region: 'eu-central-1', id: newKmsKeyId() };
const alice = 'arn:aws:iam::111122223333:user/alice';

/** Grants as a snapshot holds them, with how often one was read. */
class Shelf {
  readonly index = new GrantIndex();
  readonly entries = new Map<string, Entry>();
  reads = 0;
  failure: Error | undefined;
  readonly facts = new GrantFacts(
    this.index,
    (path) => {
      this.reads += 1;
      if (this.failure) throw this.failure;
      const entry = this.entries.get(path);
      return entry && decodeGrant(entry);
    },
    () => [],
  );

  put(members: Partial<GrantRecord>): GrantRecord {
    const grant: GrantRecord = {
      id: newGrantId(),
      key: place.id,
      grantee: alice,
      operations: ['Decrypt'],
      constraints: {},
      issuer: 'arn:aws:iam::111122223333:root',
      createdAt: 1,
      ...members,
    };
    const key = KEYSPACE.kmsGrant(place.account, place.region, grant.key, grant.id);
    const entry = { key, value: encodeGrant(grant), createRevision: 1, modRevision: 1 };
    this.index.put(entry);
    this.entries.set(key, entry);
    return grant;
  }

  remove({ key, id }: GrantRecord): void {
    const path = KEYSPACE.kmsGrant(place.account, place.region, key, id);
    this.entries.delete(path);
    this.index.remove(path);
  }

  use(context: Record<string, string> = {}, operation = 'Decrypt', grantee = alice): GrantFact[] {
    const encryptionContext = new Map(Object.entries(context));
    const request = compareWith({ operation, encryptionContext, sourceArn: undefined });
    return [...this.facts.forUse(place, grantee, request)];
  }
}

describe('a decision among many grants looks at few', () => {
  test('of other grantees, other operations, other keys', () => {
    const shelf = new Shelf();
    for (let n = 0; n < 100; n += 1) {
      shelf.put({ grantee: `arn:aws:iam::111122223333:user/u${n}` });
      shelf.put({ operations: ['Encrypt'] });
      shelf.put({ key: newKmsKeyId() });
    }
    const wanted = shelf.put({});
    shelf.use();
    shelf.reads = 0;
    expect(shelf.use().map(({ id }) => id)).toEqual([wanted.id]);
    expect(shelf.use({}, 'Decrypt', alice.replace('alice', 'u7'))).toHaveLength(1);
    expect(shelf.reads).toBe(2);
  });

  test.each<[string, (n: number) => GrantRecord['constraints']]>([
    ['equals', (n) => ({ equals: [['tenant', `t${n}`]] })],
    [
      'subset, of which one pair is the same',
      (n) => ({
        subset: [
          ['app', 'a'],
          ['tenant', `t${n}`],
          ['zone', 'z'],
        ],
      }),
    ],
  ])('of one grantee, for other contexts: %s', (_, constraintsOf) => {
    const shelf = new Shelf();
    for (let n = 0; n < 1_000; n += 1) shelf.put({ constraints: constraintsOf(n) });
    const context = { tenant: 't7', ...(_ !== 'equals' && { app: 'a', zone: 'z' }) };
    shelf.use(context);
    shelf.reads = 0;
    const found = shelf.use(context);
    expect(found.map(({ constraints }) => constraints)).toContainEqual(constraintsOf(7));
    expect(shelf.reads).toBeLessThan(10);
  });
});

test('what is put, changed and taken away later is filed as what was there before', () => {
  const shelf = new Shelf();
  const first = shelf.put({ name: 'a', retiring: 'arn:aws:iam::111122223333:role/x/Admin' });
  const admin = 'arn:aws:iam::111122223333:role/Admin';
  expect(shelf.use()).toHaveLength(1);
  expect(shelf.facts.pathsOfRetiring(admin)).toHaveLength(1);
  const second = shelf.put({ retiring: admin });
  expect(shelf.use()).toHaveLength(2);
  expect(shelf.facts.pathsOfRetiring(admin)).toHaveLength(2);
  expect(shelf.facts.pathsOfGrantee(place, alice)).toHaveLength(2);
  shelf.put({ ...second, endedAt: 5 });
  expect([...shelf.facts.ended(place)].map(({ id }) => id)).toEqual([second.id]);
  expect(shelf.facts.count(place)).toBe(1);
  shelf.remove(second);
  expect([...shelf.facts.ended(place)]).toEqual([]);
  expect(shelf.use().map(({ id }) => id)).toEqual([first.id]);
  shelf.remove(first);
  expect(shelf.facts.any(place)).toBe(false);
  expect(shelf.facts.pathsOfRetiring(admin)).toEqual([]);
});

test('a start reads none, and one that cannot be read allows nothing', () => {
  const shelf = new Shelf();
  shelf.put({});
  const damaged = shelf.put({});
  const path = KEYSPACE.kmsGrant(place.account, place.region, place.id, damaged.id);
  shelf.entries.set(path, { key: path, value: Buffer.of(1), createRevision: 1, modRevision: 1 });
  expect(shelf.facts.any(place)).toBe(true);
  expect(shelf.reads).toBe(0);
  expect(shelf.use()).toHaveLength(1);
});

test('a reading that fails leaves nothing out of the next', () => {
  const shelf = new Shelf();
  shelf.put({ retiring: alice });
  shelf.put({ retiring: alice });
  shelf.failure = new Error('the copy cannot be read now');
  expect(() => shelf.use()).toThrow(shelf.failure);
  expect(() => shelf.facts.pathsOfRetiring(alice)).toThrow(shelf.failure);
  shelf.failure = undefined;
  expect(shelf.use()).toHaveLength(2);
  expect(shelf.facts.pathsOfRetiring(alice)).toHaveLength(2);
});

test('what the index knows and reading does not show yet is not there', () => {
  const shelf = new Shelf();
  shelf.use();
  const grant = shelf.put({});
  shelf.entries.clear();
  expect(shelf.use()).toEqual([]);
  shelf.remove(grant);
});
