import { describe, expect, test } from 'vitest';
import { newHsmKeyId, newKmsKeyId, newMaterialId } from '../../src/core/ids.js';
import { defaultPolicy } from '../../src/kms/policies.js';
import {
  decodeFact,
  encodeAlias,
  encodeKey,
  encodeMaterial,
  type KeyRecord,
} from '../../src/kms/records.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import type { Entry } from '../../src/store/store.js';
import { encodeValue } from '../../src/store/value.js';

const ACCOUNT = '111122223333';
const REGION = 'eu-central-1';
const key: KeyRecord = {
  id: newKmsKeyId(),
  account: ACCOUNT,
  region: REGION,
  description: 'ä',
  spec: 'SYMMETRIC_DEFAULT',
  usage: 'ENCRYPT_DECRYPT',
  origin: 'AWS_KMS',
  state: 'Enabled',
  createdAt: 1.5,
  policy: defaultPolicy(ACCOUNT),
  multiRegion: false,
  currentMaterial: newMaterialId(),
  onDemandRotations: 0,
  tags: [{ key: 'a', value: 'b' }],
};
const path = KEYSPACE.kmsKey(ACCOUNT, REGION, key.id);
const entry = (key: string, value: Uint8Array): Entry => ({
  key,
  value,
  createRevision: 1,
  modRevision: 7,
});

describe('a fact reads as it was written', () => {
  test('a key, and what a fact adds to its record is not stored', () => {
    const fact = decodeFact(entry(path, encodeKey(key)));
    expect(fact).toMatchObject({ ...key, kind: 'key', path, modRevision: 7 });
    if (fact.kind !== 'key') return;
    expect(fact.arn).toBe(`arn:aws:kms:${REGION}:${ACCOUNT}:key/${key.id}`);
    expect(encodeKey(fact)).toEqual(encodeKey(key));
  });

  test('a material', () => {
    const material = {
      id: newMaterialId(),
      key: key.id,
      vault: 'cluster-software234',
      hsmKey: newHsmKeyId(),
      createdAt: 2.5,
      rotation: { date: 2.5, type: 'ON_DEMAND' as const },
    };
    const at = KEYSPACE.kmsMaterial(ACCOUNT, REGION, key.id, material.id);
    expect(decodeFact(entry(at, encodeMaterial(material)))).toMatchObject(material);
  });

  test('an alias', () => {
    const alias = { name: 'alias/a/b', target: key.id, createdAt: 1, updatedAt: 2 };
    const at = KEYSPACE.kmsAlias(ACCOUNT, REGION, alias.name);
    expect(decodeFact(entry(at, encodeAlias(alias)))).toMatchObject({
      ...alias,
      kind: 'alias',
      arn: `arn:aws:kms:${REGION}:${ACCOUNT}:alias/a/b`,
      targetPath: path,
    });
  });
});

describe('a fact is refused', () => {
  test.each<[string, Entry]>([
    ['that is no CBOR', entry(path, Buffer.of(0xff))],
    ['of a later version', entry(path, encodeValue(2, key))],
    ['with a member missing', entry(path, encodeValue(1, { ...key, policy: undefined }))],
    ['with a member more', entry(path, encodeValue(1, { ...key, more: 1 }))],
  ])('%s', (_, bad) => {
    expect(() => decodeFact(bad)).toThrow(expect.objectContaining({ code: 'StoreCorrupt' }));
  });

  test('that stands in another place', () => {
    const elsewhere = KEYSPACE.kmsKey(ACCOUNT, 'us-east-1', key.id);
    expect(() => decodeFact(entry(elsewhere, encodeKey(key)))).toThrow(/stands where/);
  });
});
