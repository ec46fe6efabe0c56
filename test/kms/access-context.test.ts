import { describe, expect, test } from 'vitest';
import { AccessContext, type AccessDetails } from '../../src/kms/access-context.js';
import type { KmsParts } from '../../src/kms/request.js';
import { ALICE } from '../support/kms-fixture.js';

const kms = {
  clock: { civil: () => 0 },
  identities: { of: () => ({ policies: [], tags: new Map([['Team', 'post']]) }) },
} as unknown as KmsParts;

const contextOf = (
  details: AccessDetails,
  action = 'kms:CreateGrant',
  caller = ALICE,
): AccessContext => new AccessContext({ kms, caller, action, key: undefined, details });

describe('what a request says about itself', () => {
  test('the keys of its action go before all others, in any case', () => {
    let asked = 0;
    const context = contextOf({
      keys: () => {
        asked += 1;
        return [
          ['kms:GrantOperations', ['Encrypt', 'Decrypt']],
          ['kms:CallerAccount', ['x']],
        ];
      },
    });
    expect(asked).toBe(0);
    expect(context.get('kms:grantoperations')).toEqual(['Encrypt', 'Decrypt']);
    expect(context.get('kms:calleraccount')).toEqual(['x']);
    expect(context.get('kms:keyspec')).toBeUndefined();
    expect(asked).toBe(1);
  });

  test('tags of the request, whose names differ in case, do not hide each other', () => {
    const context = contextOf({
      requestTags: [
        { key: 'team', value: 'a' },
        { key: 'Team', value: 'b' },
      ],
    });
    expect(context.get('aws:requesttag/team')).toEqual(['a', 'b']);
    expect(context.get('aws:tagkeys')).toEqual(['team', 'Team']);
    expect(context.get('aws:principaltag/team')).toEqual(['post']);
    expect(contextOf({}).get('aws:tagkeys')).toBeUndefined();
    expect(contextOf({}).get('kms:encryptioncontextkeys')).toBeUndefined();
  });

  test('a grant is for a resource of AWS when a service asks for it', () => {
    const via = { ...ALICE, origin: { viaService: 'ec2.eu-central-1.amazonaws.com' } };
    const valueOf = (action: string, caller = ALICE): unknown =>
      contextOf({}, action, caller).get('kms:grantisforawsresource');
    expect(valueOf('kms:CreateGrant')).toEqual(['false']);
    expect(valueOf('kms:RevokeGrant', via)).toEqual(['true']);
    expect(valueOf('kms:Encrypt', via)).toBeUndefined();
  });
});
