import { monotonic } from './clock.js';
import { KeyspanError, type ErrorCode } from './errors.js';

/**
 * A point of monotonic time in milliseconds. A plain number, so that a request in flight costs
 * no timer.
 */
export type Deadline = number;

export const deadlineIn = (ms: number): Deadline => monotonic() + ms;
export const remainingMs = (deadline: Deadline): number => deadline - monotonic();
export const hasPassed = (deadline: Deadline): boolean => monotonic() >= deadline;

/**
 * Waits for `promise` at most until `deadline`. The work behind it is not stopped; give it the
 * deadline too.
 * @throws KeyspanError with `code` (KeyspanDeadlineExceeded unless given)
 */
export async function within<T>(
  promise: Promise<T>,
  deadline: Deadline,
  what: string,
  code: ErrorCode = 'KeyspanDeadlineExceeded',
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const expiry = new Promise<never>((_, reject) => {
    const expire = (): void => reject(new KeyspanError(code, `${what}: the deadline passed`));
    timer = setTimeout(expire, Math.max(0, remainingMs(deadline)));
  });
  try {
    return await Promise.race([promise, expiry]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits `ms` milliseconds, or less when `signal` aborts; it never rejects. */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
  });
}
