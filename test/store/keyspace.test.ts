import { describe, expect, test } from 'vitest';
import {
  newClusterId,
  newGrantId,
  newHsmId,
  newHsmKeyId,
  newKmsKeyId,
  newMaterialId,
} from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { KEYSPACE } from '../../src/store/keyspace.js';

const [cluster, hsm, hsmKey] = [newClusterId(), newHsmId(), newHsmKeyId()];
const [kmsKey, material, grant] = [newKmsKeyId(), newMaterialId(), newGrantId()];
const [account, region] = ['123456789012', 'us-east-1'];

/** Each range with a fact that it must meet. */
const RANGES: Record<string, readonly [prefix: string, fact: string]> = {
  accessKeys: [KEYSPACE.accessKeys, KEYSPACE.accessKey('AKIAIOSFODNN7EXAMPLE')],
  clusters: [KEYSPACE.clusters, KEYSPACE.cluster(cluster)],
  hsms: [KEYSPACE.hsms(cluster), KEYSPACE.hsm(cluster, hsm)],
  removed: [KEYSPACE.removedHsms(cluster), KEYSPACE.removedHsm(cluster, hsm)],
  ledger: [KEYSPACE.ledger(cluster), KEYSPACE.ledgerKey(cluster, hsmKey)],
  keys: [KEYSPACE.kmsKeys(account, region), KEYSPACE.kmsKey(account, region, kmsKey)],
  materials: [
    KEYSPACE.kmsMaterials(account, region, kmsKey),
    KEYSPACE.kmsMaterial(account, region, kmsKey, material),
  ],
  grants: [
    KEYSPACE.kmsGrants(account, region, kmsKey),
    KEYSPACE.kmsGrant(account, region, kmsKey, grant),
  ],
  aliases: [KEYSPACE.kmsAliases(account, region), KEYSPACE.kmsAlias(account, region, 'alias/a/b')],
};

const SINGLE: readonly string[] = [
  KEYSPACE.schema,
  KEYSPACE.installation,
  KEYSPACE.authority('clients'),
  KEYSPACE.hsmSecret(cluster, hsm),
  KEYSPACE.userSecret(cluster, 'admin'),
  KEYSPACE.lease(cluster),
  KEYSPACE.resourceTags(cluster),
  KEYSPACE.kmsGrantName(account, region, kmsKey, 'a'.repeat(64)),
];

describe('the keyspace', () => {
  test.each(Object.entries(RANGES))(
    '%s: a range meets its own facts and no others',
    (name, own) => {
      const [prefix, fact] = own;
      expect(prefix.endsWith('/')).toBe(true);
      expect(fact.startsWith(prefix)).toBe(true);
      const others = Object.entries(RANGES).filter(([other]) => other !== name);
      for (const [, [, foreign]] of others) expect(foreign.startsWith(prefix)).toBe(false);
      for (const foreign of SINGLE) expect(foreign.startsWith(prefix)).toBe(false);
    },
  );

  test('what KMS follows is all of KMS and nothing of the clusters', () => {
    const { keys, materials, grants, aliases, ...rest } = RANGES;
    for (const range of [keys, materials, grants, aliases]) {
      expect(range?.[1].startsWith(KEYSPACE.kms)).toBe(true);
    }
    for (const [, fact] of Object.values(rest)) expect(fact.startsWith(KEYSPACE.kms)).toBe(false);
  });

  test('another cluster, region or account has other names', () => {
    const names = [
      KEYSPACE.hsms(newClusterId()),
      KEYSPACE.hsms(cluster),
      KEYSPACE.kmsKeys(account, 'eu-west-1'),
      KEYSPACE.kmsKeys(account, region),
      KEYSPACE.kmsKeys('210987654321', region),
    ];
    expect(new Set(names).size).toBe(names.length);
  });

  test('the longest alias fits the bound of the store', () => {
    const name = `alias/${'x'.repeat(250)}`;
    const key = KEYSPACE.kmsAlias(account, 'us-gov-west-1', name);
    expect(Buffer.byteLength(key)).toBeLessThanOrEqual(LIMITS.store_key_max_bytes);
  });
});
