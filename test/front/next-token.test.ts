import { expect, test } from 'vitest';
import { formatToken, readToken } from '../../src/front/next-token.js';

test('a token is read back, and no other text is one', () => {
  expect(readToken(formatToken('cluster-igklspoyj5v'))).toBe('cluster-igklspoyj5v');
  expect(formatToken('cluster-igklspoyj5v').length).toBeLessThan(257);
  expect(readToken(undefined)).toBeUndefined();
  for (const token of ['', 'x', '!', Buffer.from('2:x').toString('base64url')]) {
    expect(() => readToken(token)).toThrow(
      expect.objectContaining({
        code: 'CloudHsmInvalidRequestException',
        message: 'The NextToken is not valid.',
      }),
    );
  }
});
