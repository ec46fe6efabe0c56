import { describe, expect, test } from 'vitest';
import { parsePrincipal, readPrincipal, withoutPath } from '../../src/iam/principal.js';

describe('parsePrincipal', () => {
  test.each([
    ['arn:aws:iam::111122223333:root', 'Account'],
    ['arn:aws:iam::111122223333:user/alice', 'User'],
    ['arn:aws:iam::111122223333:user/division/team/alice@example.com', 'User'],
    ['arn:aws:iam::111122223333:role/Deploy', 'Role'],
    ['arn:aws:sts::111122223333:assumed-role/Deploy/session-1', 'AssumedRole'],
    ['arn:aws-cn:iam::111122223333:root', 'Account'],
  ])('%s is a principal of type %s', (arn, type) => {
    const principal = parsePrincipal(arn);
    expect(principal).toMatchObject({ arn, type, account: '111122223333' });
    expect(principal.root).toMatch(/^arn:aws(-cn)?:iam::111122223333:root$/);
  });

  test('a session is also named by its role', () => {
    const { names } = parsePrincipal('arn:aws:sts::111122223333:assumed-role/Deploy/session-1');
    expect(names).toContain('arn:aws:iam::111122223333:role/Deploy');
  });

  test.each([
    '',
    'alice',
    '111122223333',
    'arn:aws:iam::1234:root',
    'arn:aws:iam::aws:policy/x',
    'arn:aws:iam::111122223333:user/',
    'arn:aws:iam::111122223333:user/*',
    'arn:aws:iam::111122223333:group/admins',
    'arn:aws:iam:eu-central-1:111122223333:root',
    'arn:aws:iam::111122223333:root\n',
    'arn:aws:sts::111122223333:assumed-role/Deploy',
    'arn:aws:sts::111122223333:root',
    'arn:aws:kms::111122223333:root',
    `arn:aws:iam::111122223333:user/${'p'.repeat(2100)}/alice`,
  ])('%j is none', (arn) => {
    expect(readPrincipal(arn)).toBeUndefined();
    expect(() => parsePrincipal(arn)).toThrow(
      expect.objectContaining({ code: 'ValidationException' }),
    );
  });
});

test('withoutPath changes roles alone', () => {
  const role = 'arn:aws:iam::111122223333:role/a/b/Deploy';
  expect(withoutPath(role)).toBe('arn:aws:iam::111122223333:role/Deploy');
  const user = 'arn:aws:iam::111122223333:user/a/b/alice';
  expect(withoutPath(user)).toBe(user);
});
