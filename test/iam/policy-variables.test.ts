import { describe, expect, test } from 'vitest';
import { readTemplate, resolve, textOf } from '../../src/iam/policy-variables.js';
import { fits } from '../../src/iam/wildcard.js';

const context = new Map([
  ['aws:username', ['alice']],
  ['aws:principaltag/team', ['post']],
  ['kms:encryptioncontext:file', ['a*']],
  ['aws:tagkeys', ['a', 'b']],
]);

const plain = { wildcards: false, variables: true };
function resolved(text: string, reading = plain): string | undefined {
  const template = readTemplate(text, reading);
  if (!template) throw new Error(`${text} cannot be read`);
  const pattern = resolve(template, context);
  return pattern && textOf(pattern);
}

describe('a policy variable', () => {
  test.each<[string, string | undefined]>([
    ['home/${aws:username}/x', 'home/alice/x'],
    ['${aws:UserName}${AWS:USERNAME}', 'alicealice'],
    ['${aws:PrincipalTag/Team}', 'post'],
    ["${aws:PrincipalTag/team, 'company-wide'}", 'post'],
    ["${aws:PrincipalTag/none, 'company-wide'}", 'company-wide'],
    ["${aws:PrincipalTag/none,''}!", '!'],
    ['${aws:PrincipalTag/none}', undefined],
    ['before ${aws:PrincipalTag/none} behind', undefined],
    // a key with several values is no variable
    ['${aws:TagKeys}', undefined],
    ['${*}${?}${$}', '*?$'],
    ['$ {x} } ${$}{aws:username}', '$ {x} } ${aws:username}'],
    ['no variable', 'no variable'],
  ])('%s: %j', (text, expected) => expect(resolved(text)).toBe(expected));

  test('stands for itself in a policy of 2008', () => {
    expect(resolved('${aws:username}', { ...plain, variables: false })).toBe('${aws:username}');
    const pattern = readTemplate('${*}', { wildcards: true, variables: false });
    expect(pattern?.fixed && fits(pattern.fixed, '${anything}')).toBe(true);
  });

  test.each(['${', '${}', '${aws:username', "${a, 'b}", '${a ${b}}', '${a}${', '${a*}'])(
    '%s is refused',
    (text) => expect(readTemplate(text, plain)).toBeUndefined(),
  );

  test('brings no wildcard of its own into a pattern', () => {
    const template = readTemplate('${kms:EncryptionContext:file}/*', {
      wildcards: true,
      variables: true,
    });
    const pattern = template && resolve(template, context);
    if (!pattern) throw new Error('unresolved');
    expect([fits(pattern, 'a*/x'), fits(pattern, 'ab/x')]).toEqual([true, false]);
    const literal = readTemplate('a${*}', { wildcards: true, variables: true })?.fixed;
    expect(literal && [fits(literal, 'a*'), fits(literal, 'ab')]).toEqual([true, false]);
  });
});
