import { expect, test } from 'vitest';
import { Vigil } from '../../src/core/vigil.js';

/** Turns of the event loop in so many milliseconds in which nobody else has anything to do. */
async function turnsIn(ms: number, each: () => void = () => undefined): Promise<number> {
  const end = performance.now() + ms;
  let turns = 0;
  while (performance.now() < end) {
    each();
    await new Promise<void>((resolve) => setTimeout(resolve, 0));
    turns += 1;
  }
  return turns;
}

const immediates = (): number =>
  process.getActiveResourcesInfo().filter((name) => name === 'Immediate').length;
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('who asks one thing after the other keeps it awake, and nobody else does', async () => {
  const vigil = new Vigil();
  vigil.expect();
  expect(immediates()).toBe(0);
  // what comes soon is worth staying awake for
  for (let i = 0; i < 5; i += 1) {
    vigil.came();
    vigil.expect();
  }
  expect(immediates()).toBe(1);
  await turn();
  vigil.forget();
  await turn();
  await turn();
  expect(immediates()).toBe(0);
});

test('what is waited for in vain ends its waiting, and in the end its hope', async () => {
  const vigil = new Vigil();
  for (let i = 0; i < 16; i += 1) {
    vigil.expect();
    vigil.came();
  }
  let nights = 0;
  for (let i = 0; i < 64; i += 1) {
    vigil.expect();
    if (immediates() > 0) nights += 1;
    await turnsIn(2);
    expect(immediates()).toBe(0);
  }
  expect(nights).toBeGreaterThan(0);
  expect(nights).toBeLessThan(64);
});
