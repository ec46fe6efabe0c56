import { describe, expect, test } from 'vitest';
import type { CommitPart } from '../../src/core/commit.js';
import { KeyspanError } from '../../src/core/errors.js';
import { LIMITS } from '../../src/core/limits.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import type { Store } from '../../src/store/store.js';
import { KmsFixture } from '../support/kms-fixture.js';

const DAY_MS = 86_400_000;
const Plaintext = (): Buffer => Buffer.from('secret');

/** Everything of KMS and its vaults that is in the store, by the paths. */
async function standing(at: KmsFixture): Promise<string[]> {
  const prefixes = [KEYSPACE.kms, KEYSPACE.kmsDue, 'ledger/'];
  const ranges = await Promise.all(prefixes.map((prefix) => at.store.range(prefix)));
  return ranges.flatMap(({ entries }) => entries.map(({ key }) => key));
}

/** A key with that many materials and aliases, whose day has come. */
async function doomed(at: KmsFixture, count: { materials: number; aliases: number }) {
  const { KeyId, Arn } = await at.createKey();
  for (let n = 1; n < count.materials; n += 1) await at.call('RotateKeyOnDemand', { KeyId });
  for (let n = 0; n < count.aliases; n += 1) {
    await at.call('CreateAlias', { AliasName: `alias/${KeyId}-${n}`, TargetKeyId: KeyId });
  }
  await at.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
  at.time.civil += 7 * DAY_MS;
  return { KeyId, Arn };
}

/** Lets a test look at each commit before it is made, and refuse it. */
class Between {
  before: (part: CommitPart) => Promise<void> | void = () => undefined;
  commits = 0;

  wrap = (store: Store): Store =>
    new Proxy(store, {
      get: (target, name) => {
        if (name === 'commit') {
          return async (part: CommitPart): Promise<number> => {
            await this.before(part);
            this.commits += 1;
            return await target.commit(part);
          };
        }
        const value: unknown = Reflect.get(target, name);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
}

describe('the removal of a key', () => {
  test('leaves nothing of it, and other keys as they are', async () => {
    await using at = await KmsFixture.open();
    const other = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/other', TargetKeyId: other.KeyId });
    const before = await standing(at);
    const { KeyId, Arn } = await doomed(at, { materials: 3, aliases: 2 });
    await at.kms.jobs.run();
    expect(await standing(at)).toEqual(before);
    expect(await at.refused('DescribeKey', { KeyId })).toBe(
      `NotFoundException: Key '${Arn}' does not exist`,
    );
    await at.call('Encrypt', { KeyId: 'alias/other', Plaintext: Plaintext() });
    const lines = await at.auditLines();
    expect(lines.filter(({ door }) => door === 'job')).toMatchObject([
      { action: 'DeleteKey', principal: 'AWS Internal', resource: Arn },
    ]);
  });

  test('does not come before its day, to the millisecond', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
    const before = await standing(at);
    at.time.civil += 7 * DAY_MS - 1;
    expect(await at.kms.jobs.run()).toBe(1);
    expect(await standing(at)).toEqual(before);
    at.time.civil += 1;
    expect(await at.kms.jobs.run()).toBe(LIMITS.kms_jobs_look_ms);
    expect(await standing(at)).toEqual([]);
  });

  test('takes as many commits as a large key needs, none of them too large', async () => {
    const between = new Between();
    await using at = await KmsFixture.open(undefined, between.wrap);
    await doomed(at, { materials: 26, aliases: 50 });
    const sizes: number[] = [];
    between.before = ({ writes }) => void sizes.push(writes.length);
    await at.kms.jobs.run();
    // two writes for each material, one for each alias, two for the key
    expect(sizes.length).toBe(2);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(LIMITS.kms_removal_writes_max + 2);
    expect(await standing(at)).toEqual([]);
  });

  test('goes on where it was broken off, and no move of the clock undoes it', async () => {
    const between = new Between();
    await using at = await KmsFixture.open(undefined, between.wrap);
    const { KeyId, Arn } = await doomed(at, { materials: 26, aliases: 50 });
    const { commits } = between;
    between.before = () => {
      if (between.commits > commits) throw new KeyspanError('StoreFailed');
    };
    expect(await at.kms.jobs.run()).toBe(LIMITS.kms_jobs_retry_first_ms);
    expect((await standing(at)).length).toBeGreaterThan(0);
    at.time.civil -= 3 * DAY_MS;
    const gone = `NotFoundException: Key '${Arn}' does not exist`;
    expect(await at.refused('CancelKeyDeletion', { KeyId })).toBe(gone);
    expect(await at.refused('DescribeKey', { KeyId })).toBe(gone);
    at.time.civil += 3 * DAY_MS;
    between.before = () => undefined;
    // another daemon takes it up
    await using another = await at.another();
    await another.jobs.run();
    expect(await standing(at)).toEqual([]);
  });

  test('is tried again, later and later, while the vault does not answer', async () => {
    await using at = await KmsFixture.open();
    await doomed(at, { materials: 1, aliases: 1 });
    const { vault } = at;
    const destroyKey = vault.destroyKey.bind(vault);
    vault.destroyKey = async () => {
      throw new KeyspanError('VaultUnavailable');
    };
    const rests = [await at.kms.jobs.run(), await at.kms.jobs.run(), await at.kms.jobs.run()];
    expect(rests).toEqual([1_000, 2_000, 4_000]);
    expect((await standing(at)).length).toBeGreaterThan(0);
    vault.destroyKey = destroyKey;
    await at.kms.jobs.run();
    expect(await standing(at)).toEqual([]);
  });

  test('does not stumble over a material that no vault knows any more', async () => {
    await using at = await KmsFixture.open();
    await doomed(at, { materials: 2, aliases: 0 });
    at.vault.destroyKey = async () => {
      throw new KeyspanError('VaultKeyMissing');
    };
    await at.kms.jobs.run();
    expect(await at.store.range(KEYSPACE.kms)).toMatchObject({ entries: [] });
  });

  test('spares an alias that was given to another key meanwhile', async () => {
    const between = new Between();
    await using at = await KmsFixture.open(undefined, between.wrap);
    const { KeyId } = await doomed(at, { materials: 1, aliases: 1 });
    const heir = await at.createKey();
    const AliasName = `alias/${KeyId}-0`;
    let isFirst = true;
    between.before = async () => {
      if (!isFirst) return;
      isFirst = false;
      await at.call('UpdateAlias', { AliasName, TargetKeyId: heir.KeyId });
    };
    await at.kms.jobs.run();
    await at.kms.jobs.run();
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: AliasName });
    expect(KeyMetadata.KeyId).toBe(heir.KeyId);
    expect((await standing(at)).filter((path) => path.includes(KeyId))).toEqual([
      KEYSPACE.kmsAlias(KeyMetadata.AWSAccountId, 'eu-central-1', AliasName),
    ]);
  });

  test('by two daemons at once is made once', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const keys = [];
    for (let n = 0; n < 5; n += 1) keys.push(await at.createKey());
    for (const { KeyId } of keys) {
      await at.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
    }
    at.time.civil += 7 * DAY_MS;
    await Promise.all([at.kms.jobs.run(), another.jobs.run()]);
    await at.kms.jobs.run();
    expect(await standing(at)).toEqual([]);
    const told = (await at.auditLines()).filter(({ door }) => door === 'job');
    const arns = keys.map(({ Arn }) => Arn).sort();
    expect(told.map(({ resource }) => resource as string).sort()).toEqual(arns);
  });
});

describe('the jobs', () => {
  /** Runs them until everything of the keys is gone. */
  const emptied = async (at: KmsFixture): Promise<void> => {
    await expect.poll(() => standing(at), { timeout: 10_000 }).toEqual([]);
  };

  test('that were started remove what is due, and what comes due while they sleep', async () => {
    await using at = await KmsFixture.open();
    await doomed(at, { materials: 1, aliases: 1 });
    at.kms.jobs.start();
    await emptied(at);
    const { KeyId } = await at.createKey();
    await at.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
    // they sleep until its day; the operator moves civil time, and they are told
    at.time.civil += 7 * DAY_MS;
    at.kms.jobs.wake();
    await emptied(at);
  });

  test('wake when a key becomes due by a change of it', async () => {
    await using at = await KmsFixture.open();
    at.kms.jobs.start();
    const { KeyId } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    await at.call('DisableKey', { KeyId });
    at.time.civil += 100 * DAY_MS;
    await at.call('EnableKey', { KeyId });
    await expect
      .poll(async () => (await at.call('ListKeyRotations', { KeyId })).Rotations.length)
      .toBe(1);
  });

  test('do nothing while they are held', async () => {
    await using at = await KmsFixture.open();
    await doomed(at, { materials: 1, aliases: 0 });
    let isHeld = true;
    await using held = await at.another({ jobs: { isHeld: () => isHeld } });
    const before = await standing(at);
    await held.jobs.run();
    expect(await standing(at)).toEqual(before);
    isHeld = false;
    await held.jobs.run();
    expect(await standing(at)).toEqual([]);
  });

  test('look at none of a thousand keys that are not due', async () => {
    await using at = await KmsFixture.open();
    const value = Buffer.from('no record: whoever reads it fails');
    for (let from = 0; from < 1_000; from += 100) {
      const writes = Array.from({ length: 100 }, (_, n) => {
        const id = `00000000-0000-4000-8000-${String(from + n).padStart(12, '0')}`;
        return { op: 'put' as const, key: `kms/key/111122223333/eu-central-1/${id}`, value };
      });
      await at.store.commit({ compares: [], writes });
    }
    const { KeyId } = await at.createKey();
    await at.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
    at.time.civil += 7 * DAY_MS;
    expect(await at.kms.jobs.run()).toBe(LIMITS.kms_jobs_look_ms);
    expect((await at.store.range(KEYSPACE.kms)).entries.length).toBe(1_000);
  });
});
