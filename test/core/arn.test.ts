import { expect, test } from 'vitest';
import {
  aliasArn,
  formatArn,
  isAccount,
  isRegion,
  keyArn,
  parseArn,
  rootArn,
} from '../../src/core/arn.js';

test('an ARN is read and written back', () => {
  for (const text of [
    rootArn('123456789012'),
    keyArn('us-east-1', '123456789012', 'mrk-0'),
    aliasArn('eu-west-1', '123456789012', 'alias/a:b'),
    'arn:aws-us-gov:s3:::bucket/key',
  ]) {
    const arn = parseArn(text);
    expect(arn && formatArn({ ...arn, account: arn.account ?? '' })).toBe(text);
  }
  expect(parseArn('arn:aws:kms:r-1:123456789012:alias/a:b')?.resource).toBe('alias/a:b');
});

test.each(['', 'arn', 'arn:aws:kms', 'arn:aws:kms:us-east-1:12:key/x', 'key/arn:aws:kms:a:b:c'])(
  '%j is no ARN',
  (text) => expect(parseArn(text)).toBeUndefined(),
);

test('accounts and regions', () => {
  expect([isAccount('000000000000'), isAccount('12345678901'), isAccount('12345678901a')]).toEqual([
    true,
    false,
    false,
  ]);
  for (const region of ['us-east-1', 'us-gov-west-1', 'eusc-de-east-1']) {
    expect(isRegion(region)).toBe(true);
  }
  for (const region of ['us-east', 'us', 'US-EAST-1', 'us-east-1a']) {
    expect(isRegion(region)).toBe(false);
  }
});
