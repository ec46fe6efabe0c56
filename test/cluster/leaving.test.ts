import { afterAll, beforeAll, expect, test } from 'vitest';
import { putEntry } from '../../src/cluster/key-ledger.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import { eventually } from '../support/daemon-fixture.js';
import { PartsFixture } from '../support/parts-fixture.js';

let fixture: PartsFixture;
beforeAll(async () => {
  fixture = await PartsFixture.start(['--hsms', '2']);
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
});

test('an HSM that the others cannot spare yet leaves when they can', async () => {
  const { own, parts } = fixture;
  const [one, two] = own.members;
  if (!one || !two) expect.unreachable();
  await own.want(two.id, 'stop');
  await eventually(async () => (two.channel ? undefined : true), 'it is stopped');
  // nobody else has the keys: it was refused once at least before the other is back
  const refused = own.membership.remove(one.id);
  await expect(refused).rejects.toMatchObject({ code: 'KeyspanRefused' });
  await parts.control.deleteHsm(own, one);
  await eventually(async () => (one.isLeaving ? undefined : true), 'it was tried');
  expect(own.members).toContain(one);
  await own.want(two.id, 'run');
  await eventually(async () => (own.members.includes(one) ? undefined : true), 'it is gone');
  expect(own.members).toEqual([two]);
});

test('a key that no HSM has is in no backup: none is left, however often it is tried', async () => {
  const { own, parts, store } = fixture;
  const entry = { state: 'live', epoch: 1, purpose: 'kms', revision: 1, record: null } as const;
  const id = newHsmKeyId();
  const put = putEntry(own.id, id, { ...entry, proof: Buffer.alloc(16) });
  await store.commit({ compares: [], writes: [put] });
  for (let time = 0; time < 2; time += 1) {
    await expect(parts.jobs.takeWhole(own)).rejects.toMatchObject({
      message: 'No backup holds every key of the cluster.',
    });
  }
  expect(parts.backups.present()).toEqual([]);
});

test('an installation runs a bounded number of HSMs', () => {
  const { clusters } = fixture.parts;
  clusters.checkRoom(63);
  expect(() => clusters.checkRoom(64)).toThrow(
    'Each HSM is a process of this machine, and its bound is reached ' +
      '(hsms_per_installation_max, 64).',
  );
});
