import { describe, expect, test } from 'vitest';
import { evaluate } from '../../src/iam/evaluate.js';
import { parsePolicy } from '../../src/iam/policy-document.js';
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

type Expected =
  | 'allow'
  | 'explicit deny in a resource-based policy'
  | 'explicit deny in an identity-based policy'
  | 'no identity-based policy'
  | 'no resource-based policy';
interface Row {
  readonly name: string;
  readonly principal: string;
  readonly key?: object[];
  readonly identity?: object[];
  readonly action?: string;
  readonly context?: Record<string, string[]>;
  readonly expected: Expected;
}

const DELEGATING = [allow(root(OWN))];
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

describe('evaluate', () => {
  test.each(rows)('$name: $expected', (row) => {
    const text = (Statement: object[]): string =>
      JSON.stringify({ Version: '2012-10-17', Statement });
    const decision = evaluate(
      {
        principal: parsePrincipal(row.principal),
        action: row.action ?? 'kms:Encrypt',
        resource: KEY,
        context: () => new Map(Object.entries(row.context ?? {})),
      },
      {
        ...(row.key && { key: { document: parsePolicy(text(row.key), 'key'), account: OWN } }),
        identity: row.identity ? [parsePolicy(text(row.identity), 'identity')] : [],
      },
    );
    expect(decision.allowed ? 'allow' : decision.reason).toBe(row.expected);
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
      { key: { document: parsePolicy(statements, 'key'), account: OWN }, identity: [] },
    );
    expect(decision.allowed).toBe(true);
  });
});
