import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { deferredLog } from '../../src/hsm/deferred-log.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

test('a log begins with its first line, and keeps their order', async () => {
  const path = join(temporaryDirectory(), 'log');
  const log = deferredLog(path, { hsm: 'hsm-aaaaaaaaaaa' });
  expect(existsSync(path)).toBe(false);
  log.warn({ at: 1 }, 'one');
  log.error({ at: 2, err: new Error('reason') }, 'two');
  log.fatal({ password: 'secret' }, 'three');
  const read = (): string[] =>
    existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
  await expect.poll(() => read().length, { timeout: 20_000 }).toBe(3);
  const lines = read().map((line) => JSON.parse(line) as { msg: string });
  expect(lines.map(({ msg }) => msg)).toEqual(['one', 'two', 'three']);
  expect(lines[1]).toMatchObject({ hsm: 'hsm-aaaaaaaaaaa', err: { message: 'reason' } });
  expect(read().join('')).not.toContain('secret');
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('a log that cannot be opened stops nobody', async () => {
  const log = deferredLog(join(temporaryDirectory(), 'no', 'such', 'log'), {
    hsm: 'hsm-aaaaaaaaaaa',
  });
  log.warn({}, 'lost');
  await import('../../src/core/log.js');
  await new Promise((resolve) => setImmediate(resolve));
  expect(() => log.warn({}, 'lost too')).not.toThrow();
});
