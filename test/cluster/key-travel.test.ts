import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { replicateKey, type TravelEnd } from '../../src/cluster/key-travel.js';
import { USERS } from '../../src/cluster/lifecycle.js';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { createUser } from '../../src/cluster/user-changes.js';
import { UserKeys } from '../../src/cluster/user-keys.js';
import type { SeenKey } from '../../src/cluster/key-views.js';
import { PartsFixture, newCall } from '../support/parts-fixture.js';

const REGION = 'us-east-1';
const DATA = Buffer.from('data');
const user = (username: string): { username: string; role: 'crypto-user'; password: string } => ({
  username,
  role: 'crypto-user',
  password: 'a-password-of-it',
});

let fixture: PartsFixture;
let relative: RunningCluster;
let from: TravelEnd;
let to: TravelEnd;
/** private keys that were there when the backup was made */
const before = new Map<string, SeenKey>();
let secret: SeenKey;
const SPECS = {
  rsa: { type: 'rsa', bits: 2_048 },
  ec: { type: 'ec', curve: 'secp256r1' },
  ed25519: { type: 'ec', curve: 'ed25519' },
} as const;
type Spec = (typeof SPECS)[keyof typeof SPECS];
const MECHANISMS = {
  rsa: { name: 'rsa-pkcs', hash: 'sha256' },
  ec: { name: 'ecdsa', hash: 'sha256' },
  ed25519: { name: 'ed25519' },
} as const;
type Mechanism = (typeof MECHANISMS)[keyof typeof MECHANISMS];

const end = async (cluster: RunningCluster, name = 'alice'): Promise<TravelEnd> => ({
  cluster,
  session: await cluster.login(name, user(name).password),
});

beforeAll(async () => {
  fixture = await PartsFixture.start(['--hsms', '2']);
  const { own } = fixture;
  const password = await fixture.secrets.passwordOf(own.id, USERS.admin);
  const admin = await own.login(USERS.admin, password);
  for (const name of ['alice', 'bob']) await createUser(admin, user(name));
  const alice = { cluster: own, session: await own.login('alice', user('alice').password) };
  for (const [kind, spec] of Object.entries(SPECS)) before.set(kind, await newPair(alice, spec));
  secret = await own.keys.generate(
    alice.session,
    { label: 'a secret', given: {} },
    { spec: { type: 'generic-secret', length: 11 } },
    newCall(),
  );
  const { control, backups, jobs } = fixture.parts;
  const id = await jobs.takeWhole(own);
  relative = await control.create({
    account: own.record.account,
    region: REGION,
    hsmType: 'hsm2m.medium',
    subnetIds: ['subnet-fd54af9b', 'subnet-49a1bc00'],
    mode: undefined,
    retentionDays: 90,
    networkType: 'IPV4',
    source: backups.find(id),
  });
  await Promise.all(['a', 'b'].map((zone) => control.createHsm(relative, `${REGION}${zone}`)));
  await fixture.serving(relative, 2);
  await createUser(admin, user('carol'));
  [from, to] = await Promise.all([end(own), end(relative)]);
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
});

async function newPair(
  end_: TravelEnd,
  spec: Spec = SPECS.ec,
  share?: readonly string[],
): Promise<SeenKey> {
  const { privateKey } = await end_.cluster.keys.generatePair(
    end_.session,
    {
      publicKey: { label: 'public', given: { verify: true } },
      privateKey: { label: 'private', given: { sign: true } },
    },
    { spec, ...(share && { share }) },
    newCall(),
  );
  return privateKey;
}

const referenceOf = ({ described }: SeenKey): string => described['key-reference'];
const sign = async (
  { cluster, session }: TravelEnd,
  reference: string,
  mechanism: Mechanism = MECHANISMS.ec,
): Promise<Uint8Array> => {
  const names = [reference] as const;
  const answer = await cluster.keys.use(session, 'key-sign', names, newCall(), ([keyId]) => ({
    keyId,
    mechanism,
    data: DATA,
    digested: false,
  }));
  return answer.signature;
};

test('a cluster from a backup has the keys of all kinds that were in it', async () => {
  for (const [kind, key] of before) {
    const there = await to.cluster.keys.describe(to.session, referenceOf(key));
    expect(there.described).toEqual(key.described);
    const mechanism = MECHANISMS[kind as keyof typeof MECHANISMS];
    const signatures = [
      await sign(from, referenceOf(key), mechanism),
      await sign(to, referenceOf(key), mechanism),
    ];
    // what a key signs by these is the same each time
    if (kind !== 'ec') expect(signatures[0]).toEqual(signatures[1]);
  }
  const there = await to.cluster.keys.describe(to.session, referenceOf(secret));
  expect(there.described).toEqual(secret.described);
});

describe('a key of a relative', () => {
  test('comes with its name, attributes and users, and works', async () => {
    const key = await newPair(from, SPECS.ec, ['bob']);
    const change = { set: { name: 'derive', value: true } } as const;
    await from.cluster.keys.change(from.session, referenceOf(key), { change }, newCall());
    const there = await replicateKey(from, to, referenceOf(key), newCall());
    const here = await from.cluster.keys.describe(from.session, referenceOf(key));
    expect(there.described).toEqual(here.described);
    expect(there.described.attributes['derive']).toBe(true);
    expect(await sign(to, referenceOf(key))).toHaveLength(64);
    expect(await sign(await end(relative, 'bob'), referenceOf(key))).toHaveLength(64);
    // again is no error
    expect((await replicateKey(from, to, referenceOf(key), newCall())).id).toBe(key.id);
    expect(await relative.check(false)).toMatchObject({ clean: true, lost: 0, scarce: 0 });
  });

  test('comes from no reference that the other gives out', async () => {
    const [one, other] = [await newPair(from), await newPair(to)];
    expect(referenceOf(one).slice(0, 8)).toBe('0x000000');
    expect(referenceOf(other).slice(0, 8)).not.toBe('0x000000');
  });

  test('that was changed there since is another', async () => {
    const key = await newPair(from);
    await replicateKey(from, to, referenceOf(key), newCall());
    await to.cluster.keys.change(
      to.session,
      referenceOf(key),
      { change: { label: 'changed' } },
      newCall(),
    );
    await expect(replicateKey(from, to, referenceOf(key), newCall())).rejects.toMatchObject({
      message: 'Key replicate failed on 2 of 2 connections',
    });
  });

  test('that was deleted there does not come back', async () => {
    const key = await newPair(from);
    await replicateKey(from, to, referenceOf(key), newCall());
    // a member that is away keeps the burial on record
    await relative.want(relative.members[0]?.id ?? '', 'stop');
    await to.cluster.keys.delete(to.session, referenceOf(key), newCall());
    await expect(replicateKey(from, to, referenceOf(key), newCall())).rejects.toMatchObject({
      code: expect.stringMatching(/^(KeyspanRefused|VaultNotDurable)$/),
    });
    await relative.want(relative.members[0]?.id ?? '', 'run');
    await fixture.serving(relative, 2);
  });

  test('does not come to who is not there, nor by another than its owner', async () => {
    const shared = await newPair(from, SPECS.ec, ['carol']);
    await expect(replicateKey(from, to, referenceOf(shared), newCall())).rejects.toMatchObject({
      message: 'Specified user does not exist',
    });
    const key = await newPair(from);
    const bob = { cluster: from.cluster, session: (await end(fixture.own, 'bob')).session };
    await expect(replicateKey(bob, to, referenceOf(key), newCall())).rejects.toMatchObject({
      code: 'HsmKeyNotFound',
    });
  });

  test('comes from a relative only', async () => {
    const key = await newPair(from);
    const { record } = relative;
    const stranger = {
      ...to,
      cluster: { keys: relative.keys, record: { ...record, family: null } },
    };
    const other = stranger as unknown as TravelEnd;
    await expect(replicateKey(from, other, referenceOf(key), newCall())).rejects.toMatchObject({
      message: 'The clusters do not share a backup history',
    });
    expect(relative.keys).toBeInstanceOf(UserKeys);
  });
});
