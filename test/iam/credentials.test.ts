import { describe, expect, test } from 'vitest';
import {
  decodeAccessKey,
  encodeAccessKey,
  isAccessKeyId,
  isSecretAccessKey,
  signingKey,
  type AccessKey,
} from '../../src/iam/credentials.js';
import { parsePrincipal } from '../../src/iam/principal.js';

const principal = parsePrincipal('arn:aws:iam::123456789012:root');
const key: AccessKey = {
  id: 'AKIDEXAMPLE',
  secret: Buffer.from('wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'),
  principal,
};

describe('a signing key', () => {
  test('is derived as in the example of the standard', () => {
    const scope = { date: '20150830', region: 'us-east-1', service: 'iam' };
    expect(Buffer.from(signingKey(key, scope)).toString('hex')).toBe(
      'c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9',
    );
  });

  test('is another for another day, region, service or secret', () => {
    const scope = { date: '20150830', region: 'us-east-1', service: 'iam' };
    const others = [
      signingKey(key, scope),
      signingKey(key, { ...scope, date: '20150831' }),
      signingKey(key, { ...scope, region: 'us-east-2' }),
      signingKey(key, { ...scope, service: 'kms' }),
      signingKey({ ...key, secret: Buffer.from('other') }, scope),
    ].map((one) => Buffer.from(one).toString('hex'));
    expect(new Set(others).size).toBe(others.length);
    for (let day = 0; day < 100; day += 1) signingKey(key, { ...scope, date: String(day) });
    expect(Buffer.from(signingKey(key, scope)).toString('hex')).toBe(others[0]);
  });
});

describe('a stored access key', () => {
  test('is read back', () => {
    const stored = { ...key, active: false, createdAt: 1_800_000_000 };
    const read = decodeAccessKey(key.id, encodeAccessKey(stored));
    expect({ ...read, secret: Buffer.from(read.secret) }).toEqual(stored);
  });

  test('of the first version is active', async () => {
    const { encodeCborItem } = await import('../../src/core/cbor.js');
    const first = { v: 1, principal: principal.arn, secret: Buffer.from('x') };
    expect(decodeAccessKey('AKID', encodeCborItem(first))).toMatchObject({ active: true });
  });

  test.each([
    ['another version', { v: 3, principal: principal.arn, secret: Buffer.from('x') }],
    ['no principal', { v: 1, principal: 'root', secret: Buffer.from('x') }],
    ['no secret', { v: 1, principal: principal.arn }],
  ])('is refused with %s', async (_, members) => {
    const { encodeCborItem } = await import('../../src/core/cbor.js');
    expect(() => decodeAccessKey('AKID', encodeCborItem(members))).toThrow(
      expect.objectContaining({ code: 'StoreCorrupt' }),
    );
  });
});

test('what may be an access key', () => {
  expect(['test', 'AKIAIOSFODNN7EXAMPLE', 'a_b'].every(isAccessKeyId)).toBe(true);
  expect(['', 'ab', 'a b c', 'a/bc', 'x'.repeat(129)].some(isAccessKeyId)).toBe(false);
  expect(['test', 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'].every(isSecretAccessKey)).toBe(true);
  expect(['', 'a b', 'ä', 'x'.repeat(129)].some(isSecretAccessKey)).toBe(false);
});
