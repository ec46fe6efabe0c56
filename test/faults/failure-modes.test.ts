import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';

const page = readFileSync(packageFile('docs/failure-modes.md'), 'utf8');
/** rows of tables, without the line under their heads */
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| fault'));
const SHOWN_BY = /\| `(?<path>test\/[\w./-]+\.test\.ts)`: (?<title>[^|]+) \|$/;

test('the page has rows', () => expect(rows.length).toBeGreaterThan(25));

test.each(rows)('%s', (row) => {
  const { path = '', title = '' } = SHOWN_BY.exec(row)?.groups ?? {};
  expect(existsSync(packageFile(path)), `a test file ${path}`).toBe(true);
  expect(readFileSync(packageFile(path), 'utf8')).toMatch(titled(title));
});

/** The title as it stands in `test('…'` or `test.each(…)('…'`. */
function titled(title: string): RegExp {
  const text = title.replaceAll(/[$()*+.?[\\\]^{|}]/g, String.raw`\$&`);
  return new RegExp(`['\`} ]${text}['\`]`);
}

test('every file of faults is named by the page', () => {
  const named = rows.map((row) => SHOWN_BY.exec(row)?.groups?.['path']);
  const here = readdirSync(packageFile('test/faults')).filter((name) => name.endsWith('.test.ts'));
  for (const name of here) {
    if (name !== 'failure-modes.test.ts') expect(named).toContain(`test/faults/${name}`);
  }
});
