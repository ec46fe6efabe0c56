import { describe, expect, test } from 'vitest';
import { newGrantId, newKmsKeyId } from '../../src/core/ids.js';
import {
  addGrant,
  decodeGrant,
  digestOf,
  encodeGrant,
  endGrant,
  removeGrant,
  type GrantRecord,
} from '../../src/kms/grant-records.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import type { Entry } from '../../src/store/store.js';
import { encodeValue } from '../../src/store/value.js';

const at = { account: '111122223333', region: 'eu-central-1' };
const grant: GrantRecord = {
  id: newGrantId(),
  key: newKmsKeyId(),
  name: 'backup/1',
  grantee: 'arn:aws:iam::111122223333:role/a/Backup',
  retiring: 'arn:aws:iam::444455556666:root',
  operations: ['Decrypt', 'RetireGrant'],
  constraints: {
    subset: [
      ['__proto__', 'ä'],
      ['a', ''],
    ],
    sourceArn: 'arn:aws:s3:::bucket',
  },
  issuer: 'arn:aws:iam::111122223333:root',
  createdAt: 1_800_000_000.123,
};
const path = KEYSPACE.kmsGrant(at.account, at.region, grant.key, grant.id);
const entry = (value: Uint8Array, key = path): Entry => ({
  key,
  value,
  createRevision: 1,
  modRevision: 7,
});

describe('a grant', () => {
  test('reads as it was written, and what a fact adds is not stored', () => {
    const fact = decodeGrant(entry(encodeGrant(grant)));
    expect(fact).toEqual({
      ...grant,
      ...at,
      kind: 'grant',
      path,
      modRevision: 7,
      keyArn: `arn:aws:kms:eu-central-1:111122223333:key/${grant.key}`,
    });
    expect(encodeGrant(fact)).toEqual(encodeGrant(grant));
  });

  test.each<[string, Uint8Array]>([
    ['of another version', encodeValue(2, grant)],
    ['with an unknown member', encodeValue(1, { ...grant, more: 1 })],
    ['with an unknown operation', encodeValue(1, { ...grant, operations: ['PutKeyPolicy'] })],
    ['that is no map', new Uint8Array([1])],
  ])('%s cannot be read', (_, value) => {
    expect(() => decodeGrant(entry(value))).toThrow('A stored value cannot be read.');
  });

  test('stands where its record says', () => {
    const elsewhere = path.replace(grant.id, newGrantId());
    expect(() => decodeGrant(entry(encodeGrant(grant), elsewhere))).toThrow('stands where');
  });
});

describe('parts of commits', () => {
  const { name: _, ...unnamed } = grant;
  const value = encodeGrant(grant);
  const fact = decodeGrant(entry(value));
  const guard = KEYSPACE.kmsGrantName(at.account, at.region, grant.key, digestOf(grant) ?? '');

  test('a grant with a name is made with its name, one without by itself', () => {
    const part = addGrant(at, grant);
    expect(part.compares).toEqual([path, guard].map((key) => ({ key, modRevision: null })));
    expect(part.writes.map(({ op, key }) => [op, key])).toEqual([
      ['put', path],
      ['put', guard],
    ]);
    expect(addGrant(at, unnamed).writes).toHaveLength(1);
  });

  test('and goes with it', () => {
    const compares = [{ key: path, modRevision: 7 }];
    expect(removeGrant(fact)).toEqual({
      compares,
      writes: [
        { op: 'delete', key: path },
        { op: 'delete', key: guard },
      ],
    });
    expect(endGrant(fact, 5)).toEqual({
      compares,
      writes: [
        { op: 'put', key: path, value: encodeGrant({ ...grant, endedAt: 5 }) },
        { op: 'delete', key: guard },
      ],
    });
  });

  test('one that ended leaves the name to who has it now', () => {
    const ended = decodeGrant(entry(encodeGrant({ ...grant, endedAt: 5 })));
    expect(removeGrant(ended).writes).toEqual([{ op: 'delete', key: path }]);
  });
});

test('the digest is of the name and all terms, in any order of pairs', () => {
  const { subset = [] } = grant.constraints;
  const same = { ...grant, constraints: { ...grant.constraints, subset: subset.toReversed() } };
  expect(digestOf(same)).toBe(digestOf(grant));
  const otherIssuer: GrantRecord = { ...grant, issuer: 'arn:aws:iam::444455556666:root' };
  expect(digestOf(otherIssuer)).toBe(digestOf(grant));
  const { name: _, ...unnamed } = grant;
  expect(digestOf(unnamed)).toBeUndefined();
  const { retiring, ...others } = grant;
  for (const other of [
    { ...grant, name: 'backup/2' },
    { ...grant, grantee: 'arn:aws:iam::111122223333:role/Backup' },
    { ...grant, operations: ['Decrypt'] as const },
    { ...grant, constraints: { equals: subset, sourceArn: 'arn:aws:s3:::bucket' } },
    { ...grant, constraints: { subset } },
    others,
    { ...others, retiringService: retiring },
  ]) {
    expect(digestOf(other)).not.toBe(digestOf(grant));
  }
});
