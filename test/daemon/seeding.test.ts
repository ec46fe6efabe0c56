import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.js';
import { KeyspanError } from '../../src/core/errors.js';
import type { KmsKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { silentLog } from '../../src/core/log.js';
import type { SeededKey } from '../../src/daemon/seed-keys.js';
import type { Seed } from '../../src/daemon/seed-file.js';
import { sow, type SeedBed } from '../../src/daemon/seeding.js';
import type { Directory } from '../../src/iam/directory.js';
import { ACCOUNT, callerOf, KmsFixture, OTHER_ACCOUNT, REGION } from '../support/kms-fixture.js';
import { PrincipalsFixture } from '../support/principals-fixture.js';

const idOf = (at: number): KmsKeyId =>
  `00000000-0000-4000-8000-${String(at).padStart(12, '0')}` as KmsKeyId;

const keyOf = (at: number, changes: Partial<SeededKey> = {}): SeededKey => ({
  id: idOf(at),
  materials: [Buffer.alloc(32, at + 1)],
  isEnabled: true,
  aliases: [`alias/${at}`],
  grants: [],
  params: {},
  ...changes,
});

const NO_KEYS: Pick<KmsFixture['kms'], 'seedKey'> = {
  seedKey: () => Promise.reject(new Error('no key is wanted')),
};
const NONE = { roots: [], policies: [], users: [], roles: [] };
const seedOf = (keys: readonly SeededKey[]): Seed => ({ accounts: NONE, keys });

type Kms = NonNullable<SeedBed['served']>['kms'];

/** A bed of this KMS, and of no principals unless some are given. */
const bedOf = (kms: Kms | undefined, changes: Partial<SeedBed> = {}): SeedBed => ({
  served: kms && { kms, callers: { directory: undefined as unknown as Directory } },
  own: { account: ACCOUNT, region: REGION },
  config: { account: OTHER_ACCOUNT, region: 'us-east-1' },
  clock: systemClock(),
  signal: new AbortController().signal,
  log: silentLog(),
  ...changes,
});

const many = (count: number): SeededKey[] => Array.from({ length: count }, (_, at) => keyOf(at));

describe('a seed', () => {
  test('is sown once, and again only what is new', async () => {
    await using at = await KmsFixture.open();
    expect(await sow(seedOf(many(100)), bedOf(at.kms))).toEqual({ made: 100, present: 0 });
    expect(await sow(seedOf(many(103)), bedOf(at.kms))).toEqual({ made: 3, present: 100 });
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId: 'alias/102' });
    expect(KeyMetadata.KeyId).toBe(idOf(102));
    expect(at.vault.keys.size).toBe(103);
  });

  test('goes to the installation’s account and region, or to those that a key names', async () => {
    await using at = await KmsFixture.open();
    const place = { account: OTHER_ACCOUNT, region: 'us-west-2' };
    await sow(seedOf([keyOf(0), keyOf(1, place)]), bedOf(at.kms));
    expect((await at.call('ListKeys')).Keys.map(({ KeyId }) => KeyId)).toEqual([idOf(0)]);
    const there = callerOf(`arn:aws:iam::${OTHER_ACCOUNT}:root`, 'us-west-2');
    const { Keys } = await at.call('ListKeys', {}, there);
    expect(Keys.map(({ KeyId }) => KeyId)).toEqual([idOf(1)]);
  });

  test('leaves no material in memory, whether it was used, needed or refused', async () => {
    await using at = await KmsFixture.open();
    const wiped = (keys: readonly SeededKey[]): void => {
      for (const { materials } of keys) {
        for (const one of materials) expect(Buffer.from(one)).toEqual(Buffer.alloc(32));
      }
    };
    const rounds = [many(3), many(3)];
    for (const keys of rounds) await sow(seedOf(keys), bedOf(at.kms));
    rounds.forEach(wiped);
    const wrong = [keyOf(0, { materials: [Buffer.alloc(32, 9)] })];
    await expect(sow(seedOf(wrong), bedOf(at.kms))).rejects.toThrow();
    wiped(wrong);
  });

  test('that another key contradicts is refused by the key’s place', async () => {
    await using at = await KmsFixture.open();
    await sow(seedOf(many(3)), bedOf(at.kms));
    const keys = [keyOf(0), keyOf(1, { materials: [Buffer.alloc(32, 9)] })];
    await expect(sow(seedOf(keys), bedOf(at.kms))).rejects.toMatchObject({
      code: 'KeyspanConfig',
      message: expect.stringMatching(
        /^The seed cannot be used: keys\[1\]: The key 0{8}-/,
      ) as string,
    });
  });

  test('that fails makes no more keys, and says what failed first', async () => {
    const asked: string[] = [];
    const seedKey: Kms['seedKey'] = async ({ id }) => {
      asked.push(id);
      await Promise.resolve();
      throw new KeyspanError('KeyUnavailableException', 'No HSM is active.');
    };
    await expect(sow(seedOf(many(500)), bedOf({ seedKey }))).rejects.toMatchObject({
      code: 'KeyUnavailableException',
      message: 'The seed cannot be used: keys[0]: No HSM is active.',
    });
    expect(asked).toHaveLength(LIMITS.seed_keys_concurrent_max);
  });

  test('needs a cluster for its keys, and only for them', async () => {
    const bed = bedOf(undefined, { own: undefined });
    await expect(sow(seedOf(many(1)), bed)).rejects.toMatchObject({ code: 'KeyspanConfig' });
    expect(await sow(seedOf([]), bed)).toEqual({ made: 0, present: 0 });
    const early = sow(seedOf(many(1)), bedOf(undefined));
    await expect(early).rejects.toMatchObject({ code: 'KeyspanRefused' });
  });

  test('has its principals, also without a cluster', async () => {
    await using at = await PrincipalsFixture.open();
    const { directory } = at;
    const accounts: Seed['accounts'] = {
      ...NONE,
      roots: [{ account: OTHER_ACCOUNT, accessKeys: [{ id: 'AKIDROOT', secret: 'secret' }] }],
      users: [{ account: ACCOUNT, name: 'bob', accessKeys: [{ id: 'AKIDBOB', secret: 's' }] }],
    };
    const served = { kms: NO_KEYS, callers: { directory } };
    const bed = bedOf(undefined, { own: undefined, served });
    await sow({ accounts, keys: [] }, bed);
    expect(directory.keys.held('AKIDROOT')?.value.principal.arn).toMatch(/^arn:.*:root$/);
    const bob = directory.user(ACCOUNT, 'bob');
    expect(bob).toMatchObject({ arn: `arn:aws:iam::${ACCOUNT}:user/bob` });
    await sow({ accounts, keys: [] }, bed);
    expect(directory.user(ACCOUNT, 'bob')).toEqual(bob);
  });

  test('whose principals are refused makes no key, and says so', async () => {
    await using at = await PrincipalsFixture.open();
    const { directory } = at;
    const accessKeys = [{ id: 'AKIDBOB', secret: 'secret' }];
    const users = ['bob', 'carol'].map((name) => ({ account: ACCOUNT, name, accessKeys }));
    const bed = bedOf(undefined, { served: { kms: NO_KEYS, callers: { directory } } });
    const accounts = { ...NONE, users };
    await sow({ accounts: { ...NONE, users: users.slice(0, 1) }, keys: [] }, bed);
    await expect(sow({ accounts, keys: many(1) }, bed)).rejects.toMatchObject({
      code: 'EntityAlreadyExists',
      message: expect.stringMatching(/^The seed cannot be used: accounts: /) as string,
    });
    const early = sow({ accounts, keys: [] }, bedOf(undefined));
    await expect(early).rejects.toMatchObject({ code: 'KeyspanRefused' });
  });
});
