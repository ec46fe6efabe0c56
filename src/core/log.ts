import { pino, type Logger } from 'pino';

export type { Logger } from 'pino';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/**
 * A structured log (one JSON object a line) on a file descriptor. Never give it key material,
 * passwords, PINs or plaintext;
 * the paths below are censored as a second line of defence.
 */
export function openLog(options: { name: string; level?: string; fd?: number }): Logger {
  const level = options.level ?? process.env['KEYSPAN_LOG_LEVEL'] ?? 'info';
  return pino(
    {
      name: options.name,
      level: LEVELS.includes(level) ? level : 'info',
      redact: ['password', 'pin', 'plaintext', '*.password', '*.pin', '*.plaintext'],
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    pino.destination({ dest: options.fd ?? 2, sync: true }),
  );
}

/** A log that writes nothing. */
export const silentLog = (): Logger => pino({ level: 'silent' });
