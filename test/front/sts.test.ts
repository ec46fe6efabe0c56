import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readPrincipal, type Principal } from '../../src/iam/principal.js';
import {
  ACCOUNT,
  ALICE,
  iamPrincipal,
  OTHER_ACCOUNT,
  policy,
  PrincipalsFixture,
  ROOT,
  trusting,
} from '../support/principals-fixture.js';

let fixture: PrincipalsFixture;
beforeEach(async () => {
  fixture = await PrincipalsFixture.open();
  await fixture.call('CreateUser', { UserName: 'alice' });
});
afterEach(() => fixture[Symbol.asyncDispose]());

const ROLE = `arn:aws:iam::${ACCOUNT}:role/reader`;
const SESSION = `arn:aws:sts::${ACCOUNT}:assumed-role/reader/one`;
const MALLORY = iamPrincipal('user/mallory', OTHER_ACCOUNT);
const OTHER_ROOT = iamPrincipal('root', OTHER_ACCOUNT);
const assume = { RoleArn: ROLE, RoleSessionName: 'one' };
const denied = (who: string, action = 'sts:AssumeRole'): string =>
  `AccessDeniedException: User: ${who} is not authorized to perform: ${action} ` +
  `on resource: ${ROLE}`;

const role = (trust: string, more: object = {}): Promise<unknown> =>
  fixture.call('CreateRole', {
    RoleName: 'reader',
    AssumeRolePolicyDocument: trust,
    ...more,
  });
const userPolicy = (text: string, UserName = 'alice', principal = ROOT): Promise<unknown> =>
  fixture.call('PutUserPolicy', { UserName, PolicyName: 'p', PolicyDocument: text }, principal);

/** What came of AssumeRole, as the principal that its credentials are found as. */
async function assumed(params: object = {}, principal: Principal = ALICE): Promise<Principal> {
  const { Credentials } = await fixture.call('AssumeRole', { ...assume, ...params }, principal);
  const { AccessKeyId, SessionToken } = Credentials as unknown as Record<string, string>;
  const key = fixture.sessions.find(AccessKeyId ?? '', SessionToken ?? '');
  if (!key) throw new Error('no session');
  return key.principal;
}

describe('GetCallerIdentity', () => {
  test('names the root, a user and a session, whatever policies say', async () => {
    const deny = policy('*').replace('Allow', 'Deny');
    await userPolicy(deny);
    await role(trusting(ALICE.arn));
    const { directory } = fixture;
    expect(await fixture.call('GetCallerIdentity')).toEqual({
      UserId: ACCOUNT,
      Account: ACCOUNT,
      Arn: ROOT.arn,
    });
    expect(await fixture.call('GetCallerIdentity', {}, ALICE)).toMatchObject({
      UserId: directory.user(ACCOUNT, 'alice')?.id,
    });
    const session = readPrincipal(SESSION);
    expect(await fixture.call('GetCallerIdentity', {}, session)).toEqual({
      UserId: `${directory.role(ACCOUNT, 'reader')?.id}:one`,
      Account: ACCOUNT,
      Arn: SESSION,
    });
  });
});

describe('AssumeRole', () => {
  test('by who is named in the trust policy, without a policy of its own', async () => {
    await role(trusting(ALICE.arn));
    const answer = await fixture.call('AssumeRole', assume, ALICE);
    expect(answer).toMatchObject({
      Credentials: {
        AccessKeyId: expect.stringMatching(/^ASIA/) as string,
        Expiration: new Date(fixture.time.wire + 3_600_000),
      },
      AssumedRoleUser: {
        Arn: SESSION,
        AssumedRoleId: `${fixture.directory.role(ACCOUNT, 'reader')?.id}:one`,
      },
    });
  });

  test('where the account is trusted, its policies decide', async () => {
    await role(trusting(ACCOUNT));
    expect(await fixture.refused('AssumeRole', assume, ALICE)).toBe(
      `${denied(ALICE.arn)} because no identity-based policy allows the sts:AssumeRole action`,
    );
    await userPolicy(policy('sts:AssumeRole', { Resource: ROLE }));
    expect((await assumed()).arn).toBe(SESSION);
  });

  test('from another account takes both sides', async () => {
    await fixture.call('CreateUser', { UserName: 'mallory' }, OTHER_ROOT);
    await role(trusting(ACCOUNT));
    const allowing = policy('sts:AssumeRole');
    await userPolicy(allowing, 'mallory', OTHER_ROOT);
    expect(await fixture.refused('AssumeRole', assume, MALLORY)).toContain(denied(MALLORY.arn));
    await fixture.call('UpdateAssumeRolePolicy', {
      RoleName: 'reader',
      PolicyDocument: trusting(MALLORY.arn),
    });
    expect((await assumed({}, MALLORY)).account).toBe(ACCOUNT);
    await fixture.call('DeleteUserPolicy', { UserName: 'mallory', PolicyName: 'p' }, OTHER_ROOT);
    expect(await fixture.refused('AssumeRole', assume, MALLORY)).toContain(denied(MALLORY.arn));
  });

  test('with the external id that the role asks for', async () => {
    const Condition = { StringEquals: { 'sts:ExternalId': 'secret-7' } };
    await role(trusting(ALICE.arn, { Condition }));
    for (const more of [{}, { ExternalId: 'secret-8' }]) {
      const refused = await fixture.refused('AssumeRole', { ...assume, ...more }, ALICE);
      expect(refused).toContain(denied(ALICE.arn));
    }
    expect((await assumed({ ExternalId: 'secret-7' })).arn).toBe(SESSION);
  });

  test('with tags, where the role lets them be set', async () => {
    await role(trusting(ALICE.arn));
    const Tags = [{ Key: 'team', Value: 'blue' }];
    expect(await fixture.refused('AssumeRole', { ...assume, Tags }, ALICE)).toContain(
      denied(ALICE.arn, 'sts:TagSession'),
    );
    await fixture.call('UpdateAssumeRolePolicy', {
      RoleName: 'reader',
      PolicyDocument: trusting(ALICE.arn, { Action: ['sts:AssumeRole', 'sts:TagSession'] }),
    });
    const principal = await assumed({ Tags });
    expect(fixture.directory.of(principal).tags).toEqual(new Map([['team', 'blue']]));
  });

  test('with a session policy that narrows', async () => {
    await role(trusting(ALICE.arn));
    const PolicyDocument = policy('iam:*');
    await fixture.call('PutRolePolicy', { RoleName: 'reader', PolicyName: 'p', PolicyDocument });
    const principal = await assumed({ Policy: policy('iam:ListUsers') });
    await fixture.call('ListUsers', {}, principal);
    expect(await fixture.refused('ListRoles', {}, principal)).toMatch(/session policy/);
    await fixture.call('ListRoles', {}, await assumed());
    const malformed = await fixture.refused('AssumeRole', { ...assume, Policy: '{' }, ALICE);
    expect(malformed).toMatch(/^MalformedPolicyDocumentException/);
  });

  test('is refused to roots, for roles that are not there, and with a second factor', async () => {
    await role(trusting(ACCOUNT));
    expect(await fixture.refused('AssumeRole', assume)).toBe(
      'AccessDeniedException: Roles may not be assumed by root accounts.',
    );
    const RoleArn = `${ROLE}s`;
    const missing = await fixture.refused('AssumeRole', { ...assume, RoleArn }, ALICE);
    expect(missing).toMatch(
      /^AccessDeniedException: User: .*sts:AssumeRole on resource: .*readers/,
    );
    const device = { SerialNumber: 'arn:aws:iam::1:mfa/x', TokenCode: '123456' };
    expect(await fixture.refused('AssumeRole', { ...assume, ...device }, ALICE)).toMatch(
      /^AccessDeniedException: MultiFactorAuthentication failed/,
    );
  });

  test('for no longer than the role says, and an hour from a session', async () => {
    await role(trusting([ALICE.arn, ROLE]), { MaxSessionDuration: 7_200 });
    const max =
      'ValidationException: The requested DurationSeconds exceeds the MaxSessionDuration set for ' +
      'this role.';
    const seconds = (DurationSeconds: number): object => ({ ...assume, DurationSeconds });
    expect(await fixture.refused('AssumeRole', seconds(7_201), ALICE)).toBe(max);
    const principal = await assumed({ DurationSeconds: 7_200 });
    expect(await fixture.refused('AssumeRole', seconds(3_601), principal)).toMatch(/role chaining/);
    expect((await assumed({ DurationSeconds: 3_600 }, principal)).arn).toBe(SESSION);
    for (const wrong of [899, 43_201]) {
      expect(await fixture.refused('AssumeRole', seconds(wrong), ALICE)).toMatch(
        /^ValidationException: 1 validation error detected: Value '\d+' at 'durationSeconds'/,
      );
    }
  });
});

describe('GetSessionToken', () => {
  test('gives credentials of the user, that are good for no call to IAM', async () => {
    await userPolicy(policy('iam:*'));
    const { Credentials } = await fixture.call('GetSessionToken', {}, ALICE);
    const { AccessKeyId, SessionToken } = Credentials as unknown as Record<string, string>;
    const key = fixture.sessions.find(AccessKeyId ?? '', SessionToken ?? '');
    expect(key?.principal.arn).toBe(ALICE.arn);
    expect(await fixture.refused('ListUsers', {}, key?.principal)).toMatch(
      /^UnrecognizedClientException/,
    );
    expect(await fixture.refused('GetSessionToken', {}, key?.principal)).toBe(
      'AccessDeniedException: Cannot call GetSessionToken with session credentials',
    );
  });
});

test('where any credentials are taken, their root assumes roles', async () => {
  await using open = await PrincipalsFixture.open({ rootMayAssume: true });
  const AssumeRolePolicyDocument = trusting(ACCOUNT);
  await open.call('CreateRole', { RoleName: 'reader', AssumeRolePolicyDocument });
  expect(await open.call('AssumeRole', assume)).toMatchObject({
    AssumedRoleUser: { Arn: SESSION },
  });
});
