import { describe, expect, test } from 'vitest';
import type { AccessKey } from '../../src/iam/credentials.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import { verifySignature, type Verification } from '../../src/iam/sigv4.js';
import { presigned, type ToSign, received, type SentRequest } from '../support/sigv4-signer.js';

const KEY: AccessKey = {
  id: 'AKIDEXAMPLE',
  secret: Buffer.from('secret'),
  principal: parsePrincipal('arn:aws:iam::123456789012:root'),
};
const NOW = Date.parse('2026-01-02T03:04:05Z');
const options = {
  accessKeyId: KEY.id,
  secretAccessKey: 'secret',
  service: 'sts',
  date: new Date(NOW),
};
const GET: ToSign = {
  method: 'GET',
  path: '/',
  query: { Action: 'GetCallerIdentity', Version: '2011-06-15' },
  headers: { host: 'h' },
  body: '',
};

function outcome(request: SentRequest, changes: Partial<Verification> = {}): string {
  const find = (id: string): AccessKey | undefined => (id === KEY.id ? KEY : undefined);
  try {
    verifySignature(received(request), { keys: { find }, service: 'sts', nowMs: NOW, ...changes });
    return 'accepted';
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
}

const edited = (request: SentRequest, from: RegExp | string, to: string): SentRequest => {
  const target = request.target.replace(from, to);
  expect(target).not.toBe(request.target);
  return { ...request, target };
};

describe('a signature in the query', () => {
  test('is taken, of a GET and of a POST with its body', async () => {
    expect(outcome(await presigned(GET, options))).toBe('accepted');
    const post = await presigned({ ...GET, method: 'POST', body: '{}' }, options);
    expect(outcome(post)).toBe('accepted');
    expect(outcome({ ...post, body: Buffer.from('{ }') })).toMatch(/^InvalidSignature/);
  });

  test('covers the query, in any order', async () => {
    const request = await presigned(GET, options);
    expect(outcome(edited(request, 'GetCallerIdentity', 'GetSessionToken'))).toMatch(
      /^InvalidSignature/,
    );
    expect(outcome({ ...request, target: `${request.target}&a=b` })).toMatch(/^InvalidSignature/);
    const [path = '', query = ''] = request.target.split('?');
    const turned = query.split('&').toReversed().join('&');
    expect(outcome({ ...request, target: `${path}?${turned}` })).toBe('accepted');
  });

  test('brings the session token along, under the signature', async () => {
    const request = await presigned(GET, { ...options, sessionToken: 'to/ken+' });
    const find = (_id: string, token?: string) => (token === 'to/ken+' ? KEY : undefined);
    expect(outcome(request, { keys: { find } })).toBe('accepted');
    const other = edited(request, 'to%2Fken%2B', 'other');
    expect(outcome(other, { keys: { find: () => KEY } })).toMatch(/^InvalidSignature/);
  });

  test('is good for as long as it says', async () => {
    const request = await presigned(GET, { ...options, expiresIn: 3_600 });
    expect(outcome(request, { nowMs: NOW + 3_600_000 })).toBe('accepted');
    expect(outcome(request, { nowMs: NOW + 3_601_000 })).toBe(
      'InvalidSignatureException: Signature expired: 20260102T030405Z is now earlier than ' +
        '20260102T030406Z (20260102T040406Z - 3600 sec.)',
    );
    expect(outcome(request, { nowMs: NOW - 301_000 })).toMatch(/not yet current/);
  });

  test.each([
    [/X-Amz-Expires=\d+/, 'X-Amz-Expires=604801', /must be less than a week/],
    [/X-Amz-Expires=\d+/, 'X-Amz-Expires=-1', /must be non-negative/],
    [/X-Amz-Expires=\d+/, 'X-Amz-Expires=x', /should be a number/],
    [/X-Amz-Algorithm=[^&]+/, 'X-Amz-Algorithm=x', /Unsupported AWS 'algorithm': 'x'/],
    [/X-Amz-Date=[^&]+&?/, '', /must include 'X-Amz-Date'/],
    [/X-Amz-Date=[^&]+/, 'X-Amz-Date=now', /ISO-8601 'basic format'/],
    [/X-Amz-Credential=[^&]+/, 'X-Amz-Credential=x', /exactly 5 slash-delimited elements/],
    [/$/, '&X-Amz-Date=20260102T030405Z', /X-Amz-Date must be there once/],
  ])('with %s as %s is incomplete', async (from, to, why) => {
    const refused = outcome(edited(await presigned(GET, options), from, to));
    expect(refused).toMatch(/^IncompleteSignatureException/);
    expect(refused).toMatch(why);
  });

  test('leaves no body unsigned that has anything in it', async () => {
    const headers = { host: 'h', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' };
    const request = await presigned({ ...GET, method: 'POST', headers }, options);
    expect(outcome(request)).toBe('accepted');
    expect(outcome({ ...request, body: Buffer.from('x') })).toMatch(/^InvalidSignature/);
  });
});

describe('where any access key is taken', () => {
  const stranger = (id: string): AccessKey => ({ ...KEY, id });

  test('one that is not known speaks for somebody, whatever its signature', async () => {
    const request = await presigned(GET, { ...options, accessKeyId: 'unknown' });
    const keys = { find: () => undefined, stranger };
    const far = NOW + 1e9;
    const { key } = verifySignature(received(request), { keys, service: 'sts', nowMs: far });
    expect(key.id).toBe('unknown');
  });

  test('one that is known is checked', async () => {
    const request = await presigned(GET, { ...options, secretAccessKey: 'wrong' });
    expect(outcome(request, { keys: { find: () => KEY, stranger } })).toMatch(/^InvalidSignature/);
  });
});
