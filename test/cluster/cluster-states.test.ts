import { describe, expect, test } from 'vitest';
import type { ClusterRecord } from '../../src/cluster/cluster.js';
import {
  STEP_TIMES_MS,
  dueAt,
  isBeingMade,
  messageOf,
  shownState,
} from '../../src/cluster/cluster-states.js';
import { clusterRecord, hsmRecord } from '../support/cluster-record.js';

const NOW = 1_700_000_000_000;

describe('the state of a cluster', () => {
  test.each<[ClusterRecord['state'], string]>([
    ['CREATE_IN_PROGRESS', 'UNINITIALIZED'],
    ['INITIALIZE_IN_PROGRESS', 'INITIALIZED'],
    ['MODIFY_IN_PROGRESS', 'ACTIVE'],
    ['ROLLBACK_IN_PROGRESS', 'ACTIVE'],
    ['DELETE_IN_PROGRESS', 'DELETED'],
  ])('%s becomes %s when its time is over', (state, after) => {
    const record = clusterRecord({ state, dueMs: NOW });
    expect(shownState(record, NOW - 1)).toBe(state);
    expect(shownState(record, NOW)).toBe(after);
    expect(shownState(record, NOW + 1)).toBe(after);
  });

  test('an activation is seen later than it is done', () => {
    const record = clusterRecord({ state: 'ACTIVE', dueMs: NOW });
    expect(shownState(record, NOW - 1)).toBe('INITIALIZED');
    expect(shownState(record, NOW)).toBe('ACTIVE');
  });

  test.each(['UNINITIALIZED', 'INITIALIZED', 'ACTIVE'] as const)('%s lasts', (state) => {
    expect(shownState(clusterRecord({ state, dueMs: null }), NOW)).toBe(state);
  });

  test("has AWS's words for some", () => {
    expect(messageOf('DELETE_IN_PROGRESS')).toBe('The cluster is being deleted.');
    expect(messageOf('ACTIVE')).toBeUndefined();
  });
});

test('a step takes its time, scaled', () => {
  expect(dueAt('createHsm', NOW, 0)).toBe(NOW);
  expect(dueAt('createHsm', NOW, 1)).toBe(NOW + STEP_TIMES_MS.createHsm);
  expect(dueAt('createHsm', NOW, 0.01)).toBe(NOW + STEP_TIMES_MS.createHsm / 100);
  expect(dueAt('modifyType', NOW, 1, 3)).toBe(NOW + 3 * STEP_TIMES_MS.modifyType);
});

test('an HSM is being made until its time, and the first until its certificates are there', () => {
  const active = clusterRecord({ certificate: 'x' });
  expect(isBeingMade(active, hsmRecord({ readyMs: NOW }), NOW - 1)).toBe(true);
  expect(isBeingMade(active, hsmRecord({ readyMs: NOW }), NOW)).toBe(false);
  expect(isBeingMade(clusterRecord(), hsmRecord(), NOW)).toBe(true);
  const [csr, one, two, three] = ['csr', '1', '2', '3'];
  const ceremony = {
    csr,
    hsmCertificate: one,
    awsHardwareCertificate: two,
    manufacturerHardwareCertificate: three,
  };
  expect(isBeingMade(clusterRecord({ ceremony }), hsmRecord(), NOW)).toBe(false);
  expect(isBeingMade(clusterRecord({ origin: 'installation' }), hsmRecord(), NOW)).toBe(false);
});
