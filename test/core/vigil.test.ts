import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { Crowd, Vigil } from '../../src/core/vigil.js';

/** The clock that a vigil reads, and what it asked to run in the next turn. */
let now = 0;
let turns: (() => void)[] = [];
beforeEach(() => {
  now = 1_000;
  turns = [];
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  vi.spyOn(globalThis, 'setImmediate').mockImplementation(((turn: () => void) => {
    turns.push(turn);
    return undefined;
  }) as never);
  return () => vi.restoreAllMocks();
});

const isAwake = (): boolean => turns.length > 0;

/** The turns of an event loop with nothing else to do. */
function pass(ms: number, stepMs = 0.05): void {
  for (let spent = 0; spent < ms; spent += stepMs) {
    now += stepMs;
    for (const turn of turns.splice(0)) turn();
  }
}

/** One asks, and asks again as soon as it is answered. */
function converse(vigil: Vigil, times: number, afterMs = 0.1): void {
  for (let i = 0; i < times; i += 1) {
    vigil.expect();
    pass(afterMs);
    vigil.came();
    pass(0.05);
  }
}

describe('a vigil', () => {
  test('sleeps until it knows that somebody asks one thing after the other', () => {
    const vigil = new Vigil();
    vigil.expect();
    expect(isAwake()).toBe(false);
    now += 0.1;
    vigil.came();
    vigil.expect();
    expect(isAwake()).toBe(true);
  });

  test('sleeps where messages take their time', () => {
    const vigil = new Vigil();
    for (let i = 0; i < 50; i += 1) {
      vigil.expect();
      expect(isAwake()).toBe(false);
      pass(2);
      vigil.came();
    }
  });

  test('ends its waiting, and what comes late keeps it awake no more', () => {
    const vigil = new Vigil();
    converse(vigil, 100);
    let waits = 0;
    for (; waits < 100; waits += 1) {
      vigil.expect();
      if (!isAwake()) break;
      pass(0.6);
      expect(isAwake()).toBe(false);
      pass(5);
      vigil.came();
    }
    expect(waits).toBe(1);
  });

  test('goes on over what comes while it is awake, and rests when nothing is expected', () => {
    const vigil = new Vigil();
    converse(vigil, 3);
    vigil.expect();
    pass(0.2);
    vigil.came();
    vigil.expect();
    pass(0.2);
    expect(turns).toHaveLength(1);
    vigil.came();
    pass(0.1);
    expect(isAwake()).toBe(false);
  });

  test('does not wait for one of many', () => {
    const vigil = new Vigil();
    converse(vigil, 10);
    vigil.expect();
    vigil.forget();
    pass(0.1);
    expect(isAwake()).toBe(false);
    // what comes then says nothing of how soon one comes
    for (let i = 0; i < 50; i += 1) vigil.came();
    expect(isAwake()).toBe(false);
  });

  test('learns nothing from many at once', () => {
    const vigil = new Vigil();
    for (let i = 0; i < 50; i += 1) {
      vigil.expect();
      vigil.forget();
      now += 0.1;
      vigil.came();
    }
    vigil.expect();
    expect(isAwake()).toBe(false);
  });

  test('gives the core to others who want it', () => {
    const vigil = new Vigil();
    converse(vigil, 20);
    // somebody else had the core, three times
    for (let i = 0; i < 3; i += 1) {
      vigil.expect();
      expect(isAwake()).toBe(true);
      now += 0.2;
      for (const turn of turns.splice(0)) turn();
      expect(isAwake()).toBe(false);
      vigil.came();
    }
    vigil.expect();
    expect(isAwake()).toBe(false);
    now += 0.1;
    vigil.came();
    now += 50;
    vigil.expect();
    expect(isAwake()).toBe(true);
  });
});

describe('a crowd', () => {
  test('is there while more than one waits, and for a while after', () => {
    const crowd = new Crowd();
    crowd.enters();
    expect(crowd.isThere()).toBe(false);
    crowd.enters();
    expect(crowd.isThere()).toBe(true);
    crowd.leaves();
    now += 10;
    expect(crowd.isThere()).toBe(true);
    now += 50;
    expect(crowd.isThere()).toBe(false);
  });

  test('is none of those who come one after the other', () => {
    const crowd = new Crowd();
    for (let i = 0; i < 10; i += 1) {
      crowd.enters();
      expect(crowd.isThere()).toBe(false);
      crowd.leaves();
    }
  });
});

test('a process comes to its end, and its timers to their turn, while a vigil waits', async () => {
  vi.restoreAllMocks();
  const vigil = new Vigil();
  for (let i = 0; i < 20; i += 1) {
    vigil.expect();
    vigil.came();
  }
  vigil.expect();
  const before = performance.now();
  await sleep(1);
  expect(performance.now() - before).toBeLessThan(1_000);
});
