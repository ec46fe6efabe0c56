import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { decideByAccount } from '../../src/iam/account-decision.js';
import { Directory } from '../../src/iam/directory.js';
import { parsePrincipal, type Principal } from '../../src/iam/principal.js';
import { putUser, unchanged } from '../../src/iam/principal-records.js';
import {
  ACCOUNT,
  ALICE,
  iamPrincipal,
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

const SESSION = parsePrincipal(`arn:aws:sts::${ACCOUNT}:assumed-role/reader/one`);

function may(principal: Principal, action: string, directory = fixture.directory): boolean {
  const request = { principal, action, resource: '*', context: () => new Map() };
  return decideByAccount(request, directory.of(principal)).allowed;
}

async function managed(name: string, text: string): Promise<string> {
  const { Policy } = await fixture.call('CreatePolicy', { PolicyName: name, PolicyDocument: text });
  return (Policy as unknown as { Arn: string }).Arn;
}

const putAlicesPolicy = (text: string): Promise<unknown> =>
  fixture.call('PutUserPolicy', { UserName: 'alice', PolicyName: 'p', PolicyDocument: text });

describe('what an account says of a principal', () => {
  test('nothing, of who is not known, and nothing limits its root', () => {
    expect(fixture.directory.of(ALICE)).toMatchObject({ policies: [], tags: new Map() });
    expect(fixture.directory.idOf(ALICE)).toBeUndefined();
    expect(fixture.directory.idOf(ROOT)).toBe(ACCOUNT);
    expect([may(ROOT, 'kms:Encrypt'), may(ALICE, 'kms:Encrypt')]).toEqual([true, false]);
  });

  test('inline and managed policies allow, from the next request on', async () => {
    await fixture.call('CreateUser', { UserName: 'alice', Tags: [{ Key: 'a', Value: '1' }] });
    await putAlicesPolicy(policy('kms:Encrypt'));
    const arn = await managed('decrypting', policy('kms:Decrypt'));
    const attach = { UserName: 'alice', PolicyArn: arn };
    await fixture.call('AttachUserPolicy', attach);
    const actions = ['kms:Encrypt', 'kms:Decrypt', 'kms:Sign'];
    expect(actions.map((one) => may(ALICE, one))).toEqual([true, true, false]);
    expect(fixture.directory.of(ALICE).tags).toEqual(new Map([['a', '1']]));
    await fixture.call('DetachUserPolicy', attach);
    await putAlicesPolicy(policy('kms:Sign'));
    expect(actions.map((one) => may(ALICE, one))).toEqual([false, false, true]);
  });

  test('is worked out once for each change', async () => {
    await fixture.call('CreateUser', { UserName: 'alice' });
    await putAlicesPolicy(policy('kms:Encrypt'));
    const { directory } = fixture;
    const first = directory.of(ALICE);
    expect(directory.of(ALICE)).toBe(first);
    await fixture.call('CreateUser', { UserName: 'bob' });
    const second = directory.of(ALICE);
    expect(second).not.toBe(first);
    // what did not change is not compiled again
    expect(second.policies[0]).toBe(first.policies[0]);
  });

  test('a new default version counts at once', async () => {
    await fixture.call('CreateUser', { UserName: 'alice' });
    const PolicyArn = await managed('one', policy('kms:Encrypt'));
    await fixture.call('AttachUserPolicy', { UserName: 'alice', PolicyArn });
    await fixture.call('CreatePolicyVersion', {
      PolicyArn,
      PolicyDocument: policy('kms:Decrypt'),
      SetAsDefault: true,
    });
    expect([may(ALICE, 'kms:Encrypt'), may(ALICE, 'kms:Decrypt')]).toEqual([false, true]);
  });

  test('a boundary allows nothing by itself and bounds all else', async () => {
    const PermissionsBoundary = await managed('bound', policy(['kms:Encrypt', 'kms:Decrypt']));
    await fixture.call('CreateUser', { UserName: 'alice', PermissionsBoundary });
    expect(may(ALICE, 'kms:Encrypt')).toBe(false);
    await putAlicesPolicy(policy(['kms:Encrypt', 'kms:Sign']));
    const actions = ['kms:Encrypt', 'kms:Decrypt', 'kms:Sign'];
    expect(actions.map((one) => may(ALICE, one))).toEqual([true, false, false]);
    await fixture.call('DeleteUserPermissionsBoundary', { UserName: 'alice' });
    expect(actions.map((one) => may(ALICE, one))).toEqual([true, false, true]);
  });

  test('a name with another path is another principal', async () => {
    await fixture.call('CreateUser', { UserName: 'alice', Path: '/team/' });
    await putAlicesPolicy(policy('*'));
    expect(may(ALICE, 'kms:Encrypt')).toBe(false);
    expect(may(iamPrincipal('user/other/alice'), 'kms:Encrypt')).toBe(false);
    expect(may(iamPrincipal('user/team/alice'), 'kms:Encrypt')).toBe(true);
    expect(may(iamPrincipal('user/team/alice', '444455556666'), 'kms:Encrypt')).toBe(false);
  });

  test('a session has its role’s policies, whatever the path, within its own', async () => {
    await fixture.call('CreateRole', {
      RoleName: 'reader',
      Path: '/deep/down/',
      AssumeRolePolicyDocument: trusting(ACCOUNT),
      Tags: [
        { Key: 'a', Value: 'role' },
        { Key: 'b', Value: 'role' },
      ],
    });
    await fixture.call('PutRolePolicy', {
      RoleName: 'reader',
      PolicyName: 'p',
      PolicyDocument: policy(['kms:Encrypt', 'kms:Decrypt']),
    });
    const { directory } = fixture;
    const of = directory.role(ACCOUNT, 'reader')?.id ?? '';
    expect(directory.of(SESSION).userId).toBe(`${of}:one`);
    const policyArns = [await managed('narrow', policy('kms:Decrypt'))];
    const tags = new Map([['a', 'session']]);
    const session = { of, policies: [], policyArns, tags, issuedAtMs: 0 };
    const narrowed: Principal = { ...SESSION, session };
    const actions = ['kms:Encrypt', 'kms:Decrypt', 'kms:Sign'];
    expect(actions.map((one) => may(SESSION, one))).toEqual([true, true, false]);
    expect(actions.map((one) => may(narrowed, one))).toEqual([false, true, false]);
    expect(directory.of(narrowed).tags).toEqual(
      new Map([
        ['a', 'session'],
        ['b', 'role'],
      ]),
    );
    const gone: Principal = { ...SESSION, session: { ...session, policyArns: [`${of}x`] } };
    expect(actions.map((one) => may(gone, one))).toEqual([false, false, false]);
  });

  test('nothing at all once the copy cannot be trusted', async () => {
    await fixture.call('CreateUser', { UserName: 'alice' });
    fixture.directory.of(ALICE);
    await fixture.store[Symbol.asyncDispose]();
    await expect
      .poll(() => {
        try {
          fixture.directory.of(ALICE);
          return 'answered';
        } catch (error) {
          return (error as { code: string }).code;
        }
      })
      .toBe('StoreClosed');
  });
});

describe('two daemons on one store', () => {
  test('never both win, and each sees what the other did', async () => {
    const { directory, store, keys } = fixture;
    await using other = await Directory.open(store, keys);
    await fixture.call('CreateUser', { UserName: 'alice' });
    const add = (where: Directory, name: string) =>
      where.change(() => {
        const user = where.user(ACCOUNT, 'alice');
        if (!user) throw new Error('no alice');
        const policies = [...user.policies, { name, text: policy(`kms:${name}`) }];
        return { compares: [unchanged(user)], writes: [putUser({ ...user, policies })] };
      });
    await Promise.all(
      ['a', 'b', 'c', 'd', 'e'].flatMap((name) => [
        add(directory, `x${name}`),
        add(other, `y${name}`),
      ]),
    );
    await expect.poll(() => other.user(ACCOUNT, 'alice')?.policies.length).toBe(10);
    expect(directory.user(ACCOUNT, 'alice')?.policies).toHaveLength(10);
  });
});
