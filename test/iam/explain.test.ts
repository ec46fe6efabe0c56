import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { evaluate, type AccessRequest, type Policies } from '../../src/iam/evaluate.js';
import { explain } from '../../src/iam/explain.js';
import {
  parsePolicy,
  type PolicyDocument,
  type PolicyKind,
} from '../../src/iam/policy-document.js';
import { PolicyIndex } from '../../src/iam/policy-index.js';
import { parsePrincipal } from '../../src/iam/principal.js';

const OWN = '111122223333';
const OTHER = '444455556666';
const KEY = `arn:aws:kms:eu-central-1:${OWN}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
const ACTIONS = ['kms:Encrypt', 'kms:Decrypt', 'kms:DescribeKey'];

const document = (statements: object[], kind: PolicyKind): PolicyDocument =>
  parsePolicy(JSON.stringify({ Version: '2012-10-17', Statement: statements }), kind);

const request = (arn: string, context: Record<string, string[]> = {}): AccessRequest => ({
  principal: parsePrincipal(arn),
  action: 'kms:Decrypt',
  resource: KEY,
  context: () => new Map(Object.entries(context)),
});

describe('explain', () => {
  const alice = `arn:aws:iam::${OWN}:user/alice`;
  const key = document(
    [
      {
        Sid: 'Account',
        Effect: 'Allow',
        Principal: { AWS: `arn:aws:iam::${OWN}:root` },
        Action: 'kms:*',
        Resource: '*',
      },
      {
        Effect: 'Deny',
        Principal: '*',
        NotAction: ['kms:Encrypt'],
        Resource: '*',
        Condition: {
          StringNotEquals: { 'kms:EncryptionContext:team': ['post', 'mail'] },
          Null: { 'kms:ViaService': 'false' },
        },
      },
    ],
    'key',
  );
  const policies = { resource: { document: key, account: OWN }, identity: [] };

  test('says of each statement which of its parts matched', () => {
    const told = explain(request(alice, { 'kms:encryptioncontext:team': ['sales'] }), policies);
    expect(told.decision).toEqual({ allowed: false, reason: 'no identity-based policy' });
    const [policy] = told.policies;
    expect(policy?.type).toBe('resource-based policy');
    expect(policy?.statements).toEqual([
      {
        number: 1,
        sid: 'Account',
        effect: 'Allow',
        applies: true,
        delegates: true,
        parts: [
          {
            part: 'Principal',
            matched: true,
            wanted: [`arn:aws:iam::${OWN}:root`],
            given: [alice, `arn:aws:iam::${OWN}:root`],
          },
          { part: 'Action', matched: true, wanted: ['kms:*'], given: ['kms:Decrypt'] },
          { part: 'Resource', matched: true, wanted: ['*'], given: [KEY] },
        ],
      },
      {
        number: 2,
        sid: null,
        effect: 'Deny',
        applies: false,
        delegates: false,
        parts: [
          {
            part: 'Principal',
            matched: true,
            wanted: ['*'],
            given: [alice, `arn:aws:iam::${OWN}:root`],
          },
          { part: 'NotAction', matched: true, wanted: ['kms:Encrypt'], given: ['kms:Decrypt'] },
          { part: 'Resource', matched: true, wanted: ['*'], given: [KEY] },
          {
            part: 'StringNotEquals kms:EncryptionContext:team',
            matched: true,
            wanted: ['post', 'mail'],
            given: ['sales'],
          },
          { part: 'Null kms:ViaService', matched: false, wanted: ['false'], given: null },
        ],
      },
    ]);
  });

  test('walks through all kinds of policies', () => {
    const allow = [{ Effect: 'Allow', Action: 'kms:Decrypt', Resource: '*' }];
    const own = document(allow, 'identity');
    const told = explain(request(alice), {
      ...policies,
      identity: [own, own],
      boundary: own,
      session: [own],
    });
    expect(told.policies.map(({ type }) => type)).toEqual([
      'resource-based policy',
      'identity-based policy',
      'identity-based policy',
      'permissions boundary',
      'session policy',
    ]);
    expect(told.decision).toEqual({ allowed: true });
  });
});

const principals = [
  `arn:aws:iam::${OWN}:root`,
  `arn:aws:iam::${OTHER}:root`,
  `arn:aws:iam::${OWN}:user/alice`,
  `arn:aws:iam::${OTHER}:user/alice`,
  `arn:aws:iam::${OWN}:role/path/Deploy`,
  `arn:aws:sts::${OWN}:assumed-role/Deploy/one`,
  `arn:aws:sts::${OTHER}:assumed-role/Deploy/one`,
];

const some = <T>(...values: T[]): fc.Arbitrary<T[]> => fc.subarray(values, { minLength: 1 });
const actionElement = fc.oneof(
  some(...ACTIONS, 'kms:De*', 'kms:*', '*', 's3:*').map((Action) => ({ Action })),
  some(...ACTIONS, 'kms:De*').map((NotAction) => ({ NotAction })),
);
const resourceElement = fc.oneof(
  fc.constant({ Resource: '*' }),
  some(KEY, `${KEY}x`, 'arn:aws:kms:*:*:key/1*', '*').map((Resource) => ({ Resource })),
  some(KEY, 'arn:aws:kms:*:*:key/9*').map((NotResource) => ({ NotResource })),
  fc.constant({ Resource: 'arn:aws:kms:*:*:key/${kms:KeyId}' }),
);
const conditionElement = fc.oneof(
  fc.constant({}),
  fc
    .tuple(
      fc.constantFrom('StringEquals', 'StringNotEquals', 'ForAllValues:StringLike', 'Null'),
      fc.constantFrom('aws:TagKeys', 'kms:KeySpec'),
      fc.constantFrom('true', 'a', 'b'),
    )
    .map(([operator, key, value]) => ({
      Condition: { [operator]: { [key]: operator === 'Null' ? 'true' : value } },
    })),
);
const effect = fc.constantFrom('Allow', 'Allow', 'Deny');
const identityStatement = fc
  .tuple(effect, actionElement, resourceElement, conditionElement)
  .map(([Effect, ...elements]) => Object.assign({ Effect }, ...elements) as object);
const principalElement = some(...principals, '*').map((AWS) => ({ Principal: { AWS } }));
const keyStatement = fc.oneof(
  fc
    .tuple(identityStatement, principalElement)
    .map(([statement, principal]) => ({ ...statement, ...principal })),
  fc
    .tuple(identityStatement, some(...principals))
    .map(([statement, AWS]) => ({ ...statement, Effect: 'Deny', NotPrincipal: { AWS } })),
);

const identityDocument = fc
  .array(identityStatement, { minLength: 1, maxLength: 4 })
  .map((statements) => document(statements, 'identity'));
const keyDocument = fc
  .array(keyStatement, { minLength: 1, maxLength: 6 })
  .map((statements) => document(statements, 'key'));
const anyPolicies: fc.Arbitrary<Policies> = fc.record({
  resource: keyDocument.map((one) => ({ document: one, account: OWN })),
  identity: fc.array(identityDocument, { maxLength: 3 }),
  boundary: fc.option(identityDocument, { nil: undefined }),
  session: fc.option(fc.array(identityDocument, { maxLength: 2 }), { nil: undefined }),
});
const withoutResource = anyPolicies.map(({ identity, boundary, session }) => ({
  identity,
  boundary,
  session,
}));
const anyRequest: fc.Arbitrary<AccessRequest> = fc
  .record({
    arn: fc.constantFrom(...principals),
    action: fc.constantFrom(...ACTIONS),
    tags: fc.option(fc.array(fc.constantFrom('a', 'b'), { maxLength: 2 }), { nil: undefined }),
    spec: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
  })
  .map(({ arn, action, tags, spec }) => ({
    principal: parsePrincipal(arn),
    action,
    resource: KEY,
    context: () =>
      new Map<string, string[]>([
        ...(tags ? [['aws:tagkeys', tags] as [string, string[]]] : []),
        ...(spec ? [['kms:keyspec', [spec]] as [string, string[]]] : []),
        ['kms:keyid', [KEY.slice(KEY.lastIndexOf('/') + 1)]],
      ]),
  }));

describe('every decision', () => {
  const policies = fc.oneof(anyPolicies, withoutResource);

  test('is the same when it is explained', () => {
    let allowed = 0;
    fc.assert(
      fc.property(anyRequest, policies, (asked, given) => {
        const decision = evaluate(asked, given);
        allowed += decision.allowed ? 1 : 0;
        expect(explain(asked, given).decision).toEqual(decision);
        // what was asked once is remembered by action
        expect(evaluate(asked, given)).toEqual(decision);
      }),
      { numRuns: 400 },
    );
    expect(allowed).toBeGreaterThan(0);
  });

  test('that is a deny stays one when a Deny is added anywhere', () => {
    const added = fc.record({
      key: keyStatement.map((one) => document([{ ...one, Effect: 'Deny' }], 'key')),
      own: identityStatement.map((one) => document([{ ...one, Effect: 'Deny' }], 'identity')),
    });
    fc.assert(
      fc.property(anyRequest, anyPolicies, added, (asked, given, { key, own }) => {
        if (evaluate(asked, given).allowed) return;
        const { resource } = given;
        const more: Policies[] = [
          { ...given, identity: [own, ...given.identity] },
          { ...given, session: given.session && [...given.session, own] },
        ];
        if (resource) {
          const statements = [...resource.document.statements, ...key.statements];
          const joined = { statements, index: new PolicyIndex(statements) };
          more.push({ ...given, resource: { ...resource, document: joined } });
        }
        for (const one of more) expect(evaluate(asked, one).allowed).toBe(false);
      }),
      { numRuns: 400 },
    );
  });
});
