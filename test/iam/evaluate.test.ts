import { describe, expect, test } from 'vitest';
import { evaluate } from '../../src/iam/evaluate.js';
import { parsePolicy, type PolicyDocument } from '../../src/iam/policy-document.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import {
  allow,
  decide,
  decrypt,
  DELEGATING,
  deny,
  denyAllBut,
  identityAllow,
  identityDeny,
  KEY,
  OTHER,
  OWN,
  role,
  root,
  session,
  user,
  type Row,
} from '../support/access-row.js';

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

describe('evaluate', () => {
  test.each(rows)('$name: $expected', (row) => {
    expect(decide(row)).toBe(row.expected);
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
