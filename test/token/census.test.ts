import { mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { censusOf, hasTornFiles } from '../../src/token/census.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

let directory: string;
const file = (name: string): string => join(directory, 'tokens', 'one', name);
beforeEach(() => {
  directory = temporaryDirectory();
  mkdirSync(join(directory, 'tokens', 'one'), { recursive: true });
  for (const name of ['a.object', 'b.object', 'token.object', 'a.lock']) {
    writeFileSync(file(name), `content of ${name}`);
  }
});

test('a census stays the same while no object file is touched', () => {
  const census = censusOf(directory);
  readFileSync(file('a.object'));
  writeFileSync(file('token.object'), 'logins are counted here');
  writeFileSync(file('a.lock'), '');
  writeFileSync(file('generation'), '1');
  expect(censusOf(directory)).toBe(census);
  expect(censusOf(temporaryDirectory())).not.toBe(census);
});

test.each<[string, () => void]>([
  ['cut', () => truncateSync(file('a.object'), 3)],
  ['deleted', () => rmSync(file('b.object'))],
  ['added', () => writeFileSync(file('c.object'), '')],
  [
    'replaced by its like',
    () => {
      writeFileSync(file('x'), readFileSync(file('a.object')));
      renameSync(file('x'), file('a.object'));
    },
  ],
  ['renamed', () => renameSync(file('a.object'), file('d.object'))],
])('another one when a file is %s', (_, touch) => {
  const census = censusOf(directory);
  touch();
  expect(censusOf(directory)).not.toBe(census);
});

test('torn files are looked for among those that changed since', () => {
  expect(hasTornFiles(directory, Date.now() - 60_000)).toBe(true);
  expect(hasTornFiles(directory, Date.now() + 60_000)).toBe(false);
});
