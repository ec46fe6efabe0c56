import { readFileSync } from 'node:fs';
import { KeyspanError } from '../../core/errors.js';
import { findHome, hsmAuditPath } from '../../core/home.js';
import { isHsmId } from '../../core/ids.js';
import { LIMITS } from '../../core/limits.js';
import {
  auditFile,
  formatAuditEntry,
  readAuditLine,
  type HsmAuditEntry,
} from '../../protocol/hsm-audit.js';
import type { SharedOptions } from '../global-options.js';
import { EXIT, note, print, printJson } from '../output.js';

/**
 * Prints an HSM's audit log, oldest entry first, from the files in the home: also while nothing
 * runs, and of HSMs that are gone.
 */
export function printHsmAudit(options: SharedOptions & { readonly id: string }): number {
  const { id } = options;
  if (!isHsmId(id)) throw new KeyspanError('KeyspanUsage', `${id} is no id of an HSM`);
  const path = hsmAuditPath(findHome(options.home), id);
  const { entries, damaged } = readAuditLog(path);
  if (options.json) printJson(entries);
  else if (entries.length > 0) print(entries.map(formatAuditEntry).join('\n\n'));
  if (damaged === 0) return EXIT.ok;
  note(`keyspan: ${damaged} ${damaged === 1 ? 'line' : 'lines'} cannot be read`);
  return EXIT.failed;
}

interface Read {
  readonly entries: readonly HsmAuditEntry[];
  readonly damaged: number;
}

/** @throws KeyspanError KeyspanUsage when there is no such log */
function readAuditLog(path: string): Read {
  // the newest first: a file that becomes an older one meanwhile is read twice, not missed
  const ages = Array.from({ length: LIMITS.hsm_audit_files_max }, (_, age) => age);
  const texts = ages.map((age) => readText(auditFile(path, age)));
  if (texts.every((text) => text === undefined)) {
    throw new KeyspanError('KeyspanUsage', `there is no audit log ${path}`);
  }
  const lines = new Set(texts.reverse().flatMap((text) => wholeLines(text ?? '')));
  const entries = [...lines].map(readAuditLine).filter((entry) => entry !== undefined);
  return { entries, damaged: lines.size - entries.length };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What stands behind the last newline is being written, or was cut off. */
const wholeLines = (text: string): string[] => text.split('\n').slice(0, -1);
