import { describe, expect, test } from 'vitest';
import {
  decodeCluster,
  decodeHsm,
  encodeCluster,
  encodeHsm,
  type ClusterRecord,
  type HsmRecord,
} from '../../src/cluster/cluster.js';
import { encodeValue } from '../../src/store/value.js';
import { clusterRecord, hsmRecord } from '../support/cluster-record.js';

/** A record without what it did not have when the first installations were made. */
const without = (record: object, members: readonly string[]): object =>
  Object.fromEntries(Object.entries(record).filter(([name]) => !members.includes(name)));

describe('the records of a cluster', () => {
  test('are read as they were written', () => {
    const cluster = clusterRecord({ founder: null, dueMs: 7, formerHsmType: 'hsm1.medium' });
    expect(decodeCluster(encodeCluster(cluster))).toEqual({ v: 1, ...cluster });
    const hsm = hsmRecord({ readyMs: 1, leaveMs: 2 });
    expect(decodeHsm(encodeHsm(hsm))).toEqual({ v: 1, ...hsm });
  });

  test('of the first installations are of clusters that back KMS, with nothing under way', () => {
    const later = {
      origin: 'installation',
      dueMs: null,
      hsmType: 'hsm2m.medium',
      formerHsmType: null,
      rollbackUntilMs: null,
      mode: 'FIPS',
      networkType: 'IPV4',
      retentionDays: 90,
      ceremony: null,
      createdMs: null,
      adoption: 0,
    } satisfies Partial<ClusterRecord>;
    const record = clusterRecord();
    const old = encodeValue(1, without(record, Object.keys(later)));
    expect(decodeCluster(old)).toEqual({ v: 1, ...record, ...later });
    const since = { readyMs: null, leaveMs: null } satisfies Partial<HsmRecord>;
    const hsm = hsmRecord();
    const oldHsm = encodeValue(1, without(hsm, Object.keys(since)));
    expect(decodeHsm(oldHsm)).toEqual({ v: 1, ...hsm, ...since });
  });

  test.each<Partial<Record<keyof ClusterRecord, unknown>>>([
    { state: 'LOST' },
    { origin: 'nobody' },
    { retentionDays: 6 },
    { dueMs: -1 },
    { mode: 'fips' },
  ])('are refused with %j', (wrong) => {
    expect(() => decodeCluster(encodeValue(1, { ...clusterRecord(), ...wrong }))).toThrow();
  });
});
