import { expect, test } from 'vitest';
import { ServiceError } from '../../src/client/service-error.js';
import { describeError, exitCodeOf, table } from '../../src/cli/output.js';
import { KeyspanError } from '../../src/core/errors.js';

const system = (code: string): Error => Object.assign(new Error(`${code}: x`), { code });

test.each([
  [new ServiceError('NotFoundException', ''), 254],
  [new KeyspanError('ValidationException'), 254],
  [new KeyspanError('KeyspanUsage'), 252],
  [system('ENOENT'), 252],
  [new KeyspanError('KeyspanConnection'), 255],
  [new KeyspanError('KeyspanNotRunning'), 255],
  [new KeyspanError('KeyspanDeadlineExceeded'), 255],
  [new KeyspanError('KeyspanFileFormat'), 1],
  [system('ENOSPC'), 1],
  [new TypeError('a mistake'), 1],
])('%s exits with %i', (error, code) => expect(exitCodeOf(error)).toBe(code));

test('errors are described by their codes', () => {
  const described = (error: unknown): string => describeError(error).error.code;
  expect(described(new ServiceError('DisabledException', ''))).toBe('DisabledException');
  expect(described(new KeyspanError('KeyspanUsage'))).toBe('KeyspanUsage');
  expect(described(system('ENOSPC'))).toBe('ENOSPC');
  expect(described('text')).toBe('InternalFailure');
});

test('a table has columns of equal width', () => {
  expect(table(['A', 'LONG'], [['wide', 'x']])).toBe('A     LONG\nwide  x');
});
