import { describe, expect, test } from 'vitest';
import { evaluate, type DenyReason } from '../../src/iam/evaluate.js';
import { parsePolicy, type PolicyDocument } from '../../src/iam/policy-document.js';
import { parsePrincipal } from '../../src/iam/principal.js';

const OWN = '111122223333';
const OTHER = '444455556666';
const KEY = `arn:aws:kms:eu-central-1:${OWN}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
const root = (account: string): string => `arn:aws:iam::${account}:root`;
const user = (account: string, name = 'alice'): string => `arn:aws:iam::${account}:user/${name}`;
const session = `arn:aws:sts::${OWN}:assumed-role/Deploy/one`;

const allow = (AWS: string | string[], rest: object = {}): object => ({
  Effect: 'Allow',
  Principal: { AWS },
  Action: 'kms:*',
  Resource: '*',
  ...rest,
});
const deny = (AWS: string | string[], rest: object = {}): object => ({
  ...allow(AWS, rest),
  Effect: 'Deny',
});
const identityAllow = { Effect: 'Allow', Action: 'kms:Encrypt', Resource: '*' };
const identityDeny = { ...identityAllow, Effect: 'Deny' };

type Expected = 'allow' | DenyReason;
interface Row {
  readonly name: string;
  readonly principal: string;
  readonly key?: object[];
  readonly identity?: object[];
  readonly boundary?: object[];
  readonly session?: object[];
  readonly action?: string;
  readonly resource?: string;
  readonly context?: Record<string, string[]>;
  readonly expected: Expected;
}

const DELEGATING = [allow(root(OWN))];
const role = `arn:aws:iam::${OWN}:role/Deploy`;
const denyAllBut = (...AWS: string[]): object =>
  deny('*', { Principal: undefined, NotPrincipal: { AWS } });
const decrypt = { Effect: 'Allow', Action: 'kms:Decrypt', Resource: '*' };
const rows: Row[] = [
  { name: 'the root', principal: root(OWN), key: DELEGATING, expected: 'allow' },
  {
    name: 'the root, by its account number',
    principal: root(OWN),
    key: [allow(OWN)],
    expected: 'allow',
  },
  {
    name: 'a user where IAM decides, without IAM',
    principal: user(OWN),
    key: DELEGATING,
    expected: 'no identity-based policy',
  },
  {
    name: 'a user where IAM decides, with IAM',
    principal: user(OWN),
    key: DELEGATING,
    identity: [identityAllow],
    expected: 'allow',
  },
  {
    name: 'a user whom IAM denies',
    principal: user(OWN),
    key: [allow(user(OWN))],
    identity: [identityAllow, identityDeny],
    expected: 'explicit deny in an identity-based policy',
  },
  {
    name: 'a user with IAM alone',
    principal: user(OWN),
    key: [allow(user(OWN, 'bob'))],
    identity: [identityAllow],
    expected: 'no resource-based policy',
  },
  { name: 'a user by name', principal: user(OWN), key: [allow(user(OWN))], expected: 'allow' },
  {
    name: 'another user of the same name, of another account',
    principal: user(OTHER),
    key: [allow(user(OWN))],
    expected: 'no resource-based policy',
  },
  { name: 'everyone', principal: user(OWN), key: [allow('*')], expected: 'allow' },
  {
    name: 'the root without its statement',
    principal: root(OWN),
    key: [allow(user(OWN))],
    expected: 'no resource-based policy',
  },
  {
    name: 'an explicit deny after the allow',
    principal: user(OWN),
    key: [allow(user(OWN)), deny(user(OWN), { Action: 'kms:Enc*' })],
    expected: 'explicit deny in a resource-based policy',
  },
  {
    name: 'an explicit deny before the allow',
    principal: root(OWN),
    key: [deny('*'), ...DELEGATING],
    expected: 'explicit deny in a resource-based policy',
  },
  {
    name: 'a deny of another action',
    principal: user(OWN),
    key: [allow(user(OWN)), deny(user(OWN), { Action: 'kms:Decrypt' })],
    expected: 'allow',
  },
  {
    name: 'a deny of the account is one of its users',
    principal: user(OWN),
    key: [allow(user(OWN)), deny(root(OWN))],
    expected: 'explicit deny in a resource-based policy',
  },
  {
    name: 'a deny of all but this user and its account',
    principal: user(OWN),
    key: [
      allow(user(OWN)),
      deny('*', { Principal: undefined, NotPrincipal: { AWS: [user(OWN), root(OWN)] } }),
    ],
    expected: 'allow',
  },
  {
    name: 'a deny of all but another user',
    principal: user(OWN),
    key: [
      allow(user(OWN)),
      deny('*', { Principal: undefined, NotPrincipal: { AWS: [user(OWN, 'bob'), root(OWN)] } }),
    ],
    expected: 'explicit deny in a resource-based policy',
  },
  {
    name: 'a session by its role, whose ARN has a path',
    principal: session,
    key: [allow(`arn:aws:iam::${OWN}:role/service/Deploy`)],
    expected: 'allow',
  },
  { name: 'a session by name', principal: session, key: [allow(session)], expected: 'allow' },
  {
    name: 'a session of another role',
    principal: session,
    key: [allow(`arn:aws:iam::${OWN}:role/Other`)],
    expected: 'no resource-based policy',
  },
  {
    name: 'another account, named by the key alone',
    principal: user(OTHER),
    key: [allow(user(OTHER))],
    expected: 'no identity-based policy',
  },
  {
    name: 'another account, by both sides',
    principal: user(OTHER),
    key: [allow(root(OTHER))],
    identity: [identityAllow],
    expected: 'allow',
  },
  {
    name: "another account's root",
    principal: root(OTHER),
    key: [allow(root(OTHER))],
    expected: 'allow',
  },
  {
    name: 'another account, by its own side alone',
    principal: user(OTHER),
    key: DELEGATING,
    identity: [identityAllow],
    expected: 'no resource-based policy',
  },
  {
    name: 'an action written in another case',
    principal: user(OWN),
    key: [allow(user(OWN), { Action: 'KMS:encrypt' })],
    expected: 'allow',
  },
  {
    name: 'NotAction',
    principal: user(OWN),
    key: [allow(user(OWN), { Action: undefined, NotAction: 'kms:Encrypt' })],
    expected: 'no resource-based policy',
  },
  {
    name: 'another resource',
    principal: user(OWN),
    key: [allow(user(OWN), { Resource: 'arn:aws:kms:eu-central-1:111122223333:key/other' })],
    expected: 'no resource-based policy',
  },
  {
    name: 'a condition that holds',
    principal: user(OWN),
    key: [allow(user(OWN), { Condition: { StringEquals: { 'kms:KeySpec': 'S' } } })],
    context: { 'kms:keyspec': ['S'] },
    expected: 'allow',
  },
  {
    name: 'one condition of two that does not hold',
    principal: user(OWN),
    key: [
      allow(user(OWN), {
        Condition: { StringEquals: { 'kms:KeySpec': 'S', 'kms:ViaService': 'x' } },
      }),
    ],
    context: { 'kms:keyspec': ['S'] },
    expected: 'no resource-based policy',
  },
  {
    name: 'a deny of all but this user, whose account is not listed',
    principal: user(OWN),
    key: [allow(user(OWN)), denyAllBut(user(OWN))],
    expected: 'explicit deny in a resource-based policy',
  },
  {
    name: 'a deny of all but this user, who has a permissions boundary',
    principal: user(OWN),
    key: [allow(user(OWN)), denyAllBut(user(OWN), root(OWN))],
    boundary: [identityAllow],
    expected: 'explicit deny in a resource-based policy',
  },
  {
    name: 'a deny of all but a role and its account, not the session',
    principal: session,
    key: [allow(session), denyAllBut(role, root(OWN))],
    expected: 'explicit deny in a resource-based policy',
  },
  {
    name: 'a deny of all but a session, its role and its account',
    principal: session,
    key: [allow(session), denyAllBut(session, role, root(OWN))],
    expected: 'allow',
  },
  {
    name: 'a deny of all but the root',
    principal: root(OWN),
    key: [...DELEGATING, denyAllBut(root(OWN))],
    expected: 'allow',
  },
  { name: 'the root, without a key', principal: root(OWN), expected: 'allow' },
  {
    name: 'a user, without a key',
    principal: user(OWN),
    expected: 'no identity-based policy',
  },
  {
    name: 'a user with IAM, without a key',
    principal: user(OWN),
    identity: [identityAllow],
    expected: 'allow',
  },
];

/** IAM user guide: permissions boundaries and session policies in the evaluation logic. */
const limits: Row[] = [
  {
    name: 'a user within its boundary',
    principal: user(OWN),
    key: DELEGATING,
    identity: [identityAllow],
    boundary: [identityAllow],
    expected: 'allow',
  },
  {
    name: 'a user outside of its boundary',
    principal: user(OWN),
    key: DELEGATING,
    identity: [identityAllow],
    boundary: [decrypt],
    expected: 'no permissions boundary',
  },
  {
    name: 'a boundary that allows, and gives nothing',
    principal: user(OWN),
    key: DELEGATING,
    boundary: [identityAllow],
    expected: 'no identity-based policy',
  },
  {
    name: 'a boundary that denies',
    principal: user(OWN),
    key: [allow(user(OWN))],
    boundary: [identityAllow, identityDeny],
    expected: 'explicit deny in a permissions boundary',
  },
  {
    name: 'a user whom the key names, outside of its boundary',
    principal: user(OWN),
    key: [allow(user(OWN))],
    boundary: [decrypt],
    expected: 'allow',
  },
  {
    name: 'a user as one of everyone, outside of its boundary',
    principal: user(OWN),
    key: [allow('*')],
    boundary: [decrypt],
    expected: 'no permissions boundary',
  },
  {
    name: "a session whose role the key names, outside of the role's boundary",
    principal: session,
    key: [allow(role)],
    boundary: [decrypt],
    expected: 'no permissions boundary',
  },
  {
    name: 'a session whose role the key names, outside of its session policy',
    principal: session,
    key: [allow(role)],
    session: [decrypt],
    expected: 'no session policy',
  },
  {
    name: 'a session whose role the key names, within both',
    principal: session,
    key: [allow(role)],
    boundary: [identityAllow],
    session: [identityAllow],
    expected: 'allow',
  },
  {
    name: 'a session that the key names, outside of both',
    principal: session,
    key: [allow(session)],
    boundary: [decrypt],
    session: [decrypt],
    expected: 'allow',
  },
  {
    name: 'a session that the key names, whose session policy denies',
    principal: session,
    key: [allow(session)],
    session: [identityAllow, identityDeny],
    expected: 'explicit deny in a session policy',
  },
  {
    name: "a session by its role's policies, outside of its session policy",
    principal: session,
    key: DELEGATING,
    identity: [identityAllow],
    session: [decrypt],
    expected: 'no session policy',
  },
  {
    name: 'a session policy gives nothing',
    principal: session,
    key: DELEGATING,
    session: [identityAllow],
    expected: 'no identity-based policy',
  },
  {
    name: 'a session of another account, which the key names, outside of its session policy',
    principal: session.replace(OWN, OTHER),
    key: [allow(session.replace(OWN, OTHER))],
    identity: [identityAllow],
    session: [decrypt],
    expected: 'no session policy',
  },
  {
    name: 'a user of another account, outside of its boundary',
    principal: user(OTHER),
    key: [allow(user(OTHER))],
    identity: [identityAllow],
    boundary: [decrypt],
    expected: 'no permissions boundary',
  },
  {
    name: 'no key: a user within its boundary alone',
    principal: user(OWN),
    identity: [identityAllow],
    boundary: [decrypt],
    expected: 'no permissions boundary',
  },
];

const ALIAS_OF = 'arn:aws:kms:eu-central-1:111122223333:key/${aws:PrincipalTag/key}';
/** What stands in statements of the caller's own policies. */
const elements: Row[] = [
  {
    name: 'NotAction of an identity policy',
    principal: user(OWN),
    identity: [{ ...decrypt, Action: undefined, NotAction: ['kms:Decrypt', 'kms:Get*'] }],
    expected: 'allow',
  },
  {
    name: 'wildcards in an action',
    principal: user(OWN),
    identity: [{ ...decrypt, Action: 'kms:?ncr*' }],
    expected: 'allow',
  },
  {
    name: 'everything',
    principal: user(OWN),
    identity: [{ ...decrypt, Action: '*' }],
    expected: 'allow',
  },
  {
    name: 'another service',
    principal: user(OWN),
    identity: [{ ...decrypt, Action: 's3:*' }],
    expected: 'no identity-based policy',
  },
  {
    name: 'the resource among others',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: ['arn:aws:kms:eu-central-1:1:key/x', KEY] }],
    expected: 'allow',
  },
  {
    name: 'wildcards in a resource',
    principal: user(OWN),
    identity: [
      { ...identityAllow, Resource: `arn:aws:kms:*:${OWN}:key/1234abcd-*-56ef-????????????` },
    ],
    expected: 'allow',
  },
  {
    name: 'a resource whose case differs',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: KEY.toUpperCase().replace('ARN:AWS', 'arn:aws') }],
    expected: 'no identity-based policy',
  },
  {
    name: 'an ARN that lacks parts',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: 'arn:aws:kms' }],
    expected: 'allow',
  },
  {
    name: 'an ARN that lacks a part before the last',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: 'arn:aws:kms:*:key/1234abcd-*' }],
    expected: 'no identity-based policy',
  },
  {
    name: 'NotResource',
    principal: user(OWN),
    identity: [identityAllow, { ...identityDeny, Resource: undefined, NotResource: KEY }],
    expected: 'allow',
  },
  {
    name: 'NotResource of another key',
    principal: user(OWN),
    identity: [
      identityAllow,
      { ...identityDeny, Resource: undefined, NotResource: KEY.replace('1234', '9999') },
    ],
    expected: 'explicit deny in an identity-based policy',
  },
  {
    name: 'a variable in a resource',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: ALIAS_OF }],
    context: { 'aws:principaltag/key': [KEY.slice(KEY.lastIndexOf('/') + 1)] },
    expected: 'allow',
  },
  {
    name: 'a variable whose value has a star',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: ALIAS_OF }],
    context: { 'aws:principaltag/key': ['*'] },
    expected: 'no identity-based policy',
  },
  {
    name: 'a variable that the request does not have',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: ALIAS_OF }],
    expected: 'no identity-based policy',
  },
  {
    name: 'a variable before the last part of an ARN stands for itself',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: 'arn:aws:kms:*:${aws:PrincipalAccount}:key/*' }],
    context: { 'aws:principalaccount': [OWN] },
    expected: 'no identity-based policy',
  },
  {
    name: 'a resource, where the action stands on none',
    principal: user(OWN),
    identity: [{ ...identityAllow, Resource: 'arn:aws:kms:*:*:*' }],
    resource: '*',
    expected: 'no identity-based policy',
  },
];

function decide(row: Row, version = '2012-10-17'): Expected {
  const text = (Statement: object[]): string => JSON.stringify({ Version: version, Statement });
  const read = (statements: object[]): PolicyDocument => parsePolicy(text(statements), 'identity');
  const decision = evaluate(
    {
      principal: parsePrincipal(row.principal),
      action: row.action ?? 'kms:Encrypt',
      resource: row.resource ?? KEY,
      context: () => new Map(Object.entries(row.context ?? {})),
    },
    {
      ...(row.key && { resource: { document: parsePolicy(text(row.key), 'key'), account: OWN } }),
      identity: row.identity ? [read(row.identity)] : [],
      boundary: row.boundary && read(row.boundary),
      session: row.session && [read(row.session)],
    },
  );
  return decision.allowed ? 'allow' : decision.reason;
}

describe('evaluate', () => {
  test.each([...rows, ...limits, ...elements])('$name: $expected', (row) => {
    expect(decide(row)).toBe(row.expected);
  });

  test('a variable in a policy of 2008 stands for itself', () => {
    const row = elements.find(({ name }) => name === 'a variable in a resource');
    expect(row && decide(row, '2008-10-17')).toBe('no identity-based policy');
  });

  test('several documents of one kind allow together', () => {
    const read = (statement: object): PolicyDocument =>
      parsePolicy(JSON.stringify({ Statement: [statement] }), 'identity');
    const documents = [read(decrypt), read(identityAllow)];
    const request = {
      principal: parsePrincipal(session),
      action: 'kms:Encrypt',
      resource: KEY,
      context: () => new Map(),
    };
    expect(evaluate(request, { identity: documents, session: documents }).allowed).toBe(true);
    // no session policies at all narrow nothing
    expect(evaluate(request, { identity: documents, session: [] }).allowed).toBe(true);
  });

  test('decides a trust policy: the account of the role, and both sides from another', () => {
    const trust = JSON.stringify({
      Statement: [
        { Effect: 'Allow', Principal: { AWS: [root(OWN), user(OTHER)] }, Action: 'sts:AssumeRole' },
      ],
    });
    const resource = { document: parsePolicy(trust, 'trust'), account: OWN };
    const may = parsePolicy(
      JSON.stringify({ Statement: [{ ...identityAllow, Action: 'sts:*', Resource: role }] }),
      'identity',
    );
    const asked = (arn: string, identity: PolicyDocument[]): boolean => {
      const principal = parsePrincipal(arn);
      const request = {
        principal,
        action: 'sts:AssumeRole',
        resource: role,
        context: () => new Map(),
      };
      return evaluate(request, { resource, identity }).allowed;
    };
    expect(asked(user(OWN), [])).toBe(false);
    expect(asked(user(OWN), [may])).toBe(true);
    expect(asked(user(OTHER), [])).toBe(false);
    expect(asked(user(OTHER), [may])).toBe(true);
    expect(asked(user(OTHER, 'bob'), [may])).toBe(false);
  });

  test('asks for no context where there are no conditions', () => {
    const statements = JSON.stringify({ Statement: DELEGATING });
    const decision = evaluate(
      {
        principal: parsePrincipal(root(OWN)),
        action: 'kms:Encrypt',
        resource: KEY,
        context: () => {
          throw new Error('asked');
        },
      },
      { resource: { document: parsePolicy(statements, 'key'), account: OWN }, identity: [] },
    );
    expect(decision.allowed).toBe(true);
  });
});
