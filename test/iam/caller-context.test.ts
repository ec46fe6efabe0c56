import { expect, test } from 'vitest';
import { callerContext } from '../../src/iam/caller-context.js';
import { parsePrincipal } from '../../src/iam/principal.js';

test('a request says who asks, when, and how it came', () => {
  const principal = parsePrincipal('arn:aws:iam::111122223333:user/team/alice');
  const identity = { policies: [], tags: new Map([['Team', 'blue']]), userId: 'AIDA1' };
  const origin = { sourceIp: '10.0.0.1', isSecure: true };
  const session = { of: 'AIDA1', policies: [], policyArns: [], tags: new Map(), issuedAtMs: 0 };
  const asked = { principal, identity, region: 'eu-west-1', origin, civilMs: 1_500 };
  const context = callerContext({ ...asked, principal: { ...principal, session } });
  expect(Object.fromEntries(context)).toEqual({
    'aws:principalaccount': ['111122223333'],
    'aws:principalarn': [principal.arn],
    'aws:principaltype': ['User'],
    'aws:requestedregion': ['eu-west-1'],
    'aws:currenttime': ['1970-01-01T00:00:01.500Z'],
    'aws:epochtime': ['1'],
    'aws:username': ['alice'],
    'aws:userid': ['AIDA1'],
    'aws:tokenissuetime': ['1970-01-01T00:00:00.000Z'],
    'aws:sourceip': ['10.0.0.1'],
    'aws:securetransport': ['true'],
    'aws:principaltag/team': ['blue'],
  });
});
