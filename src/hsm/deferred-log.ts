import { openSync } from 'node:fs';
import type { Logger } from '../core/log.js';

/** What an HSM process writes to its log. */
export type HsmLog = Record<
  'debug' | 'warn' | 'error' | 'fatal',
  (fields: object, text: string) => void
>;

/**
 * A log whose library is loaded with the first line: most starts write none, and none waits for
 * it.
 * @param members what every line says
 */
export function deferredLog(path: string, members: object = {}): HsmLog {
  let opening: Promise<Logger> | undefined;
  const open = async (): Promise<Logger> => {
    const { openLog } = await import('../core/log.js');
    return openLog({ name: 'hsm', fd: openSync(path, 'a', 0o600) }).child(members);
  };
  const at = (level: keyof HsmLog) => (fields: object, text: string) => {
    opening ??= open();
    opening.then((log) => log[level](fields, text)).catch(() => undefined);
  };
  return { debug: at('debug'), warn: at('warn'), error: at('error'), fatal: at('fatal') };
}
