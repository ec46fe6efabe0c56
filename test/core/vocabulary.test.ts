import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { assert, unreachable } from '../../src/core/assert.js';
import { joinParts } from '../../src/core/commit.js';
import { entryPath, packageFile } from '../../src/core/entry.js';
import { ERRORS, isErrorCode, isKeyspanError, KeyspanError } from '../../src/core/errors.js';
import { findHome } from '../../src/core/home.js';
import * as ids from '../../src/core/ids.js';
import { silentLog } from '../../src/core/log.js';

afterEach(() => vi.unstubAllEnvs());

test('each new id is one of its kind, and none twice', () => {
  const kinds = [
    [ids.newClusterId, ids.isClusterId],
    [ids.newHsmId, ids.isHsmId],
    [ids.newHsmKeyId, ids.isHsmKeyId],
    [ids.newKmsKeyId, ids.isKmsKeyId],
    [ids.newMaterialId, ids.isMaterialId],
    [ids.newBootId, ids.isBootId],
    [ids.newMaskingKeyId, ids.isMaskingKeyId],
  ] as const;
  for (const [make, is] of kinds) {
    const made = Array.from({ length: 50 }, (): string => make());
    expect(made.every((id) => is(id))).toBe(true);
    expect(new Set(made).size).toBe(50);
    expect(is('')).toBe(false);
    expect(is(`${made[0]}\n`)).toBe(false);
  }
  expect(ids.newEniId()).toMatch(/^eni-[0-9a-f]{17}$/);
  expect(ids.isKmsKeyId(`mrk-${'0'.repeat(32)}`)).toBe(true);
});

test('errors have a code, a sentence and a private cause', () => {
  const cause = new Error('secret');
  const error = new KeyspanError('StoreInUse', undefined, { cause });
  expect(error).toMatchObject({ code: 'StoreInUse', message: ERRORS.StoreInUse, cause });
  expect(isKeyspanError(error, 'StoreInUse')).toBe(true);
  expect(isKeyspanError(error, 'StoreClosed')).toBe(false);
  expect(isErrorCode('toString')).toBe(false);
});

test('a broken invariant throws', () => {
  expect(() => assert(0 === Number('1'), 'sums')).toThrow('sums');
  expect(() => unreachable('x' as never)).toThrow('unreachable: x');
  assert(true, 'never');
});

test('parts of a commit join', () => {
  const part = (key: string) => ({
    compares: [{ key, modRevision: null }],
    writes: [{ op: 'delete' as const, key }],
  });
  const joined = joinParts(part('a'), part('b'));
  expect(joined.compares.map(({ key }) => key)).toEqual(['a', 'b']);
  expect(joined.writes.map(({ key }) => key)).toEqual(['a', 'b']);
});

test('a home is the option, else the variable, else the usual place', () => {
  vi.stubEnv('KEYSPAN_HOME', '/var/named');
  expect(findHome('/var/option').root).toBe('/var/option');
  expect(findHome().root).toBe('/var/named');
  vi.stubEnv('KEYSPAN_HOME', undefined);
  vi.stubEnv('HOME', '/var/somebody');
  expect(findHome().root).toBe('/var/somebody/.keyspan');
});

test("a socket's path is short, however long the home's is, and its own", () => {
  vi.stubEnv('XDG_RUNTIME_DIR', `/${'d'.repeat(90)}`);
  const homes = [`/${'a'.repeat(200)}`, `/${'a'.repeat(201)}`].map((root) => findHome(root));
  for (const { adminSocket } of homes) expect(adminSocket.length).toBeLessThan(90);
  expect(homes[0]?.adminSocket).not.toBe(homes[1]?.adminSocket);
});

test('programs are the compiled ones, also for callers that are not', () => {
  expect(entryPath('file:///p/src/a/b.ts', './c.js')).toBe('/p/dist/a/c.js');
  expect(entryPath('file:///p/dist/a/b.js', '../d/c.js')).toBe('/p/dist/d/c.js');
  expect(packageFile('package.json')).toBe(join(process.cwd(), 'package.json'));
});

test('a silent log is silent', () => expect(silentLog().isLevelEnabled('fatal')).toBe(false));
