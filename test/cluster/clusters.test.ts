import { expect, test } from 'vitest';
import { viewOf } from '../../src/cluster/clusters.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { clusterRecord, hsmRecord } from '../support/cluster-record.js';
import { stillClusters } from '../support/still-clusters.js';

test('those of the store are opened, each as it is written down', async () => {
  // as a stored value is read, with its version
  const first = { ...clusterRecord(), v: 1 };
  const second = { ...clusterRecord({ state: 'UNINITIALIZED' }), v: 1 };
  const { clusters } = await stillClusters([first, second]);
  expect(clusters.all.map(({ record }) => record)).toEqual(expect.arrayContaining([first, second]));
  expect(clusters.get(second.id)?.record).toEqual(second);
  expect(clusters.get('cluster-aaaaaaaaaaa')).toBeUndefined();
  expect(clusters.own).toBeUndefined();
  expect(clusters.holding(hsmRecord().id)).toBeUndefined();
  expect(clusters.takenEnis()).toEqual([]);
  const cluster = clusters.get(first.id);
  expect(cluster && viewOf(cluster)).toEqual({ record: first, members: [] });
});

test('one that is erased leaves nothing, and the others stay', async () => {
  const [gone, left] = [clusterRecord(), clusterRecord()];
  const { clusters, store, secrets } = await stillClusters([gone, left]);
  for (const { id } of [gone, left]) {
    await store.commit(secrets.newPasswordOf(id, 'admin'));
    await store.commit(secrets.newPins(id, hsmRecord().id));
  }
  // more than one commit may write
  for (let at = 0; at < 150; at += 1) await store.commit(secrets.newPasswordOf(gone.id, `u${at}`));
  await clusters.erase(gone.id);
  await clusters.erase(gone.id);
  expect(clusters.all.map(({ id }) => id)).toEqual([left.id]);
  const { entries } = await store.range('');
  const keys = entries.map(({ key }) => key);
  expect(keys.filter((key) => key.includes(gone.id))).toEqual([]);
  expect(keys).toContain(KEYSPACE.cluster(left.id));
  expect(keys.filter((key) => key.includes(left.id))).toHaveLength(3);
});
