import { describe, expect, test } from 'vitest';
import type { PolicyExplanation } from '../../src/protocol/policy-explanation.js';
import {
  ACCOUNT,
  ALICE,
  allow,
  KmsFixture,
  OTHER_ACCOUNT,
  OTHER_ROOT,
  policyOf,
  REGION,
  ROOT,
} from '../support/kms-fixture.js';

const alice = ALICE.principal.arn;
const root = ROOT.principal.arn;

function asked(
  at: KmsFixture,
  question: { principal: string; action: string; key?: string; conditions?: Conditions },
): PolicyExplanation {
  const whole = { encryptionContext: {}, conditions: {}, ...question };
  return at.kms.explain(whole, REGION);
}
type Conditions = Record<string, string[]>;

describe('an explanation', () => {
  test('of a key by id, ARN and alias agrees with what is decided', async () => {
    await using at = await KmsFixture.open();
    const Policy = policyOf(allow(root), allow(alice, 'kms:Encrypt'));
    const { KeyId, Arn } = await at.createKey({ Policy });
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    for (const key of [KeyId, Arn, 'alias/a', Arn.replace(/key.*/, 'alias/a')]) {
      const may = asked(at, { principal: alice, action: 'kms:Encrypt', key });
      expect([may.allowed, may.resource]).toEqual([true, Arn]);
      const mayNot = asked(at, { principal: alice, action: 'kms:Decrypt', key });
      expect(mayNot.allowed).toBe(false);
      expect(await at.refused('DisableKey', { KeyId }, ALICE)).toBe(
        `AccessDeniedException: ${mayNot.reason.replaceAll('Decrypt', 'DisableKey')}`,
      );
    }
  });

  test('names what allows', async () => {
    await using at = await KmsFixture.open();
    const Policy = policyOf(allow(root), allow(OTHER_ROOT.principal.arn));
    const { KeyId: key } = await at.createKey({ Policy });
    const reasonOf = (principal: string, action: string, of?: string): string => {
      const { reason } = asked(at, { principal, action, ...(of !== undefined && { key: of }) });
      return reason.replace(/^.* (?=by|as|because)/, '');
    };
    const { principal: other } = OTHER_ROOT;
    expect(reasonOf(root, 'kms:Encrypt', key)).toBe('by a resource-based policy');
    expect(reasonOf(other.arn, 'kms:Encrypt', key)).toMatch(/as its account's root$/);
    expect(reasonOf(root, 'kms:ListKeys')).toBe("as its account's root");
    expect(reasonOf(alice, 'kms:ListKeys')).toMatch(/^because no identity-based policy/);
    const foreign = `arn:aws:iam::${OTHER_ACCOUNT}:user/bob`;
    expect(reasonOf(foreign, 'kms:Encrypt', key)).toMatch(/^because no identity-based policy/);
  });

  test('takes conditions as they are given, before what is known', async () => {
    await using at = await KmsFixture.open();
    const Condition = {
      StringEquals: { 'kms:ViaService': `s3.${REGION}.amazonaws.com` },
      'ForAllValues:StringEquals': { 'aws:TagKeys': ['a', 'b'] },
    };
    const Policy = policyOf(allow(root), { ...allow(alice), Condition });
    const { KeyId: key } = await at.createKey({ Policy });
    const question = { principal: alice, action: 'kms:Encrypt', key };
    expect(asked(at, question).allowed).toBe(false);
    const conditions = {
      'kms:viaservice': [`s3.${REGION}.amazonaws.com`],
      'aws:TagKeys': ['b', 'a'],
    };
    expect(asked(at, { ...question, conditions }).allowed).toBe(true);
    const [policy] = asked(at, { ...question, conditions: { 'aws:TagKeys': ['c'] } }).policies;
    expect(policy?.statements[1]?.parts.filter(({ matched }) => !matched)).toEqual([
      {
        part: 'StringEquals kms:ViaService',
        matched: false,
        wanted: [`s3.${REGION}.amazonaws.com`],
        given: null,
      },
      {
        part: 'ForAllValues:StringEquals aws:TagKeys',
        matched: false,
        wanted: ['a', 'b'],
        given: ['c'],
      },
    ]);
  });

  test('says that a grant allows, unless a policy denies', async () => {
    await using at = await KmsFixture.open();
    const denied = { ...allow(alice, 'kms:Decrypt'), Effect: 'Deny' };
    const { KeyId: key, Arn } = await at.createKey({ Policy: policyOf(allow(root), denied) });
    const grant = { GranteePrincipal: alice, Operations: ['Encrypt', 'Decrypt'] };
    await at.call('CreateGrant', { KeyId: key, ...grant });
    const question = (action: string) => asked(at, { principal: alice, action, key });
    expect(question('kms:Encrypt')).toMatchObject({
      allowed: true,
      reason: `a grant of ${Arn} allows kms:Encrypt`,
    });
    expect(question('kms:Decrypt')).toMatchObject({
      allowed: false,
      reason: expect.stringMatching(/with an explicit deny in a resource-based policy$/) as string,
    });
    expect(question('kms:DescribeKey').allowed).toBe(false);
  });

  test('refuses what is no principal and no key', async () => {
    await using at = await KmsFixture.open();
    expect(() => asked(at, { principal: 'alice', action: 'kms:Encrypt' })).toThrow(/principal/);
    const key = `arn:aws:kms:us-east-1:${ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
    expect(() => asked(at, { principal: alice, action: 'kms:Encrypt', key })).toThrow(
      `Key '${key}' does not exist`,
    );
  });
});
