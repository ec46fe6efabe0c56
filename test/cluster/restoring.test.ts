import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { USERS } from '../../src/cluster/lifecycle.js';
import { ERRORS } from '../../src/core/errors.js';
import type { HsmKeyId } from '../../src/core/ids.js';
import type { Sealed } from '../../src/core/vault.js';
import { eventually } from '../support/daemon-fixture.js';
import { PartsFixture, newCall } from '../support/parts-fixture.js';

const REGION = 'us-east-1';
const SUBNETS = ['subnet-fd54af9b', 'subnet-49a1bc00'];
const AAD = Buffer.from('context');
const KEYS = 40;

let fixture: PartsFixture;
/** what each key of the first cluster sealed: its own id */
const sealed = new Map<HsmKeyId, Sealed>();

async function newKey(): Promise<HsmKeyId> {
  const { vault } = fixture.own;
  const prepared = await vault.createKey('AES_256', newCall());
  await fixture.store.commit(prepared.part);
  prepared.committed();
  const plaintext = Buffer.from(prepared.id);
  sealed.set(prepared.id, await vault.encrypt(prepared.id, { plaintext, aad: AAD }, newCall()));
  return prepared.id;
}

beforeAll(async () => {
  fixture = await PartsFixture.start(['--hsms', '2']);
  for (let key = 0; key < KEYS; key += 1) await newKey();
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
});

/** The first cluster's crypto-user on another one of its family: which keys open what they made. */
async function opened(cluster: RunningCluster): Promise<number> {
  const password = await fixture.secrets.passwordOf(fixture.own.id, USERS.kms);
  const session = await cluster.login(USERS.kms, password);
  try {
    let count = 0;
    for (const [keyId, { iv, ciphertext, tag }] of sealed) {
      const data = Buffer.concat([ciphertext, tag]);
      const answer = await session
        .run('decrypt', { keyId, iv, aad: AAD, data }, newCall(), keyId)
        .catch(() => undefined);
      if (answer && Buffer.from(answer.data).toString() === keyId) count += 1;
    }
    return count;
  } finally {
    cluster.logout(session);
  }
}

async function related(mode?: 'NON_FIPS'): Promise<RunningCluster> {
  const { control, backups, jobs } = fixture.parts;
  const id = await jobs.takeWhole(fixture.own);
  const { account } = fixture.own.record;
  return await control.create({
    account,
    region: REGION,
    hsmType: 'hsm2m.medium',
    subnetIds: SUBNETS,
    mode,
    retentionDays: 90,
    networkType: 'IPV4',
    source: backups.find(id),
  });
}

describe('a cluster that is made from a backup', () => {
  let relative: RunningCluster;

  test('is another one of the same family, without an HSM', async () => {
    relative = await related();
    const { record: first } = fixture.own;
    expect(relative.record).toMatchObject({
      origin: 'caller',
      family: first.id,
      certificate: first.certificate,
      maskingKeyId: first.maskingKeyId,
      clusterKey: first.clusterKey,
      founded: true,
    });
    expect(relative.id).not.toBe(first.id);
    expect(relative.record.restoreFrom).toBe(relative.record.sourceBackupId);
  });

  test('has the keys and the users as soon as it has HSMs', async () => {
    const { control } = fixture.parts;
    await Promise.all(['a', 'b'].map((zone) => control.createHsm(relative, `${REGION}${zone}`)));
    await fixture.serving(relative, 2);
    expect(await opened(relative)).toBe(KEYS);
    expect(await relative.check(false)).toMatchObject({ clean: true, live: KEYS + 1, lost: 0 });
    await eventually(async () => relative.record.restoreFrom === null || undefined, 'it is whole');
  });

  test('makes keys of its own, and destroys what stays in the other', async () => {
    const [key] = [...sealed.keys()];
    if (!key) expect.unreachable();
    await fixture.store.commit(relative.ledger.tombstone(key));
    await eventually(
      async () => ((await opened(relative)) === KEYS - 1 ? true : undefined),
      'gone',
    );
    expect(await opened(fixture.own)).toBe(KEYS);
  });

  test('serves on after a start', async () => {
    const { id } = relative;
    await fixture.close();
    await fixture.open();
    relative = fixture.parts.clusters.get(id) ?? expect.unreachable();
    await fixture.serving(relative, 2);
    expect(await opened(relative)).toBe(KEYS - 1);
  });
});

describe('a cluster whose HSMs are all deleted', () => {
  let relative: RunningCluster;

  test('is active, and the next HSM has the keys of the latest backup', async () => {
    const { control } = fixture.parts;
    relative = await related('NON_FIPS');
    await control.createHsm(relative, `${REGION}a`);
    await fixture.serving(relative, 1);
    expect(await opened(relative)).toBe(KEYS);
    const [gone, kept] = [...sealed.keys()];
    if (!gone || !kept) expect.unreachable();
    // destroyed after the backup that it was made from: it must not come back
    await fixture.store.commit(relative.ledger.tombstone(gone));
    const [first] = relative.members;
    if (!first) expect.unreachable();
    await control.deleteHsm(relative, first);
    await fixture.serving(relative, 0);
    const { restoreFrom } = relative.record;
    expect(restoreFrom).not.toBe(relative.record.sourceBackupId);
    await control.createHsm(relative, `${REGION}b`);
    await fixture.serving(relative, 1);
    expect(await opened(relative)).toBe(KEYS - 1);
    const log = readFileSync(join(fixture.config.home.audit, `${first.id}.jsonl`), 'utf8');
    expect(log.trim().split('\n').at(-1)).toContain('END_MARKER_OPCODE');
  });

  test('loses a broken HSM if a backup has all its keys', async () => {
    const { control, jobs } = fixture.parts;
    const [member] = relative.members;
    if (!member) expect.unreachable();
    fixture.clock.nowMs += 1;
    const kept = await jobs.takeWhole(relative);
    await relative.want(member.id, 'stop');
    await eventually(async () => (member.channel ? undefined : true), 'it is stopped');
    await control.deleteHsm(relative, member);
    await fixture.serving(relative, 0);
    expect(relative.record.restoreFrom).toBe(kept);
  });

  test('is given no HSM while that backup is damaged', async () => {
    const { control, backups } = fixture.parts;
    const id = relative.record.restoreFrom ?? expect.unreachable();
    const path = join(fixture.config.home.backups, `${id}.backup`);
    const whole = readFileSync(path);
    writeFileSync(path, whole.subarray(0, -1));
    const az = `${REGION}a`;
    await expect(control.createHsm(relative, az)).rejects.toMatchObject({
      code: 'CloudHsmInvalidRequestException',
      message: `Backup '${id}' cannot be restored: ${ERRORS.KeyspanBackupRefused}.`,
    });
    expect(relative.members).toEqual([]);
    const record = backups.find(id) ?? expect.unreachable();
    await expect(backups.delete(record)).rejects.toMatchObject({
      message: expect.stringContaining(`cluster '${relative.id}', which has no HSM`),
    });
    writeFileSync(path, whole);
    await control.createHsm(relative, az);
    await fixture.serving(relative, 1);
    expect(await opened(relative)).toBe(KEYS - 1);
  });
});

test("up's cluster without HSMs is given one by its operator too", async () => {
  const empty = await PartsFixture.start(['--hsms', '1']);
  try {
    const { own, parts } = empty;
    const [only] = own.members;
    if (!only) expect.unreachable();
    await parts.control.deleteHsm(own, only);
    await empty.serving(own, 0);
    await own.membership.add();
    await empty.serving(own, 1);
    expect(await own.check(false)).toMatchObject({ clean: true, live: 1 });
  } finally {
    await empty[Symbol.asyncDispose]();
  }
});

test('an HSM that never came to be restored goes, and another is', async () => {
  const { control } = fixture.parts;
  const relative = await related();
  const { restoreFrom } = relative.record;
  const stuck = await control.createHsm(relative, `${REGION}a`);
  await relative.want(stuck.id, 'stop');
  await eventually(async () => (stuck.supervisor.state === 'STOPPED' ? true : undefined), 'stuck');
  expect(stuck.record.joined).toBe(false);
  await control.deleteHsm(relative, stuck);
  await fixture.serving(relative, 0);
  expect(relative.record.restoreFrom).toBe(restoreFrom);
  await control.createHsm(relative, `${REGION}b`);
  await fixture.serving(relative, 1);
  expect(await opened(relative)).toBe(KEYS);
});

test('the cluster that backs KMS keys keeps its last HSM', async () => {
  const { control } = fixture.parts;
  const [one, two] = fixture.own.members;
  if (!one || !two) expect.unreachable();
  await control.deleteHsm(fixture.own, one);
  await expect(control.deleteHsm(fixture.own, two)).rejects.toMatchObject({
    message: `Cluster '${fixture.own.id}' backs KMS keys: its last HSM cannot be deleted.`,
  });
  await expect(control.delete(fixture.own)).rejects.toMatchObject({
    message: `Cluster '${fixture.own.id}' backs KMS keys and cannot be deleted.`,
  });
});
