import { expect, test } from 'vitest';
import { deadlineIn, hasPassed, pause, remainingMs, within } from '../../src/core/deadline.js';

const never = new Promise<never>(() => undefined);

test('what is done in time is given back, what fails fails', async () => {
  expect(await within(Promise.resolve(7), deadlineIn(60_000), 'x')).toBe(7);
  await expect(within(Promise.reject(new Error('no')), deadlineIn(60_000), 'x')).rejects.toThrow(
    'no',
  );
});

test('what is not done in time fails with a code', async () => {
  const late = within(never, deadlineIn(1), 'the thing');
  await expect(late).rejects.toMatchObject({
    code: 'KeyspanDeadlineExceeded',
    message: 'the thing: the deadline passed',
  });
  const past = within(never, deadlineIn(-1), 'x', 'VaultTimeout');
  await expect(past).rejects.toMatchObject({ code: 'VaultTimeout' });
});

test('a deadline passes', () => {
  expect(hasPassed(deadlineIn(60_000))).toBe(false);
  expect(hasPassed(deadlineIn(0))).toBe(true);
  expect(remainingMs(deadlineIn(60_000))).toBeGreaterThan(0);
});

test('a pause ends early when its signal aborts', async () => {
  const aborting = new AbortController();
  const waiting = pause(3_600_000, aborting.signal);
  aborting.abort();
  await waiting;
  await pause(3_600_000, aborting.signal);
  await pause(1);
});
