import { describe, expect, test } from 'vitest';
import { newBackupId } from '../../src/core/ids.js';
import { KeyReferences } from '../../src/cluster/key-references.js';
import { isKeyReference } from '../../src/protocol/objects.js';
import { MemoryStore } from '../../src/store/memory.js';
import { clusterRecord } from '../support/cluster-record.js';

describe('references of keys', () => {
  test('are never given out twice, over all daemons of a store', async () => {
    const store = new MemoryStore();
    const record = clusterRecord();
    const [one, other] = [1, 2].map(() => new KeyReferences(store, record.id, () => record));
    const taken = await Promise.all(
      Array.from({ length: 20 }, (_, at) => (at % 2 === 0 ? one : other)?.take(10)),
    );
    const all = taken.flat();
    expect(new Set(all).size).toBe(200);
    expect(all.every((reference) => isKeyReference(reference ?? ''))).toBe(true);
    expect(all).toContain('0x0000000000000001');
  });

  test('of a cluster that was made from a backup are of another range', async () => {
    const store = new MemoryStore();
    const record = { ...clusterRecord(), sourceBackupId: newBackupId() };
    const [first = ''] = await new KeyReferences(store, record.id, () => record).take(1);
    expect(first).toMatch(/^0x[4-7][0-9a-f]{5}0000000001$/);
  });

  test('after an old store was adopted are of another range', async () => {
    const store = new MemoryStore();
    let record = clusterRecord();
    const references = new KeyReferences(store, record.id, () => record);
    await references.take(1);
    record = { ...record, adoption: 3 };
    expect((await references.take(1))[0]).toMatch(/^0x00000003/);
  });
});
