import { describe, expect, test } from 'vitest';
import { newGrantId, newKmsKeyId } from '../../src/core/ids.js';
import { GrantTokens } from '../../src/kms/grant-tokens.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';

const sealer = (fill: number): Sealer => new Sealer(new InstallationKey(Buffer.alloc(32, fill)));
const path = KEYSPACE.kmsGrant('111122223333', 'us-east-1', newKmsKeyId(), newGrantId());
const tokens = new GrantTokens(sealer(1));

test('a token names its grant, and is another each time', () => {
  const token = tokens.issue(path);
  expect(token).toMatch(/^[A-Za-z0-9+/]+=*$/);
  expect(tokens.issue(path)).not.toBe(token);
  expect(tokens.read(token)).toBe(path);
  expect(tokens.read(tokens.issue(path))).toBe(path);
  expect(new GrantTokens(sealer(1)).read(token)).toBe(path);
  expect(Buffer.from(token, 'base64').toString('latin1')).not.toContain('grant');
});

describe('is refused', () => {
  const token = tokens.issue(path);
  const bytes = Buffer.from(token, 'base64');
  const damaged = bytes.map((byte, index) => (index === 40 ? byte ^ 1 : byte));
  test.each<[string, string]>([
    ['what is no token', 'not-a-token'],
    ['nothing that is base64', '!'],
    ['a damaged one', Buffer.from(damaged).toString('base64')],
    ['one that was cut off', bytes.subarray(0, 60).toString('base64')],
    ["another installation's", new GrantTokens(sealer(2)).issue(path)],
    [
      'what was sealed for something else',
      Buffer.from(sealer(1).seal(Buffer.from(`\u0001${path}`), 'access-key/A')).toString('base64'),
    ],
    [
      'a version that is not known',
      Buffer.from(sealer(1).seal(Buffer.of(2, 1), 'kms/grant-token')).toString('base64'),
    ],
  ])('%s', (_, given) => {
    expect(() => tokens.read(given)).toThrow(
      expect.objectContaining({ code: 'InvalidGrantTokenException' }),
    );
  });
});
