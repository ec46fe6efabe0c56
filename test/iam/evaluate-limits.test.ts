import { describe, expect, test } from 'vitest';
import {
  allow,
  decide,
  decrypt,
  DELEGATING,
  identityAllow,
  identityDeny,
  KEY,
  OTHER,
  OWN,
  role,
  session,
  user,
  type Row,
} from '../support/access-row.js';

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

describe('evaluate', () => {
  test.each([...limits, ...elements])('$name: $expected', (row) => {
    expect(decide(row)).toBe(row.expected);
  });

  test('a variable in a policy of 2008 stands for itself', () => {
    const row = elements.find(({ name }) => name === 'a variable in a resource');
    expect(row && decide(row, '2008-10-17')).toBe('no identity-based policy');
  });
});
