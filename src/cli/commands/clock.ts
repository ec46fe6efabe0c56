import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { LIMITS } from '../../core/limits.js';
import type { ClockStatus } from '../../protocol/admin.js';
import { callAdmin } from '../admin-client.js';
import type { SharedOptions } from '../global-options.js';
import { EXIT, print, printJson } from '../output.js';

export async function showClock(options: SharedOptions): Promise<number> {
  return show(options, await callAdmin(findHome(options.home), 'ClockShow'));
}

/** Moves civil time on. @param by a duration, as `30d`, `12h` or `1w2d` */
export async function advanceClock(
  options: SharedOptions & { readonly by: string; readonly force?: boolean },
): Promise<number> {
  const params = { byMs: durationMs(options.by), force: options.force ?? false };
  return show(options, await callAdmin(findHome(options.home), 'ClockAdvance', params));
}

export async function resetClock(
  options: SharedOptions & { readonly force?: boolean },
): Promise<number> {
  const params = { force: options.force ?? false };
  return show(options, await callAdmin(findHome(options.home), 'ClockReset', params));
}

function show({ json }: SharedOptions, status: ClockStatus): number {
  if (json) printJson(status);
  else print(clockText(status));
  return EXIT.ok;
}

function clockText({ civil, real, offsetMs }: ClockStatus): string {
  if (offsetMs === 0) return `${civil}, as the machine's clock`;
  const where = offsetMs > 0 ? 'ahead of' : 'behind';
  return `${civil}, ${durationText(Math.abs(offsetMs))} ${where} the machine's clock (${real})`;
}

/** the largest first */
const UNITS_MS = { w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 } as const;
type Unit = keyof typeof UNITS_MS;
const DURATION = /^-?(?:\d{1,9}[wdhms])+$/;

/**
 * Reads weeks, days, hours, minutes and seconds, each a number and its letter; with `-` they go
 * back.
 * @throws KeyspanError KeyspanUsage
 */
export function durationMs(text: string): number {
  if (!DURATION.test(text)) {
    const sentence = `${text} is no duration: write 30d, 12h, 2w, or several of w, d, h, m and s`;
    throw new KeyspanError('KeyspanUsage', sentence);
  }
  let ms = 0;
  for (const [, count = '', unit] of text.matchAll(/(\d+)([wdhms])/g)) {
    ms += Number(count) * UNITS_MS[unit as Unit];
  }
  if (ms > LIMITS.civil_offset_max_ms) {
    throw new KeyspanError('KeyspanUsage', `${text} is more than 50 years`);
  }
  return text.startsWith('-') ? -ms : ms;
}

/** As `durationMs` reads it, without weeks and fractions of a second. */
export function durationText(ms: number): string {
  let rest = Math.round(ms / 1_000) * 1_000;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const count = Math.floor(rest / UNITS_MS[unit]);
    rest -= count * UNITS_MS[unit];
    if (count > 0) text += `${count}${unit}`;
  }
  return text === '' ? '0s' : text;
}
