import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { IAM_REQUESTS, type IamAction } from '../../src/protocol/iam.js';
import { STS_REQUESTS } from '../../src/protocol/sts.js';
import {
  ACCOUNT,
  ALICE,
  policy,
  PrincipalsFixture,
  ROOT,
  trusting,
} from '../support/principals-fixture.js';

let fixture: PrincipalsFixture;
beforeEach(async () => {
  fixture = await PrincipalsFixture.open();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const user = { UserName: 'alice' };
const role = { RoleName: 'reader' };
const createRole = { ...role, AssumeRolePolicyDocument: trusting(ACCOUNT) };

describe('a user', () => {
  test('is made, shown, listed and deleted', async () => {
    const made = await fixture.call('CreateUser', { ...user, Path: '/a/' });
    expect(made).toEqual({
      User: {
        Path: '/a/',
        UserName: 'alice',
        UserId: expect.stringMatching(/^AIDA[A-Z2-7]{17}$/) as string,
        Arn: `arn:aws:iam::${ACCOUNT}:user/a/alice`,
        CreateDate: new Date(fixture.time.civil),
        PermissionsBoundary: undefined,
      },
    });
    expect(await fixture.call('GetUser', user)).toEqual(made);
    expect(await fixture.call('ListUsers', { PathPrefix: '/a/' })).toMatchObject({
      Users: [made['User']],
      IsTruncated: false,
    });
    expect(await fixture.call('ListUsers', { PathPrefix: '/b/' })).toMatchObject({ Users: [] });
    expect(await fixture.refused('CreateUser', { UserName: 'Alice' })).toBe(
      'EntityAlreadyExists: User with name Alice already exists.',
    );
    expect(await fixture.call('DeleteUser', user)).toEqual({});
    for (const action of ['GetUser', 'DeleteUser', 'ListUserPolicies', 'ListGroupsForUser']) {
      expect(await fixture.refused(action, user)).toBe(
        'NoSuchEntity: The user with name alice cannot be found.',
      );
    }
  });

  test('stays while something is attached to it', async () => {
    await fixture.call('CreateUser', user);
    const { AccessKey } = await fixture.call('CreateAccessKey', user);
    const inline = { ...user, PolicyName: 'p' };
    await fixture.call('PutUserPolicy', { ...inline, PolicyDocument: policy('*') });
    const PolicyArn = 'arn:aws:iam::aws:policy/AdministratorAccess';
    await fixture.call('AttachUserPolicy', { ...user, PolicyArn });
    const must = 'DeleteConflict: Cannot delete entity, must';
    expect(await fixture.refused('DeleteUser', user)).toBe(`${must} delete access keys first.`);
    const { AccessKeyId } = AccessKey as unknown as { AccessKeyId: string };
    await fixture.call('DeleteAccessKey', { ...user, AccessKeyId });
    expect(await fixture.refused('DeleteUser', user)).toBe(`${must} delete policies first.`);
    await fixture.call('DeleteUserPolicy', inline);
    expect(await fixture.refused('DeleteUser', user)).toBe(`${must} detach all policies first.`);
    await fixture.call('DetachUserPolicy', { ...user, PolicyArn });
    await fixture.call('DeleteUser', user);
  });

  test('has two access keys at most, each good until it is not active', async () => {
    await fixture.call('CreateUser', user);
    const { keys } = fixture;
    const { AccessKey } = await fixture.call('CreateAccessKey', user);
    const { AccessKeyId: id = '', SecretAccessKey: secret } = AccessKey as unknown as Record<
      string,
      string
    >;
    expect(id).toMatch(/^AKIA[A-Z2-7]{16}$/);
    expect(Buffer.from(keys.find(id)?.secret ?? []).toString()).toBe(secret);
    expect(keys.find(id)?.principal.arn).toBe(ALICE.arn);
    await fixture.call('CreateAccessKey', {}, ALICE).catch(() => undefined);
    await fixture.call('CreateAccessKey', user);
    expect(await fixture.refused('CreateAccessKey', user)).toBe(
      'LimitExceededException: Cannot exceed quota for AccessKeysPerUser: 2',
    );
    await fixture.call('UpdateAccessKey', { ...user, AccessKeyId: id, Status: 'Inactive' });
    expect(() => keys.find(id)).toThrow('The security token included in the request is invalid.');
    const { AccessKeyMetadata } = await fixture.call('ListAccessKeys', user);
    expect(AccessKeyMetadata).toContainEqual({
      UserName: 'alice',
      AccessKeyId: id,
      Status: 'Inactive',
      CreateDate: new Date(fixture.time.civil),
    });
    expect(JSON.stringify(AccessKeyMetadata)).not.toContain(secret);
    await fixture.call('UpdateAccessKey', { ...user, AccessKeyId: id, Status: 'Active' });
    expect(keys.find(id)).toBeDefined();
    await fixture.call('DeleteAccessKey', { ...user, AccessKeyId: id });
    expect(keys.find(id)).toBeUndefined();
    expect(await fixture.refused('DeleteAccessKey', { ...user, AccessKeyId: id })).toBe(
      `NoSuchEntity: The Access Key with id ${id} cannot be found.`,
    );
  });

  test('cannot take another user’s key away', async () => {
    await fixture.call('CreateUser', user);
    await fixture.call('CreateUser', { UserName: 'bob' });
    const { AccessKey } = await fixture.call('CreateAccessKey', { UserName: 'bob' });
    const { AccessKeyId } = AccessKey as unknown as { AccessKeyId: string };
    expect(await fixture.refused('DeleteAccessKey', { ...user, AccessKeyId })).toMatch(
      /^NoSuchEntity/,
    );
  });
});

describe('a role', () => {
  test('is made, shown, changed and deleted, as Terraform asks', async () => {
    const made = await fixture.call('CreateRole', { ...createRole, Description: 'reads' });
    expect(made).toMatchObject({
      Role: {
        RoleId: expect.stringMatching(/^AROA[A-Z2-7]{17}$/) as string,
        AssumeRolePolicyDocument: encodeURIComponent(createRole.AssumeRolePolicyDocument),
        MaxSessionDuration: 3_600,
        Description: 'reads',
      },
    });
    expect(await fixture.call('ListRolePolicies', role)).toMatchObject({ PolicyNames: [] });
    expect(await fixture.call('ListAttachedRolePolicies', role)).toMatchObject({
      AttachedPolicies: [],
    });
    expect(await fixture.call('ListInstanceProfilesForRole', role)).toMatchObject({
      InstanceProfiles: [],
    });
    await fixture.call('UpdateRole', { ...role, MaxSessionDuration: 7_200 });
    expect(await fixture.call('GetRole', role)).toMatchObject({
      Role: { MaxSessionDuration: 7_200, Description: 'reads' },
    });
    await fixture.call('DeleteRole', role);
    expect(await fixture.refused('GetRole', role)).toBe(
      'NoSuchEntity: The role with name reader cannot be found.',
    );
  });

  test.each([
    ['{', 'Syntax errors in policy.'],
    [trusting(ACCOUNT, { Resource: '*' }), 'Has prohibited field Resource'],
    [trusting('arn:aws:iam::1:user/x'), 'invalid principals'],
    [policy('sts:AssumeRole').replace(',"Resource":"*"', ''), 'Principal'],
  ])('does not have the trust policy %s', async (AssumeRolePolicyDocument, why) => {
    const refused = await fixture.refused('CreateRole', { ...role, AssumeRolePolicyDocument });
    expect(refused).toMatch(/^MalformedPolicyDocumentException/);
    expect(refused).toContain(why);
  });
});

describe('policies', () => {
  test('inline ones are bounded together, white space aside', async () => {
    await fixture.call('CreateUser', user);
    const long = policy(`kms:${'a'.repeat(1_500)}`);
    const put = (PolicyName: string, PolicyDocument: string): Promise<unknown> =>
      fixture.call('PutUserPolicy', { ...user, PolicyName, PolicyDocument });
    await put('one', long + ' '.repeat(4_000));
    await expect(put('two', long)).rejects.toMatchObject({
      code: 'LimitExceededException',
      message: 'Maximum policy size of 2048 bytes exceeded for user alice',
    });
    await put('one', long);
    expect(await fixture.refused('GetUserPolicy', { ...user, PolicyName: 'two' })).toBe(
      'NoSuchEntity: The user policy with name two cannot be found.',
    );
  });

  test('a managed one is deleted when nobody has it and it has one version', async () => {
    const text = policy('kms:*');
    const made = await fixture.call('CreatePolicy', { PolicyName: 'P', PolicyDocument: text });
    const { Arn: PolicyArn } = made['Policy'] as unknown as { Arn: string };
    await fixture.call('CreateRole', createRole);
    const PermissionsBoundary = PolicyArn;
    await fixture.call('PutRolePermissionsBoundary', { ...role, PermissionsBoundary });
    await fixture.call('AttachRolePolicy', { ...role, PolicyArn });
    expect(await fixture.call('GetPolicy', { PolicyArn })).toMatchObject({
      Policy: { AttachmentCount: 1, PermissionsBoundaryUsageCount: 1, DefaultVersionId: 'v1' },
    });
    const conflict = 'DeleteConflict: Cannot delete a policy attached to entities.';
    expect(await fixture.refused('DeletePolicy', { PolicyArn })).toBe(conflict);
    await fixture.call('DetachRolePolicy', { ...role, PolicyArn });
    expect(await fixture.refused('DeletePolicy', { PolicyArn })).toBe(conflict);
    await fixture.call('DeleteRolePermissionsBoundary', role);
    for (let at = 2; at <= LIMITS.iam_policy_versions_max; at += 1) {
      await fixture.call('CreatePolicyVersion', { PolicyArn, PolicyDocument: text });
    }
    expect(
      await fixture.refused('CreatePolicyVersion', { PolicyArn, PolicyDocument: text }),
    ).toMatch(/^LimitExceededException/);
    expect(await fixture.refused('DeletePolicy', { PolicyArn })).toMatch(/more than one version/);
    expect(await fixture.refused('DeletePolicyVersion', { PolicyArn, VersionId: 'v1' })).toMatch(
      /^DeleteConflict/,
    );
    for (let at = 2; at <= LIMITS.iam_policy_versions_max; at += 1) {
      await fixture.call('DeletePolicyVersion', { PolicyArn, VersionId: `v${at}` });
    }
    await fixture.call('DeletePolicy', { PolicyArn });
    expect(await fixture.refused('GetPolicy', { PolicyArn })).toMatch(/^NoSuchEntity/);
    expect(await fixture.refused('AttachRolePolicy', { ...role, PolicyArn })).toBe(
      `NoSuchEntity: Policy ${PolicyArn} does not exist or is not attachable.`,
    );
  });

  test('attached ten times at once, all are there', async () => {
    await fixture.call('CreateRole', createRole);
    const names = Array.from({ length: 10 }, (_, at) => `p${at}`);
    await Promise.all(
      names.map((PolicyName) =>
        fixture.call('PutRolePolicy', { ...role, PolicyName, PolicyDocument: policy('kms:*') }),
      ),
    );
    expect(await fixture.call('ListRolePolicies', role)).toMatchObject({ PolicyNames: names });
  });
});

describe('lists', () => {
  test('go on where they ended, also when what they ended with is gone', async () => {
    for (const UserName of ['d', 'B', 'a', 'C']) await fixture.call('CreateUser', { UserName });
    const first = await fixture.call('ListUsers', { MaxItems: 2 });
    expect(first).toMatchObject({ Users: [{ UserName: 'a' }, { UserName: 'B' }] });
    await fixture.call('DeleteUser', { UserName: 'B' });
    const { Marker } = first;
    expect(await fixture.call('ListUsers', { Marker, MaxItems: 2 })).toMatchObject({
      Users: [{ UserName: 'C' }, { UserName: 'd' }],
      IsTruncated: false,
    });
    expect(await fixture.refused('ListUsers', { Marker: 'x' })).toMatch(/^ValidationException/);
  });
});

describe('tags', () => {
  test('are added, overwritten and taken away without regard to case', async () => {
    await fixture.call('CreateUser', { ...user, Tags: [{ Key: 'Team', Value: 'a' }] });
    const Tags = [
      { Key: 'team', Value: 'b' },
      { Key: 'x', Value: '' },
    ];
    await fixture.call('TagUser', { ...user, Tags });
    expect(await fixture.call('ListUserTags', user)).toMatchObject({ Tags });
    await fixture.call('UntagUser', { ...user, TagKeys: ['TEAM'] });
    expect(await fixture.call('ListUserTags', user)).toMatchObject({ Tags: [Tags[1]] });
    const twice = [Tags[0], { Key: 'TEAM', Value: 'c' }];
    expect(await fixture.refused('TagUser', { ...user, Tags: twice })).toMatch(/^InvalidInput/);
  });
});

describe('who may', () => {
  test('the caller’s own policies decide, by the resource and the tags', async () => {
    await fixture.call('CreateUser', user);
    const denied = await fixture.refused('CreateUser', { UserName: 'bob' }, ALICE);
    expect(denied).toBe(
      `AccessDeniedException: User: ${ALICE.arn} is not authorized to perform: iam:CreateUser ` +
        `on resource: arn:aws:iam::${ACCOUNT}:user/bob because no identity-based policy ` +
        'allows the iam:CreateUser action',
    );
    const PolicyDocument = policy('iam:CreateUser', {
      Resource: `arn:aws:iam::${ACCOUNT}:user/team/*`,
      Condition: { StringEquals: { 'aws:RequestTag/team': 'blue' } },
    });
    await fixture.call('PutUserPolicy', { ...user, PolicyName: 'p', PolicyDocument });
    const bob = { UserName: 'bob', Path: '/team/' };
    const Tags = [{ Key: 'team', Value: 'blue' }];
    expect(await fixture.refused('CreateUser', bob, ALICE)).toMatch(/^AccessDenied/);
    expect(await fixture.refused('CreateUser', { UserName: 'bob', Tags }, ALICE)).toMatch(
      /^AccessDenied/,
    );
    await fixture.call('CreateUser', { ...bob, Tags }, ALICE);
  });

  test('each call leaves its line', async () => {
    await fixture.call('CreateUser', user);
    await fixture.refused('GetUser', { UserName: 'bob' });
    await fixture.refused('NoSuchAction');
    const lines = await fixture.auditLines();
    const calls = lines.filter((line) => 'eventName' in line || 'action' in line);
    expect(calls.map(({ eventName, errorCode }) => [eventName, errorCode])).toEqual([
      ['CreateUser', undefined],
      ['GetUser', 'NoSuchEntity'],
      ['Unknown', 'UnknownOperationException'],
    ]);
    const made = JSON.stringify(calls[0]);
    for (const part of ['iam.amazonaws.com', ROOT.arn, ALICE.arn]) expect(made).toContain(part);
  });
});

const GOOD: Readonly<Record<string, unknown>> = {
  UserName: 'alice',
  RoleName: 'reader',
  PolicyName: 'p',
  PolicyArn: `arn:aws:iam::${ACCOUNT}:policy/p`,
  PermissionsBoundary: `arn:aws:iam::${ACCOUNT}:policy/p`,
  PolicyDocument: policy('*'),
  AssumeRolePolicyDocument: trusting(ACCOUNT),
  AccessKeyId: 'AKIAIOSFODNN7EXAMPLE',
  Status: 'Active',
  VersionId: 'v1',
  Tags: [{ Key: 'a', Value: 'b' }],
  TagKeys: ['a'],
  RoleArn: `arn:aws:iam::${ACCOUNT}:role/reader`,
  RoleSessionName: 'one',
};
const NAMED = /^(?!InternalFailure|no code|Store|Keyspan)[A-Za-z]+: ./;

describe('bad input is answered with an error of AWS', () => {
  const all = { ...IAM_REQUESTS, ...STS_REQUESTS };
  test.each(Object.keys(all) as IamAction[])('%s', async (action) => {
    const members = Object.entries(all[action]) as [string, { kind: string; required?: true }][];
    const needed = members.filter(([, shape]) => shape.required).map(([name]) => name);
    const good = Object.fromEntries(needed.map((name) => [name, GOOD[name]]));
    for (const name of needed) expect(GOOD[name], name).toBeDefined();
    const outcome = async (params: object): Promise<string> =>
      await fixture.call(action, params, ALICE).then(
        () => 'ok: ok',
        (error: { code?: string; message: string }) =>
          `${error.code ?? 'no code'}: ${error.message}`,
      );
    for (const name of needed) {
      const { [name]: _, ...others } = good;
      expect(await outcome(others)).toMatch(/^ValidationException: 1 validation error detected/);
    }
    const wrong = ['', 'x'.repeat(200_000), '\u0000', 'ä/\u{1f600}', '-1', '1e9', '9'.repeat(400)];
    for (const [name, { kind }] of members) {
      for (const value of wrong) {
        const given = kind === 'list' ? [value] : value;
        expect(await outcome({ ...good, [name]: given }), name).toMatch(NAMED);
      }
      expect(await outcome({ ...good, [name]: { a: ['b'] } }), name).toMatch(NAMED);
    }
  });
});
