import { expect, test } from 'vitest';
import { TaskQueue } from '../../src/core/queue.js';

test('so many run, so many wait in turn, the rest is refused at once', async () => {
  const queue = new TaskQueue({ concurrent: 2, waiting: 2, refusal: 'VaultBusy' });
  const finish: (() => void)[] = [];
  const started: number[] = [];
  const task = (n: number) => async (): Promise<number> => {
    started.push(n);
    await new Promise<void>((resolve) => finish.push(resolve));
    return n;
  };
  const runs = [1, 2, 3, 4].map((n) => queue.run(task(n)));
  await expect(queue.run(task(5))).rejects.toMatchObject({ code: 'VaultBusy' });
  expect(started).toEqual([1, 2]);
  for (let done = 0; done < 4; done += 1) {
    finish[done]?.();
    await runs[done];
  }
  expect(started).toEqual([1, 2, 3, 4]);
  expect(await Promise.all(runs)).toEqual([1, 2, 3, 4]);
  expect(queue.depth).toBe(0);
});

test('a task that fails makes room', async () => {
  const queue = new TaskQueue({ concurrent: 1, waiting: 0, refusal: 'VaultBusy' });
  await expect(queue.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await queue.run(() => Promise.resolve('yes'))).toBe('yes');
});
