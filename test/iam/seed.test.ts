import { expect, test } from 'vitest';
import { AnyKeys, CallerKeys } from '../../src/iam/caller-keys.js';
import { seedPrincipals, type PrincipalSeed } from '../../src/iam/seed.js';
import {
  ACCOUNT,
  iamPrincipal,
  OTHER_ACCOUNT,
  policy,
  PrincipalsFixture,
  trusting,
} from '../support/principals-fixture.js';

const BOUND = `arn:aws:iam::${ACCOUNT}:policy/bound`;
const SEED: PrincipalSeed = {
  roots: [{ account: OTHER_ACCOUNT, accessKeys: [{ id: 'otherroot', secret: 'other' }] }],
  policies: [{ account: ACCOUNT, name: 'bound', text: policy('kms:*') }],
  users: Array.from({ length: 200 }, (_, at) => ({
    account: ACCOUNT,
    name: `user${at}`,
    path: '/seeded/',
    policies: [{ name: 'p', text: policy('kms:Encrypt') }],
    attached: [BOUND],
    boundary: BOUND,
    tags: [{ key: 'team', value: 'blue' }],
    accessKeys: [{ id: `AKIASEEDED${at}`, secret: `secret${at}` }],
  })),
  roles: [{ account: OTHER_ACCOUNT, name: 'reader', trust: trusting(ACCOUNT) }],
};

test('a seed makes principals in few commits, and nothing the second time', async () => {
  await using fixture = await PrincipalsFixture.open();
  const { directory, store } = fixture;
  const revision = async (): Promise<number> => (await store.range('iam/')).revision;
  const before = await revision();
  await seedPrincipals(directory, SEED, 7);
  const after = await revision();
  expect(after - before).toBeLessThanOrEqual(4);
  const user = directory.user(ACCOUNT, 'user199');
  expect(user).toMatchObject({ boundary: BOUND, createdAt: 7, accessKeys: ['AKIASEEDED199'] });
  const key = fixture.keys.find('AKIASEEDED199');
  expect(Buffer.from(key?.secret ?? []).toString()).toBe('secret199');
  expect(key?.principal.arn).toBe(user?.arn);
  expect(fixture.keys.find('otherroot')?.principal.arn).toBe(
    iamPrincipal('root', OTHER_ACCOUNT).arn,
  );
  expect(directory.role(OTHER_ACCOUNT, 'reader')?.trust).toBe(trusting(ACCOUNT));
  await seedPrincipals(directory, SEED, 8);
  expect(await revision()).toBe(after);
  const [first] = SEED.users ?? [];
  if (!first) throw new Error('no user');
  await seedPrincipals(directory, { users: [{ ...first, policies: [] }] }, 9);
  expect(directory.user(ACCOUNT, 'user0')).toMatchObject({ policies: [], createdAt: 7 });
});

test('a seed with a policy that is none changes nothing of its commit', async () => {
  await using fixture = await PrincipalsFixture.open();
  const role = { account: ACCOUNT, name: 'r', trust: '{' };
  const users = [{ account: ACCOUNT, name: 'u' }];
  await expect(
    seedPrincipals(fixture.directory, { users, roles: [role] }, 7),
  ).rejects.toMatchObject({ code: 'MalformedPolicyDocumentException' });
  expect(fixture.directory.user(ACCOUNT, 'u')).toBeUndefined();
  const accessKeys = [{ id: 'test', secret: 'x' }];
  const thief = { users: [{ account: ACCOUNT, name: 'u', accessKeys }] };
  await expect(seedPrincipals(fixture.directory, thief, 7)).rejects.toMatchObject({
    code: 'EntityAlreadyExists',
  });
});

test('strangers are roots of the account that they name; a token needs its own key', async () => {
  await using fixture = await PrincipalsFixture.open();
  const { keys, sessions } = fixture;
  const any = new AnyKeys(keys, sessions, ACCOUNT);
  expect(any.stranger('whatever').principal.arn).toBe(iamPrincipal('root').arn);
  const other = any.stranger(OTHER_ACCOUNT);
  expect(other.principal.arn).toBe(iamPrincipal('root', OTHER_ACCOUNT).arn);
  expect(any.stranger(OTHER_ACCOUNT)).toBe(other);
  const known = new CallerKeys(keys, sessions);
  expect(known.find('test')?.principal.arn).toBe(iamPrincipal('root').arn);
  expect(known.find('test', 'token')).toBeUndefined();
});
