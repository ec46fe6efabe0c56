import { describe, expect, test } from 'vitest';
import {
  compareWith,
  filedUnder,
  isWithin,
  lookedFor,
  meets,
} from '../../src/kms/grant-constraints.js';
import type { GrantTerms } from '../../src/kms/grant-records.js';

type Constraints = GrantTerms['constraints'];

const SOURCE = 'arn:aws:dynamodb:eu-central-1:111122223333:table/Services';
const OTHER = `${SOURCE}2`;
const department: [string, string] = ['Department', 'IT'];
const team: [string, string] = ['team', 'post'];
const two = [department, team];

/** Constraints, an operation, its context and what it is done for: and whether it may be done. */
const CASES: [string, Constraints, string, Record<string, string>, boolean, string?][] = [
  ['no constraint', {}, 'Decrypt', { a: 'b' }, true],
  ['equals: the same', { equals: two }, 'Decrypt', { team: 'post', Department: 'IT' }, true],
  [
    'equals: one more',
    { equals: two },
    'Decrypt',
    { team: 'post', Department: 'IT', a: '' },
    false,
  ],
  ['equals: one less', { equals: two }, 'Decrypt', { team: 'post' }, false],
  ['equals: none', { equals: two }, 'Decrypt', {}, false],
  ['equals nothing: none', { equals: [] }, 'Decrypt', {}, true],
  ['equals nothing: one', { equals: [] }, 'Decrypt', { a: 'b' }, false],
  ['subset: the same', { subset: two }, 'Encrypt', { team: 'post', Department: 'IT' }, true],
  ['subset: one more', { subset: two }, 'Encrypt', { team: 'post', Department: 'IT', a: '' }, true],
  ['subset: one less', { subset: two }, 'Encrypt', { team: 'post' }, false],
  ['subset: another value', { subset: two }, 'Encrypt', { team: 'a', Department: 'IT' }, false],
  ['names without case', { subset: two }, 'Decrypt', { TEAM: 'post', department: 'IT' }, true],
  ['values with case', { subset: two }, 'Decrypt', { team: 'POST', Department: 'IT' }, false],
  ['no pair made of two', { subset: [['a', 'bc']] }, 'Decrypt', { ab: 'c' }, false],
  ['DescribeKey has no context', { equals: two }, 'DescribeKey', {}, true],
  ['RetireGrant has no context', { subset: two }, 'RetireGrant', {}, true],
  ['CreateGrant has no context', { subset: two }, 'CreateGrant', {}, true],
  ['for a resource: that', { sourceArn: SOURCE }, 'Decrypt', {}, true, SOURCE],
  ['for a resource: another', { sourceArn: SOURCE }, 'Decrypt', {}, false, OTHER],
  ['for a resource: none', { sourceArn: SOURCE }, 'Sign', {}, false],
  ['for a resource: DescribeKey too', { sourceArn: SOURCE }, 'DescribeKey', {}, false],
  ['for a resource: not RetireGrant', { sourceArn: SOURCE }, 'RetireGrant', {}, true],
  ['both', { sourceArn: SOURCE, subset: two }, 'Decrypt', { team: 'post' }, false, SOURCE],
];

describe('constraints of a grant', () => {
  test.each(CASES)('%s', (_, constraints, operation, context, expected, sourceArn) => {
    const encryptionContext = new Map(Object.entries(context));
    const request = compareWith({ operation, encryptionContext, sourceArn });
    expect(meets(constraints, request)).toBe(expected);
  });

  test.each(CASES.filter(([, , , , expected]) => expected))(
    'a request that meets them finds the grant, whatever it is filed under: %s',
    (_, constraints, operation, context, __, sourceArn) => {
      if (operation === 'RetireGrant') return;
      const encryptionContext = new Map(Object.entries(context));
      const looked = lookedFor(compareWith({ operation, encryptionContext, sourceArn }));
      for (const one of filedUnder(constraints, operation)) expect(looked).toContain(one);
    },
  );
});

const terms = (operations: GrantTerms['operations'], constraints: Constraints): GrantTerms => ({
  grantee: 'arn:aws:iam::111122223333:user/alice',
  operations,
  constraints,
});

/** The parent's constraints, the child's, and whether the child is as narrow. */
const CHILDREN: [string, Constraints, Constraints, boolean][] = [
  ['none, none', {}, {}, true],
  ['none, some', {}, { subset: two }, true],
  ['some, none', { subset: two }, {}, false],
  ['subset, the same', { subset: two }, { subset: two }, true],
  ['subset, more', { subset: [['team', 'post']] }, { subset: two }, true],
  ['subset, less', { subset: two }, { subset: [['team', 'post']] }, false],
  ['subset, equals with it', { subset: [['team', 'post']] }, { equals: two }, true],
  ['subset, equals without it', { subset: two }, { equals: [['team', 'post']] }, false],
  ['equals, the same', { equals: two }, { equals: [team, department] }, true],
  ['equals, another', { equals: two }, { equals: [['team', 'post']] }, false],
  ['equals, subset', { equals: two }, { subset: two }, false],
  ['resource, the same', { sourceArn: SOURCE }, { sourceArn: SOURCE }, true],
  ['resource, none', { sourceArn: SOURCE }, {}, false],
  ['resource, another', { sourceArn: SOURCE }, { sourceArn: OTHER }, false],
  ['none, resource', {}, { sourceArn: SOURCE }, true],
];

describe('a grant that is made through another', () => {
  test.each(CHILDREN)('constraints: %s', (_, parent, child, expected) => {
    const operations = ['Decrypt', 'CreateGrant'] as const;
    expect(isWithin(terms(['Decrypt'], child), terms(operations, parent))).toBe(expected);
  });

  test('has no operation that the other has not', () => {
    const parent = terms(['Decrypt', 'CreateGrant'], {});
    expect(isWithin(terms(['Decrypt', 'CreateGrant'], {}), parent)).toBe(true);
    expect(isWithin(terms(['Decrypt', 'Encrypt'], {}), parent)).toBe(false);
  });
});
