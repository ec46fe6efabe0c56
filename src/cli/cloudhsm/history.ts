import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Home } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';

/** What a line must not say to be remembered: whoever gives a password there does not want that. */
const SECRET = /--(?:change-)?password\b|\bpin\b/i;

const pathOf = (home: Home): string => join(home.root, 'cloudhsm-cli-history');

/** Lines of earlier sessions, the newest first; none where they cannot be read. */
export function readHistory(home: Home): string[] {
  try {
    const lines = readFileSync(pathOf(home), 'utf8').split('\n');
    return lines.filter((line) => line !== '').slice(0, LIMITS.cli_history_max_lines);
  } catch {
    return [];
  }
}

/**
 * Remembers lines, but for those with a password in them. Where that is not possible nothing is
 * lost but the convenience.
 * @param lines the newest first
 */
export function writeHistory(home: Home, lines: readonly string[]): void {
  const kept = lines.filter((line) => line.trim() !== '' && !SECRET.test(line));
  const text = kept.slice(0, LIMITS.cli_history_max_lines).map((line) => `${line}\n`);
  try {
    writeFileSync(pathOf(home), text.join(''), { mode: 0o600 });
  } catch {
    // said above
  }
}
