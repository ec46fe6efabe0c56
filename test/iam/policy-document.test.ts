import { describe, expect, test } from 'vitest';
import { cachedPolicy, parsePolicy } from '../../src/iam/policy-document.js';

const base = {
  Effect: 'Allow',
  Principal: { AWS: 'arn:aws:iam::111122223333:root' },
  Action: 'kms:*',
  Resource: '*',
};
const policy = (statement: object, rest: object = {}): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: [{ ...base, ...statement }], ...rest });

describe('parsePolicy', () => {
  test('reads the forms that AWS allows', () => {
    const document = parsePolicy(
      JSON.stringify({
        Version: '2012-10-17',
        Id: 'x',
        Statement: {
          Sid: 's',
          Effect: 'Deny',
          NotPrincipal: { AWS: ['111122223333', 'arn:aws:iam::111122223333:user/a/b/alice'] },
          NotAction: ['kms:Encrypt', 'KMS:Decrypt'],
          NotResource: ['arn:aws:kms:*:*:key/*'],
          Condition: { StringEquals: { 'kms:KeySpec': ['a', 'b'] }, Bool: { 'aws:Mfa': true } },
        },
      }),
      'key',
    );
    const [statement] = document.statements;
    expect(statement).toMatchObject({
      effect: 'Deny',
      sid: 's',
      actions: { texts: ['kms:Encrypt', 'KMS:Decrypt'], negated: true },
      resources: { negated: true },
    });
    expect(statement?.principals?.roots).toContain('arn:aws:iam::111122223333:root');
    expect(statement?.principals?.arns).toContain('arn:aws:iam::111122223333:user/a/b/alice');
    expect([...(statement?.actions.exact ?? [])]).toEqual(['kms:encrypt', 'kms:decrypt']);
    expect(statement?.conditions.map(({ key, values }) => [key, values])).toEqual([
      ['kms:keyspec', ['a', 'b']],
      ['aws:mfa', ['true']],
    ]);
  });

  test('everyone may be written in three ways', () => {
    for (const Principal of ['*', { AWS: '*' }, { AWS: ['*'] }]) {
      const [statement] = parsePolicy(policy({ Principal }), 'key').statements;
      expect(statement?.principals?.everyone).toBe(true);
    }
  });

  test.each([
    ['not JSON', '{', /Syntax errors/],
    ['not an object', '[]', /must be a JSON object/],
    ['no statement', JSON.stringify({ Version: '2012-10-17' }), /JSON object/],
    ['an empty list', JSON.stringify({ Statement: [] }), /must have a statement/],
    ['another version', policy({}, { Version: '2020-01-01' }), /Version/],
    ['an unknown member', policy({}, { Extra: 1 }), /unknown member: Extra/],
    ['an unknown member of a statement', policy({ Actions: 'kms:*' }), /unknown member: Actions/],
    ['another effect', policy({ Effect: 'allow' }), /Effect/],
    ['no action', policy({ Action: undefined }), /either Action or NotAction/],
    ['both actions', policy({ NotAction: 'kms:*' }), /either Action or NotAction/],
    ['an action without a service', policy({ Action: 'Encrypt' }), /invalid Action/],
    ['no resource', policy({ Resource: undefined }), /either Resource or NotResource/],
    ['an empty list of actions', policy({ Action: [] }), /empty Action/],
    ['a number as action', policy({ Action: 7 }), /invalid Action/],
    ['no principal', policy({ Principal: undefined }), /either Principal or NotPrincipal/],
    ['a principal without a type', policy({ Principal: {} }), /invalid principals/],
    ['a principal of an unknown type', policy({ Principal: { X: '*' } }), /invalid principals/],
    ['a principal that is no ARN', policy({ Principal: { AWS: 'alice' } }), /invalid principals/],
    [
      'a wildcard in a principal',
      policy({ Principal: { AWS: 'arn:aws:iam::111122223333:user/*' } }),
      /invalid principals/,
    ],
    [
      'allowing all but some',
      policy({ Principal: undefined, NotPrincipal: { AWS: '111122223333' } }),
      /NotPrincipal must be used with the effect Deny/,
    ],
    [
      'an unknown operator',
      policy({ Condition: { StringMatches: { 'kms:ViaService': 'x' } } }),
      /operator StringMatches is not supported/,
    ],
    [
      'Null with IfExists',
      policy({ Condition: { NullIfExists: { 'kms:ViaService': 'true' } } }),
      /not supported/,
    ],
    [
      'a variable that does not end',
      policy({ Condition: { StringEquals: { 'kms:ViaService': '${aws:username' } } }),
      /operator StringEquals has an invalid value/,
    ],
    [
      'a variable that does not end in a resource',
      policy({ Resource: 'arn:aws:kms:eu-central-1:111122223333:alias/${aws:username' }),
      /invalid policy variable/,
    ],
    [
      'a number that is none',
      policy({ Condition: { NumericLessThan: { 'kms:RotationPeriodInDays': 'ten' } } }),
      /operator NumericLessThan has an invalid value/,
    ],
    [
      'a range of addresses that is none',
      policy({ Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/33' } } }),
      /operator IpAddress has an invalid value/,
    ],
    ['a canonical user', policy({ Principal: { CanonicalUser: '79a59d' } }), /invalid principals/],
    ['a service that is none', policy({ Principal: { Service: 's3' } }), /invalid principals/],
    ['a condition that is a list', policy({ Condition: [] }), /Condition must be a JSON object/],
  ])('refuses %s', (_, text, sentence) => {
    expect(() => parsePolicy(text, 'key')).toThrow(
      expect.objectContaining({
        code: 'MalformedPolicyDocumentException',
        message: expect.stringMatching(sentence),
      }),
    );
  });

  test('an identity policy must not have a principal', () => {
    expect(() => parsePolicy(policy({}), 'identity')).toThrow(/must not have a Principal/);
    const text = policy({ Principal: undefined });
    expect(parsePolicy(text, 'identity').statements[0]?.principals).toBeUndefined();
  });

  test.each([
    { Service: 's3.amazonaws.com' },
    { Service: ['logs.eu-central-1.amazonaws.com', 'ec2.amazonaws.com.cn'] },
    { Federated: 'cognito-identity.amazonaws.com' },
  ])('%j is a well-formed principal', (Principal) => {
    expect(parsePolicy(policy({ Principal }), 'key').statements).toHaveLength(1);
  });

  test('a trust policy has principals and no resource', () => {
    const trust = (statement: object): string =>
      policy({ Action: 'sts:AssumeRole', Resource: undefined, ...statement });
    const [statement] = parsePolicy(trust({}), 'trust').statements;
    expect(statement?.resources.everything).toBe(true);
    expect(() => parsePolicy(trust({ Resource: '*' }), 'trust')).toThrow(/prohibited field/);
    expect(() => parsePolicy(trust({ Principal: undefined }), 'trust')).toThrow(/Principal/);
    const NotPrincipal = { AWS: '111122223333' };
    const negated = trust({ Effect: 'Deny', Principal: undefined, NotPrincipal });
    expect(() => parsePolicy(negated, 'trust')).toThrow(/prohibited field NotPrincipal/);
  });

  test.each(['kms:EncryptionContext:team', 'aws:RequestTag/team'])(
    'ForAllValues on %s would let pass what has none',
    (key) => {
      const Condition = { 'ForAllValues:StringEquals': { [key]: 'post' } };
      const sentence =
        'OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued ' +
        'condition key matches requests without the specified [encryption context or tag] or ' +
        'with an unspecified [encryption context or tag]. To fix, remove ForAllValues.';
      expect(() => parsePolicy(policy({ Condition }), 'key')).toThrow(
        expect.objectContaining({ code: 'MalformedPolicyDocumentException', message: sentence }),
      );
      const identity = policy({ Principal: undefined, Condition });
      expect(parsePolicy(identity, 'identity').statements).toHaveLength(1);
    },
  );

  test('ForAllValues on keys with several values is what it is for', () => {
    const Condition = { 'ForAllValues:StringEquals': { 'kms:EncryptionContextKeys': ['team'] } };
    expect(parsePolicy(policy({ Condition }), 'key').statements).toHaveLength(1);
  });
});

test('cachedPolicy gives one document for one text, and forgets the oldest', () => {
  const first = cachedPolicy(policy({ Sid: 'first' }), 'key');
  expect(cachedPolicy(policy({ Sid: 'first' }), 'key')).toBe(first);
  for (let n = 0; n < 600; n += 1) cachedPolicy(policy({ Sid: `n${n}` }), 'key');
  expect(cachedPolicy(policy({ Sid: 'first' }), 'key')).not.toBe(first);
});

test('what was taken before is read, whatever is asked of new policies', () => {
  const old = [
    policy({ Principal: { CanonicalUser: '79a59d' } }),
    policy({ Condition: { NumericLessThan: { 'kms:RotationPeriodInDays': 'ten' } } }),
    policy({ Condition: { 'ForAllValues:StringEquals': { 'kms:EncryptionContext:a': 'b' } } }),
  ];
  for (const text of old) {
    expect(() => parsePolicy(text, 'key')).toThrow();
    expect(cachedPolicy(text, 'key').statements).toHaveLength(1);
  }
});
