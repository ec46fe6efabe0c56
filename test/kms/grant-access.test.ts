import { describe, expect, test } from 'vitest';
import type { Identities } from '../../src/iam/identities.js';
import { parsePolicy } from '../../src/iam/policy-document.js';
import type { KmsCaller } from '../../src/kms/kms.js';
import {
  ACCOUNT,
  ALICE,
  allow,
  callerOf,
  KmsFixture,
  OTHER_ACCOUNT,
  OTHER_ROOT,
  policyOf,
  REGION,
  ROOT,
} from '../support/kms-fixture.js';

const iam = (name: string, account = ACCOUNT): string => `arn:aws:iam::${account}:${name}`;
const session = (role: string, account = ACCOUNT): KmsCaller =>
  callerOf(`arn:aws:sts::${account}:assumed-role/${role}`);
const BOB = callerOf(iam('user/bob'));
const CAROL = callerOf(iam('user/carol'));
const MALLORY = callerOf(iam('user/mallory', OTHER_ACCOUNT));

/** Each of these has one identity policy. */
const identities = (statements: Record<string, object>): Identities => ({
  of: ({ arn }) => {
    const statement = statements[arn];
    const policies = statement ? [parsePolicy(policyOf(statement), 'identity')] : [];
    return { policies, tags: new Map() };
  },
});
const may = (Action: string, Effect = 'Allow'): object => ({ Effect, Action, Resource: '*' });

/** Whom a grant names, and who then is or is not its grantee. */
const GRANTEES: [string, string, KmsCaller, boolean][] = [
  ['a user: that user', iam('user/alice'), ALICE, true],
  ['a user: another', iam('user/alice'), BOB, false],
  ['a user with a path: that user', iam('user/a/bob'), callerOf(iam('user/a/bob')), true],
  ['a user with a path: one without', iam('user/a/bob'), BOB, false],
  ['a user: the same name elsewhere', iam('user/mallory'), MALLORY, false],
  ['a user of another account', iam('user/mallory', OTHER_ACCOUNT), MALLORY, true],
  ['a role: its session', iam('role/Deploy'), session('Deploy/1'), true],
  ['a role with a path: its session', iam('role/a/b/Deploy'), session('Deploy/1'), true],
  ['a role: the role', iam('role/a/Deploy'), callerOf(iam('role/a/Deploy')), true],
  ['a role: a session of another', iam('role/Deploy'), session('Other/Deploy'), false],
  ['a role: one elsewhere', iam('role/Deploy'), session('Deploy/1', OTHER_ACCOUNT), false],
  ['a session: that session', session('Deploy/1').principal.arn, session('Deploy/1'), true],
  ['a session: another', session('Deploy/1').principal.arn, session('Deploy/2'), false],
  ['a session: its role', session('Deploy/1').principal.arn, callerOf(iam('role/Deploy')), false],
  ['an account: its root', iam('root', OTHER_ACCOUNT), OTHER_ROOT, true],
  ['an account: a user whom it lets', iam('root'), BOB, true],
  ['an account: a user whom it does not let', iam('root'), CAROL, false],
  ['an account: a user elsewhere', iam('root'), MALLORY, false],
];

describe('a grant to', () => {
  test.each(GRANTEES)('%s', async (_, GranteePrincipal, caller, expected) => {
    const options = { identities: identities({ [BOB.principal.arn]: may('kms:DescribeKey') }) };
    await using at = await KmsFixture.open(undefined, undefined, options);
    // the key's policy leaves nothing to the account: bob's own policy alone does not let him
    const Policy = policyOf(allow(iam('user/admin')));
    const { Arn } = await at.createKey({ Policy, BypassPolicyLockoutSafetyCheck: true });
    const admin = callerOf(iam('user/admin'));
    expect(await at.refused('DescribeKey', { KeyId: Arn }, caller)).toMatch(/^AccessDenied/);
    const Operations = ['DescribeKey'];
    await at.call('CreateGrant', { KeyId: Arn, GranteePrincipal, Operations }, admin);
    const describing = at.call('DescribeKey', { KeyId: Arn }, caller);
    if (expected) await describing;
    else await expect(describing).rejects.toMatchObject({ code: 'AccessDeniedException' });
  });
});

describe('a grant and policies', () => {
  test.each<[string, object | undefined, Record<string, object>]>([
    ["the key's", { ...allow(iam('user/alice'), 'kms:Encrypt'), Effect: 'Deny' }, {}],
    ["the caller's", undefined, { [iam('user/alice')]: may('kms:Encrypt', 'Deny') }],
  ])('an explicit deny wins: %s', async (_, denied, statements) => {
    const options = { identities: identities(statements) };
    await using at = await KmsFixture.open(undefined, undefined, options);
    const Policy = policyOf(allow(ROOT.principal.arn), ...(denied ? [denied] : []));
    const { KeyId } = await at.createKey({ Policy });
    const Operations = ['Encrypt', 'DescribeKey'];
    const GranteePrincipal = iam('user/alice');
    const { GrantToken } = await at.call('CreateGrant', { KeyId, GranteePrincipal, Operations });
    await at.call('DescribeKey', { KeyId }, ALICE);
    const encrypt = { KeyId, Plaintext: Buffer.of(1), GrantTokens: [GrantToken] };
    expect(await at.refused('Encrypt', encrypt, ALICE)).toMatch(/^AccessDenied.*explicit deny/);
  });

  test('a key disabled cannot be used through a grant', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const grant = { GranteePrincipal: iam('user/alice'), Operations: ['Encrypt'] };
    await at.call('CreateGrant', { KeyId, ...grant });
    await at.call('DisableKey', { KeyId });
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Buffer.of(1) }, ALICE)).toBe(
      `DisabledException: ${Arn} is disabled.`,
    );
  });

  test('a grant is good for its key alone, and moves both ways of ReEncrypt apart', async () => {
    await using at = await KmsFixture.open();
    const [from, to] = [await at.createKey(), await at.createKey()];
    const { CiphertextBlob } = await at.call('Encrypt', {
      KeyId: from.KeyId,
      Plaintext: Buffer.of(1),
    });
    const grantTo = (KeyId: string, Operations: string[]): Promise<object> =>
      at.call('CreateGrant', { KeyId, GranteePrincipal: iam('user/alice'), Operations });
    const move = { CiphertextBlob, DestinationKeyId: to.KeyId };
    await grantTo(from.KeyId, ['ReEncryptTo']);
    expect(await at.refused('ReEncrypt', move, ALICE)).toMatch(/kms:ReEncryptFrom/);
    await grantTo(from.KeyId, ['ReEncryptFrom']);
    expect(await at.refused('ReEncrypt', move, ALICE)).toMatch(/kms:ReEncryptTo/);
    await grantTo(to.KeyId, ['ReEncryptTo']);
    await at.call('ReEncrypt', move, ALICE);
  });

  test('a wrong token is refused where a policy allows, one of another key is not', async () => {
    await using at = await KmsFixture.open();
    const [key, other] = [await at.createKey(), await at.createKey()];
    const grant = { GranteePrincipal: iam('user/alice'), Operations: ['Encrypt'] };
    const { GrantToken } = await at.call('CreateGrant', { KeyId: other.KeyId, ...grant });
    const describe = { KeyId: key.KeyId, GrantTokens: [GrantToken] };
    await at.call('DescribeKey', describe);
    const wrong = { ...describe, GrantTokens: [GrantToken, 'wrong'] };
    expect(await at.refused('DescribeKey', wrong)).toMatch(/^InvalidGrantTokenException/);
  });
});

/** A session whose boundary, or whose own policy, lets DescribeKey through alone. */
const LIMITS: [string, string, object, boolean][] = [
  ['a role: its boundary', iam('role/Deploy'), { boundary: may('kms:DescribeKey') }, false],
  ['a role: its session policy', iam('role/Deploy'), { session: may('kms:DescribeKey') }, false],
  ['a role: a wider policy', iam('role/Deploy'), { session: may('kms:*') }, true],
  ['the account: its session policy', iam('root'), { session: may('kms:DescribeKey') }, false],
  [
    'the session itself: both',
    session('Deploy/1').principal.arn,
    { boundary: may('kms:DescribeKey'), session: may('kms:DescribeKey') },
    true,
  ],
];

/** IAM user guide, boundaries and session policies: as they limit resource-based policies. */
describe('what limits a session limits what it has of a grant to', () => {
  test.each(LIMITS)('%s', async (_, GranteePrincipal, limits, expected) => {
    const read = (statement?: object) => statement && parsePolicy(policyOf(statement), 'identity');
    const { boundary, session: narrowed } = limits as Record<string, object>;
    const narrow = read(narrowed);
    const identity = {
      policies: [parsePolicy(policyOf(may('kms:*')), 'identity')],
      boundary: read(boundary),
      session: narrow && [narrow],
    };
    await using at = await KmsFixture.withIdentities({
      [session('Deploy/1').principal.arn]: identity,
    });
    const { KeyId } = await at.createKey();
    const Operations = ['DescribeKey', 'Encrypt'];
    await at.call('CreateGrant', { KeyId, GranteePrincipal, Operations });
    await at.call('DescribeKey', { KeyId }, session('Deploy/1'));
    const encrypting = at.call('Encrypt', { KeyId, Plaintext: Buffer.of(1) }, session('Deploy/1'));
    if (expected) await encrypting;
    else await expect(encrypting).rejects.toMatchObject({ code: 'AccessDeniedException' });
  });
});

test('constraints bind what they are for', async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey();
  await at.call('CreateGrant', {
    KeyId,
    GranteePrincipal: iam('user/alice'),
    Operations: ['Encrypt', 'Decrypt', 'DescribeKey'],
    Constraints: { EncryptionContextSubset: { team: 'post' } },
  });
  const SourceArn = 'arn:aws:s3:::bucket';
  const source = { GranteePrincipal: iam('user/bob'), Operations: ['DescribeKey'] };
  await at.call('CreateGrant', { KeyId, ...source, Constraints: { SourceArn } });
  const encrypt = (EncryptionContext: object): object => ({
    KeyId,
    Plaintext: Buffer.of(1),
    EncryptionContext,
  });
  const EncryptionContext = { team: 'post', file: 'a' };
  const { CiphertextBlob } = await at.call('Encrypt', encrypt(EncryptionContext), ALICE);
  await at.call('Decrypt', { CiphertextBlob, EncryptionContext }, ALICE);
  await at.call('DescribeKey', { KeyId }, ALICE);
  expect(await at.refused('Encrypt', encrypt({}), ALICE)).toMatch(/^AccessDenied/);
  expect(await at.refused('Encrypt', encrypt({ team: 'a' }), ALICE)).toMatch(/^AccessDenied/);
  expect(await at.refused('Decrypt', { CiphertextBlob }, ALICE)).toMatch(/^AccessDenied/);
  await at.call('DescribeKey', { KeyId }, { ...BOB, origin: { sourceArn: SourceArn } });
  const other = { ...BOB, origin: { sourceArn: `${SourceArn}2` } };
  expect(await at.refused('DescribeKey', { KeyId }, other)).toMatch(/^AccessDenied/);
  expect(await at.refused('DescribeKey', { KeyId }, BOB)).toMatch(/^AccessDenied/);
});

describe('a grant through a grant', () => {
  const Operations = ['Decrypt', 'CreateGrant', 'DescribeKey'];
  const Constraints = { EncryptionContextSubset: { team: 'post' } };
  const narrower = { Operations: ['Decrypt'], Constraints };
  const stricter = { EncryptionContextEquals: { team: 'post', file: 'a' } };

  test.each<[string, object, boolean]>([
    ['no more than itself', { Operations, Constraints }, true],
    ['fewer operations', narrower, true],
    ['a stricter constraint', { ...narrower, Constraints: stricter }, true],
    ['one operation more', { Operations: ['Decrypt', 'Encrypt'], Constraints }, false],
    ['no constraint', { Operations: ['Decrypt'] }, false],
    [
      'another constraint',
      { ...narrower, Constraints: { EncryptionContextSubset: { team: 'a' } } },
      false,
    ],
  ])('allows %s: %j', async (_, child, expected) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const parent = { GranteePrincipal: iam('user/alice'), Operations, Constraints };
    await at.call('CreateGrant', { KeyId, ...parent });
    const made = at.call(
      'CreateGrant',
      { KeyId, GranteePrincipal: iam('user/bob'), ...child },
      ALICE,
    );
    if (expected) await made;
    else await expect(made).rejects.toMatchObject({ code: 'AccessDeniedException' });
  });

  test('needs CreateGrant among its operations, and lives on without it', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const child = { KeyId, GranteePrincipal: iam('user/bob'), Operations: ['DescribeKey'] };
    const parent = { KeyId, GranteePrincipal: iam('user/alice') };
    await at.call('CreateGrant', { ...parent, Operations: ['DescribeKey'] });
    expect(await at.refused('CreateGrant', child, ALICE)).toMatch(/^AccessDenied.*CreateGrant/);
    const Operations = ['DescribeKey', 'CreateGrant'];
    const { GrantId } = await at.call('CreateGrant', { ...parent, Operations });
    await at.call('CreateGrant', child, ALICE);
    await at.call('RevokeGrant', { KeyId, GrantId });
    await at.call('DescribeKey', { KeyId }, BOB);
  });
});

const deny = { Effect: 'Deny' };
const other = OTHER_ROOT.principal.arn;

/** Who may retire a grant: what it says, the caller, its identity policy, and the answer. */
const RETIRING: [string, object, KmsCaller, object | undefined, boolean][] = [
  ['the retiring principal', { RetiringPrincipal: iam('user/carol') }, CAROL, undefined, true],
  [
    'a session of the retiring role',
    { RetiringPrincipal: iam('role/x/Deploy') },
    session('Deploy/1'),
    undefined,
    true,
  ],
  ['somebody else', { RetiringPrincipal: iam('user/carol') }, BOB, undefined, false],
  [
    'the retiring principal whom a policy denies it',
    { RetiringPrincipal: iam('user/carol') },
    CAROL,
    { ...may('kms:RetireGrant'), ...deny },
    false,
  ],
  ['the grantee', {}, ALICE, undefined, false],
  ['the grantee with RetireGrant', { Operations: ['RetireGrant'] }, ALICE, undefined, true],
  [
    'the grantee with RetireGrant, whatever the context',
    {
      Operations: ['Decrypt', 'RetireGrant'],
      Constraints: { EncryptionContextEquals: { a: 'b' }, SourceArn: 'arn:aws:s3:::a' },
    },
    ALICE,
    undefined,
    true,
  ],
  ["the account's root", {}, ROOT, undefined, true],
  ['whom the account lets', {}, BOB, may('kms:RetireGrant'), true],
  ['whom the account lets do all but that', {}, BOB, may('kms:Revoke*'), false],
  ["another account's root", {}, OTHER_ROOT, undefined, false],
  ['the retiring account', { RetiringPrincipal: other }, OTHER_ROOT, undefined, true],
  ['whom it lets', { RetiringPrincipal: other }, MALLORY, may('kms:RetireGrant'), true],
  ['whom it does not let', { RetiringPrincipal: other }, MALLORY, undefined, false],
  ['whom another account lets', {}, MALLORY, may('kms:RetireGrant'), false],
];

describe('a grant can be retired by', () => {
  test.each(RETIRING)('%s', async (_, given, caller, statement, expected) => {
    const statements = statement ? { [caller.principal.arn]: statement } : {};
    const options = { identities: identities(statements) };
    await using at = await KmsFixture.open(undefined, undefined, options);
    // the key's policy has no say in it: it allows all of this account's users, and denies root
    const Policy = policyOf(allow(ROOT.principal.arn), allow(iam('user/bob')), {
      ...allow(ROOT.principal.arn, 'kms:RetireGrant'),
      ...deny,
    });
    const { KeyId } = await at.createKey({ Policy });
    const grant = { GranteePrincipal: iam('user/alice'), Operations: ['Decrypt'], ...given };
    const { GrantToken } = await at.call('CreateGrant', { KeyId, ...grant });
    if (expected) {
      await at.call('RetireGrant', { GrantToken }, caller);
      return;
    }
    const why =
      statement && 'Effect' in statement && statement.Effect === 'Deny'
        ? 'with an explicit deny in an identity-based policy'
        : 'because no grant allows the kms:RetireGrant action';
    expect(await at.refused('RetireGrant', { GrantToken }, caller)).toBe(
      `AccessDeniedException: User: ${caller.principal.arn} is not authorized to perform: ` +
        `kms:RetireGrant on resource: arn:aws:kms:${REGION}:${ACCOUNT}:key/${KeyId} ${why}`,
    );
  });
});
