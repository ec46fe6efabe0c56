import { describe, expect, test } from 'vitest';
import { parsePrincipal } from '../../src/iam/principal.js';
import { RequestContext } from '../../src/iam/request-context.js';
import type { RequestOrigin } from '../../src/iam/request-origin.js';

const USER = 'arn:aws:iam::111122223333:user/office/alice';
const SESSION = 'arn:aws:sts::111122223333:assumed-role/Deploy/one';
const ROOT = 'arn:aws:iam::111122223333:root';

const contextOf = (arn: string, origin?: RequestOrigin, userId?: string): RequestContext =>
  new RequestContext({
    principal: parsePrincipal(arn),
    identity: { policies: [], tags: new Map([['Team', 'post']]), userId },
    region: 'eu-central-1',
    origin,
    nowMs: 1_796_947_200_500,
  });

/** IAM user guide, "AWS global condition context keys". */
describe('a request says', () => {
  test.each<[string, string, string[] | undefined]>([
    [USER, 'aws:principalarn', [USER]],
    [SESSION, 'aws:principalarn', ['arn:aws:iam::111122223333:role/Deploy']],
    [USER, 'aws:principalaccount', ['111122223333']],
    [USER, 'aws:principaltype', ['User']],
    [SESSION, 'aws:principaltype', ['AssumedRole']],
    [ROOT, 'aws:principaltype', ['Account']],
    [USER, 'aws:username', ['alice']],
    [SESSION, 'aws:username', undefined],
    [ROOT, 'aws:username', undefined],
    [ROOT, 'aws:userid', ['111122223333']],
    [USER, 'aws:userid', undefined],
    [USER, 'aws:principaltag/team', ['post']],
    [USER, 'aws:principaltag/other', undefined],
    [USER, 'aws:requestedregion', ['eu-central-1']],
    [USER, 'aws:currenttime', ['2026-12-11T00:00:00.500Z']],
    [USER, 'aws:epochtime', ['1796947200']],
    [USER, 'aws:securetransport', undefined],
    [USER, 'aws:sourceip', undefined],
    [USER, 'aws:viaawsservice', ['false']],
    [USER, 'aws:calledvia', undefined],
    [USER, 'aws:unknown', undefined],
    [USER, 'kms:keyspec', undefined],
  ])('%s: %s is %j', (arn, key, expected) => {
    expect(contextOf(arn).get(key)).toEqual(expected);
  });

  test("a session's id, where its account knows it", () => {
    const id = 'AROAEXAMPLE:one';
    expect(contextOf(SESSION, undefined, id).get('aws:userid')).toEqual([id]);
  });

  const direct = { sourceIp: '203.0.113.7', isSecure: true, userAgent: 'aws-cli/2' };
  test.each<[string, RequestOrigin, string, string[] | undefined]>([
    ['directly', direct, 'aws:sourceip', ['203.0.113.7']],
    ['directly', direct, 'aws:securetransport', ['true']],
    ['directly', direct, 'aws:useragent', ['aws-cli/2']],
    ['directly', direct, 'aws:sourcevpc', undefined],
    ['in a VPC', { ...direct, sourceVpc: 'vpc-1' }, 'aws:sourcevpc', ['vpc-1']],
    ['in a VPC', { ...direct, sourceVpc: 'vpc-1' }, 'aws:sourceip', undefined],
    ['in a VPC', { ...direct, sourceVpc: 'vpc-1' }, 'aws:vpcsourceip', ['203.0.113.7']],
  ])('how it came, %s: %j has %s %j', (_, origin, key, expected) => {
    expect(contextOf(USER, origin).get(key)).toEqual(expected);
  });

  test('by which service it came', () => {
    const context = contextOf(USER, { ...direct, viaService: 's3.eu-central-1.amazonaws.com' });
    expect(context.get('aws:calledvia')).toEqual(['s3.amazonaws.com']);
    expect(context.get('aws:calledviafirst')).toEqual(['s3.amazonaws.com']);
    expect(context.get('aws:viaawsservice')).toEqual(['true']);
    // the address is the service's own
    expect(context.get('aws:sourceip')).toBeUndefined();
  });
});
