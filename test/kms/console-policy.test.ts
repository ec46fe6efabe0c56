import { describe, expect, test } from 'vitest';
import type { Identity } from '../../src/iam/identities.js';
import { parsePolicy } from '../../src/iam/policy-document.js';
import type { KmsCaller } from '../../src/kms/kms.js';
import { KMS_ACTIONS, type KmsAction } from '../../src/protocol/kms.js';
import { CONSOLE_POLICY } from '../support/console-policy.js';
import { EXAMPLES, exampleOf, setScene, type KeyScene } from '../support/key-scene.js';
import { callerOf, KmsFixture, policyOf, REGION } from '../support/kms-fixture.js';
import { leastParams } from '../support/least-params.js';

const OWN = '123456789012';
const OTHER = '444455556666';
const iam = (name: string, account = OWN): string => `arn:aws:iam::${account}:${name}`;
const ROOT = callerOf(iam('root'));

const statement = (Effect: string, Action: string | string[]): object => ({
  Effect,
  Action,
  Resource: '*',
});
const identity = (...statements: object[]): Partial<Identity> => ({
  policies: [parsePolicy(policyOf(...statements), 'identity')],
});
const EVERYTHING = statement('Allow', 'kms:*');

interface Role {
  readonly caller: KmsCaller;
  /** what its account says of it; nothing unless given */
  readonly identity?: Partial<Identity>;
  /** the policy of the keys that it is tried on; the console's unless given */
  readonly policy?: string;
}

const named = (name: string, account = OWN): KmsCaller => callerOf(iam(name, account));

/** Who asks, by the columns of the tables. */
const ROLES = {
  root: { caller: ROOT },
  adm: { caller: named('user/keyadmin') },
  user: { caller: named('user/keyuser') },
  // the key's user, for whom EC2 asks
  via: {
    caller: {
      ...named('user/keyuser'),
      origin: { viaService: `ec2.${REGION}.amazonaws.com` },
    },
  },
  none: { caller: named('user/nobody') },
  dele: { caller: named('user/delegate'), identity: identity(EVERYTHING) },
  // lets everything, and denies again what could do harm
  care: {
    caller: named('user/careful'),
    identity: identity(
      EVERYTHING,
      statement('Deny', ['kms:Decrypt', 'kms:ReEncrypt*', 'kms:Schedule*', 'kms:R*Grant']),
    ),
  },
  sess: {
    caller: callerOf(`arn:aws:sts::${OWN}:assumed-role/Deploy/one`),
    identity: identity(
      statement('Allow', ['kms:Encrypt', 'kms:Decrypt', 'kms:DescribeKey', 'kms:ListKeys']),
    ),
  },
  // has a grant of Encrypt, Decrypt, DescribeKey, CreateGrant and RetireGrant
  gran: { caller: named('user/gran') },
  ext1: { caller: named('root', OTHER) },
  ext2: { caller: named('user/foreigner', OTHER), identity: identity(EVERYTHING) },
} satisfies Record<string, Role>;

/**
 * What comes of each request. `ok`: it is done. `iam`: no identity-based policy allows it. `key`:
 * no resource-based policy allows it. `deny`: an explicit deny in an identity-based policy. `ret`:
 * nothing lets the caller retire the grant. `gone`: the caller's account has no such key or alias.
 *
 * Columns. root: may always, by the first statement. adm, user, none: have no identity policies;
 * what the key's policy does not give them by name it leaves to IAM, which allows nothing. via: the
 * key's user, for whom a service asks. dele: IAM gives it all, and the first statement lets that
 * count. care: the same, but an explicit deny wins. sess: has what IAM gives its role. gran: has
 * what its grant lists, CreateGrant for no more than that. ext1, ext2: root and user of another
 * account, which the key's policy does not name: what IAM says there does not help.
 *
 * Rules. A: administrators manage. U: users use. S: users handle grants where a service asks. AU,
 * AS: both statements have it. N: no statement has it but the first. I: stands on no key, so the
 * caller's account alone decides. L: an alias takes IAM's word beside the key's, and is looked for
 * in the caller's account. G: the grant, and IAM in the key's account, say who retires it.
 */
const CONSOLE = `
action                          root adm  user via  none dele care sess gran ext1 ext2 rule
CancelKeyDeletion               ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
CreateAlias                     ok   iam  iam  iam  iam  ok   ok   iam  iam  gone gone L
CreateGrant                     ok   ok   iam  ok   iam  ok   ok   iam  ok   key  key  AS
CreateKey                       ok   iam  iam  iam  iam  ok   ok   iam  iam  ok   ok   I
Decrypt                         ok   iam  ok   ok   iam  ok   deny ok   ok   key  key  U
DeleteAlias                     ok   iam  iam  iam  iam  ok   ok   iam  iam  gone gone L
DescribeKey                     ok   ok   ok   ok   iam  ok   ok   ok   ok   key  key  AU
DisableKey                      ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
DisableKeyRotation              ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
EnableKey                       ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
EnableKeyRotation               ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
Encrypt                         ok   iam  ok   ok   iam  ok   ok   ok   ok   key  key  U
GenerateDataKey                 ok   iam  ok   ok   iam  ok   ok   iam  iam  key  key  U
GenerateDataKeyWithoutPlaintext ok   iam  ok   ok   iam  ok   ok   iam  iam  key  key  U
GenerateRandom                  ok   iam  iam  iam  iam  ok   ok   iam  iam  ok   ok   I
GetKeyPolicy                    ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
GetKeyRotationStatus            ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
ListAliases                     ok   iam  iam  iam  iam  ok   ok   iam  iam  ok   ok   I
ListGrants                      ok   ok   iam  ok   iam  ok   ok   iam  iam  key  key  AS
ListKeyPolicies                 ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
ListKeyRotations                ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
ListKeys                        ok   iam  iam  iam  iam  ok   ok   ok   iam  ok   ok   I
ListResourceTags                ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
ListRetirableGrants             ok   iam  iam  iam  iam  ok   ok   iam  iam  ok   ok   I
PutKeyPolicy                    ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
ReEncrypt                       ok   iam  ok   ok   iam  ok   deny iam  iam  key  key  U
RetireGrant                     ok   ret  ret  ret  ret  ok   deny ret  ok   ret  ret  G
RevokeGrant                     ok   ok   iam  ok   iam  ok   deny iam  iam  key  key  AS
RotateKeyOnDemand               ok   iam  iam  iam  iam  ok   ok   iam  iam  key  key  N
ScheduleKeyDeletion             ok   ok   iam  iam  iam  ok   deny iam  iam  key  key  A
TagResource                     ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
UntagResource                   ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
UpdateAlias                     ok   iam  iam  iam  iam  ok   ok   iam  iam  gone gone L
UpdateKeyDescription            ok   ok   iam  iam  iam  ok   ok   iam  iam  key  key  A
`;

/** Two keys of the first account that say something of the second. */
const SHARED_ACTIONS = [
  'kms:Encrypt',
  'kms:Decrypt',
  'kms:ReEncrypt*',
  'kms:GenerateDataKey*',
  'kms:DescribeKey',
];
const withFifth = (AWS: string, Action: string | string[]): string => {
  const policy = JSON.parse(CONSOLE_POLICY) as { Statement: object[] };
  const fifth = {
    Sid: 'Allow an external account to use this KMS key',
    Effect: 'Allow',
    Principal: { AWS },
    Action,
    Resource: '*',
  };
  return JSON.stringify({ ...policy, Statement: [...policy.Statement, fifth] });
};
const ACCOUNT_MAY = withFifth(iam('root', OTHER), SHARED_ACTIONS);
const PARTNER_MAY = withFifth(iam('user/partner', OTHER), SHARED_ACTIONS);
const ACCOUNT_MAY_ALL = withFifth(iam('root', OTHER), 'kms:*');

const PARTNER = named('user/partner', OTHER);
const ENCRYPTING = identity(statement('Allow', 'kms:Encrypt'));
const OTHER_ROOT = named('root', OTHER);

const EXTERNAL_ROLES = {
  // the fifth statement names the other account: its root, a user to whom IAM gives all, one to
  // whom it gives Encrypt, one to whom it gives nothing
  root: { caller: OTHER_ROOT, policy: ACCOUNT_MAY },
  full: { caller: PARTNER, identity: identity(EVERYTHING), policy: ACCOUNT_MAY },
  part: { caller: PARTNER, identity: ENCRYPTING, policy: ACCOUNT_MAY },
  none: { caller: PARTNER, policy: ACCOUNT_MAY },
  // it names one user: that user with IAM's word and without it, another with it, the root
  nful: { caller: PARTNER, identity: identity(EVERYTHING), policy: PARTNER_MAY },
  nnon: { caller: PARTNER, policy: PARTNER_MAY },
  nfor: {
    caller: named('user/foreigner', OTHER),
    identity: identity(EVERYTHING),
    policy: PARTNER_MAY,
  },
  nroo: { caller: OTHER_ROOT, policy: PARTNER_MAY },
  // it names the other account and says kms:*: its root
  alls: { caller: OTHER_ROOT, policy: ACCOUNT_MAY_ALL },
} satisfies Record<string, Role>;

/**
 * As CONSOLE, from another account. Rules. B: both sides must allow it: the key's policy the
 * account or the user, and IAM there the user. K: the key's policy does not have it, but in the
 * last column.
 * O: works within one account alone, whatever the key's policy says. I, L, G: as above.
 */
const EXTERNAL = `
action                          root full part none nful nnon nfor nroo alls rule
CancelKeyDeletion               key  key  key  key  key  key  key  key  key  O
CreateAlias                     gone gone gone gone gone gone gone gone gone L
CreateGrant                     key  key  key  key  key  key  key  key  ok   K
CreateKey                       ok   ok   iam  iam  ok   iam  ok   ok   ok   I
Decrypt                         ok   ok   iam  iam  ok   iam  key  key  ok   B
DeleteAlias                     gone gone gone gone gone gone gone gone gone L
DescribeKey                     ok   ok   iam  iam  ok   iam  key  key  ok   B
DisableKey                      key  key  key  key  key  key  key  key  key  O
DisableKeyRotation              key  key  key  key  key  key  key  key  key  O
EnableKey                       key  key  key  key  key  key  key  key  key  O
EnableKeyRotation               key  key  key  key  key  key  key  key  key  O
Encrypt                         ok   ok   ok   iam  ok   iam  key  key  ok   B
GenerateDataKey                 ok   ok   iam  iam  ok   iam  key  key  ok   B
GenerateDataKeyWithoutPlaintext ok   ok   iam  iam  ok   iam  key  key  ok   B
GenerateRandom                  ok   ok   iam  iam  ok   iam  ok   ok   ok   I
GetKeyPolicy                    key  key  key  key  key  key  key  key  key  O
GetKeyRotationStatus            key  key  key  key  key  key  key  key  ok   K
ListAliases                     ok   ok   iam  iam  ok   iam  ok   ok   ok   I
ListGrants                      key  key  key  key  key  key  key  key  ok   K
ListKeyPolicies                 key  key  key  key  key  key  key  key  key  O
ListKeyRotations                key  key  key  key  key  key  key  key  key  O
ListKeys                        ok   ok   iam  iam  ok   iam  ok   ok   ok   I
ListResourceTags                key  key  key  key  key  key  key  key  key  O
ListRetirableGrants             ok   ok   iam  iam  ok   iam  ok   ok   ok   I
PutKeyPolicy                    key  key  key  key  key  key  key  key  key  O
ReEncrypt                       ok   ok   iam  iam  ok   iam  key  key  ok   B
RetireGrant                     ret  ret  ret  ret  ret  ret  ret  ret  ret  G
RevokeGrant                     key  key  key  key  key  key  key  key  ok   K
RotateKeyOnDemand               key  key  key  key  key  key  key  key  key  O
ScheduleKeyDeletion             key  key  key  key  key  key  key  key  key  O
TagResource                     key  key  key  key  key  key  key  key  key  O
UntagResource                   key  key  key  key  key  key  key  key  key  O
UpdateAlias                     gone gone gone gone gone gone gone gone gone L
UpdateKeyDescription            key  key  key  key  key  key  key  key  key  O
`;

const GRANT = {
  GranteePrincipal: iam('user/gran'),
  Operations: ['Encrypt', 'Decrypt', 'DescribeKey', 'CreateGrant', 'RetireGrant'],
};

type Table = ReadonlyMap<KmsAction, ReadonlyMap<string, string>>;

/** By action, then by column. */
function readTable(text: string): Table {
  const [head = [], ...rows] = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/ +/));
  return new Map(
    rows.map(([action, ...cells]) => {
      const pairs = head.slice(1, -1).map((column, at) => [column, cells[at] ?? ''] as const);
      return [action as KmsAction, new Map(pairs)];
    }),
  );
}

/** What a refusal says where a cell has this word. */
function sentenceOf(cell: string, action: KmsAction, asked: Asked): string {
  const { arn } = asked.caller.principal;
  const permission = `kms:${action === 'ReEncrypt' ? 'ReEncryptFrom' : action}`;
  const who = `AccessDeniedException: User: ${arn} is not authorized to perform: ${permission}`;
  const denied = `${who} on resource: ${resourceOf(action, asked)}`;
  switch (cell) {
    case 'iam':
      return `${denied} because no identity-based policy allows the ${permission} action`;
    case 'key':
      return `${denied} because no resource-based policy allows the ${permission} action`;
    case 'deny':
      return `${denied} with an explicit deny in an identity-based policy`;
    case 'ret':
      return `${denied} because no grant allows the ${permission} action`;
    case 'gone':
      return absenceOf(action, asked);
    default:
      return 'done';
  }
}

interface Asked {
  readonly caller: KmsCaller;
  readonly scene: KeyScene;
}

function resourceOf(action: KmsAction, { caller, scene }: Asked): string {
  const { principal } = caller;
  if (action === 'ListRetirableGrants') return principal.arn;
  const on = EXAMPLES[action]?.on;
  if (on === 'key') return scene.Arn;
  return on === 'alias' ? aliasOf(action, { caller, scene }) : '*';
}

function aliasOf(action: KmsAction, { caller, scene }: Asked): string {
  const name = action === 'CreateAlias' ? `${scene.alias}-new` : scene.alias;
  return `arn:aws:kms:${REGION}:${caller.principal.account}:${name}`;
}

const absenceOf = (action: KmsAction, asked: Asked): string =>
  action === 'CreateAlias'
    ? `NotFoundException: Key '${asked.scene.Arn}' does not exist`
    : `NotFoundException: Alias ${aliasOf(action, asked)} is not found.`;

async function outcomeOf(at: KmsFixture, action: KmsAction, params: object, caller: KmsCaller) {
  try {
    await at.call(action, params, caller);
    return 'done';
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return `${code ?? 'no code'}: ${message}`;
  }
}

/** Every action is tried on a key on which nothing else was done yet. */
async function decisionsOf(column: string, role: Role, table: Table): Promise<[string, string][]> {
  const { caller, policy: Policy = CONSOLE_POLICY } = role;
  await using at = await KmsFixture.withIdentities({
    [caller.principal.arn]: role.identity ?? {},
  });
  const perform = (action: KmsAction, params: object): Promise<object> =>
    at.call(action, params, ROOT);
  const pairs: [string, string][] = [];
  let scene: KeyScene | undefined;
  for (const [action, cells] of table) {
    const { before } = EXAMPLES[action] ?? {};
    if (before) scene = undefined;
    scene ??= await setScene(perform, { Policy, grant: GRANT });
    if (before) await perform(before, { KeyId: scene.KeyId });
    const params = exampleOf(action, scene, { who: caller.principal.arn, Policy });
    const outcome = await outcomeOf(at, action, params, caller);
    const expected = sentenceOf(cells.get(column) ?? '', action, { caller, scene });
    pairs.push([`${action}: ${outcome}`, `${action}: ${expected}`]);
    // a refusal leaves everything as it was
    if (before || outcome === 'done') scene = undefined;
  }
  return pairs;
}

const TABLES: [string, Readonly<Record<string, Role>>, Table][] = [
  ["the console's policy", ROLES, readTable(CONSOLE)],
  ['with a statement for another account', EXTERNAL_ROLES, readTable(EXTERNAL)],
];

describe.each(TABLES)('%s', (_, roles, table) => {
  test.each(Object.entries(roles))('decides for %s', async (column, role) => {
    const pairs = await decisionsOf(column, role, table);
    expect(pairs.map(([outcome]) => outcome)).toEqual(pairs.map(([, expected]) => expected));
  });

  test('is tried with every built action', async () => {
    await using at = await KmsFixture.open();
    const built: string[] = [];
    for (const action of Object.keys(KMS_ACTIONS) as KmsAction[]) {
      const outcome = await outcomeOf(at, action, leastParams(action), ROOT);
      if (!outcome.includes('Keyspan does not support')) built.push(action);
    }
    expect([...table.keys()]).toEqual(built.toSorted());
    for (const cells of table.values()) expect([...cells.keys()]).toEqual(Object.keys(roles));
  });
});
