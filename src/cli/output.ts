import { isErrorCode, isKeyspanError } from '../core/errors.js';
import { ServiceError } from '../client/service-error.js';

/** Exit codes, as the AWS CLI has them. */
export const EXIT = {
  ok: 0,
  /** what cannot be done here: a damaged file, a daemon that did not start */
  failed: 1,
  /** `status` of what is not running */
  notRunning: 3,
  usage: 252,
  /** the service said no */
  refused: 254,
  /** the service could not be reached, or did not answer in time */
  noConnection: 255,
} as const;

const UNREACHED = new Set(['KeyspanConnection', 'KeyspanNotRunning', 'KeyspanDeadlineExceeded']);
const ABSENT = new Set(['ENOENT', 'EISDIR', 'EACCES', 'ENOTDIR', 'EPERM']);

/** The exit code that tells a script what kind of failure this was. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof ServiceError) return EXIT.refused;
  if (isKeyspanError(error)) {
    if (error.code === 'KeyspanUsage') return EXIT.usage;
    if (UNREACHED.has(error.code)) return EXIT.noConnection;
    // the client refuses in the service's words what the service would refuse
    return error.code.endsWith('Exception') ? EXIT.refused : EXIT.failed;
  }
  return ABSENT.has(systemCode(error) ?? '') ? EXIT.usage : EXIT.failed;
}

/** `{"error":{"code","message"}}` of anything that was thrown; messages hold no secrets. */
export function describeError(error: unknown): { error: { code: string; message: string } } {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ServiceError || isKeyspanError(error)) {
    return { error: { code: error.code, message } };
  }
  const system = systemCode(error);
  if (system !== undefined && !isErrorCode(system)) {
    return { error: { code: ABSENT.has(system) ? 'KeyspanUsage' : system, message } };
  }
  return { error: { code: 'InternalFailure', message } };
}

function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** To people and logs: never what a script reads. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Columns of equal width, two spaces apart, with a head line. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return all.map((row) => line(row).trimEnd()).join('\n');
}
