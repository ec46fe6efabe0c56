import { monotonic } from '../core/clock.js';

const WIDTH = 30;
const REDRAW_MS = 100;

/** Passes a stream on and, on a terminal, draws on standard error how far it has come. */
export async function* withProgress(
  source: AsyncIterable<Uint8Array>,
  totalBytes: number | undefined,
): AsyncGenerator<Uint8Array> {
  if (!process.stderr.isTTY) {
    yield* source;
    return;
  }
  const begun = monotonic();
  let drawn = begun;
  let bytes = 0;
  try {
    for await (const chunk of source) {
      yield chunk;
      bytes += chunk.length;
      if (monotonic() - drawn < REDRAW_MS) continue;
      drawn = monotonic();
      process.stderr.write(`\r${progressBar(bytes, totalBytes, drawn - begun)}`);
    }
  } finally {
    // nothing was drawn for what went quickly
    if (drawn > begun) process.stderr.write('\r\u001b[K');
  }
}

/** One line: a bar where the length is known, the amount and the pace. */
export function progressBar(bytes: number, total: number | undefined, ms: number): string {
  const pace = `${mebibytes(bytes)} MiB, ${mebibytes((bytes / Math.max(ms, 1)) * 1000)} MiB/s`;
  if (total === undefined || total === 0) return pace;
  const share = Math.min(1, bytes / total);
  const bar = '#'.repeat(Math.floor(share * WIDTH)).padEnd(WIDTH, '.');
  return `[${bar}] ${String(Math.floor(share * 100)).padStart(3)} %  ${pace}`;
}

const mebibytes = (bytes: number): string => (bytes / (1 << 20)).toFixed(1);
