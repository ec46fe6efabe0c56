import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { tornReason } from './object-file.js';
import { isObjectFile, tokenFolders } from './softhsm.js';

function* objectFiles(directory: string): Generator<[path: string, stats: Stats]> {
  for (const folder of tokenFolders(directory)) {
    for (const name of readdirSync(folder).filter(isObjectFile).sort()) {
      const path = join(folder, name);
      yield [path, statSync(path)];
    }
  }
}

/**
 * Names a state of the files of a token's objects: two that are equal were taken of files that
 * nobody touched in between, since the time of a file's last change cannot be set. It costs a
 * tenth of reading them.
 */
export function censusOf(directory: string): string {
  const lines: string[] = [];
  for (const [path, { ino, size, mtimeMs, ctimeMs }] of objectFiles(directory)) {
    lines.push([path, ino, size, mtimeMs, ctimeMs].join('\0'));
  }
  return createHash('sha256').update(lines.join('\n')).digest('hex');
}

/** Whether an object file that changed at `sinceMs` (civil time) or later is torn. */
export function hasTornFiles(directory: string, sinceMs: number): boolean {
  for (const [path, { ctimeMs }] of objectFiles(directory)) {
    if (ctimeMs >= sinceMs && tornReason(readFileSync(path)) !== undefined) return true;
  }
  return false;
}
