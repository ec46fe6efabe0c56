import { randomInt } from 'node:crypto';

/** The seed of this run: `FUZZ_SEED` repeats the messages of another. */
export function fuzzSeed(): number {
  const given = Number.parseInt(process.env['FUZZ_SEED'] ?? '', 10);
  return Number.isNaN(given) ? randomInt(1, 2 ** 31) : given;
}

/** How many messages are sent: `FUZZ_FRAMES` where there is time for more. */
export const fuzzFrames = (): number => Number(process.env['FUZZ_FRAMES'] ?? 50_000);

/** Numbers that look random and are the same for the same seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** from 0 to below 1 */
  roll(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(bound: number): number {
    return Math.floor(this.roll() * bound);
  }

  chance(probability: number): boolean {
    return this.roll() < probability;
  }

  pick<T>(choices: readonly T[]): T {
    return choices.at(this.below(choices.length)) as T;
  }

  /** Picks by weight. */
  weighed<T>(choices: readonly (readonly [T, number])[]): T {
    let left = this.roll() * choices.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [choice, weight] of choices) {
      left -= weight;
      if (left < 0) return choice;
    }
    return (choices.at(0) as readonly [T, number])[0];
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

export type Members = Record<string, unknown>;

const PROTOTYPE_NAMES = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];
const NUMBERS = [-1, 0, 0.5, 255, 65_536, 2 ** 31, 2 ** 53, -(2 ** 53), 1e308, -1e308];
const TEXTS = ['', ' ', '\0', '\ud800', '\u{1f511}', '../..', '%s%n', '=', 'A===', 'true', '{}'];

/** A list in a list in a list. */
export function nested(depth: number): unknown {
  let value: unknown = [];
  for (let i = 0; i < depth; i += 1) value = i % 2 === 0 ? [value] : { a: value };
  return value;
}

/** A value of any type, wrong more often than not. */
export function strangeValue(dice: Dice): unknown {
  return dice.weighed<() => unknown>([
    [() => null, 2],
    [() => dice.chance(0.5), 1],
    [() => dice.pick(NUMBERS), 2],
    [() => dice.pick(TEXTS), 2],
    [() => dice.bytes(dice.below(40)), 1],
    [() => [], 1],
    [() => ({}), 1],
    [() => [dice.pick(TEXTS), dice.pick(NUMBERS)], 1],
    [() => ownMember(dice.pick(PROTOTYPE_NAMES), dice.pick(TEXTS)), 1],
    [() => nested(1 + dice.below(28)), 1],
    [() => 'x'.repeat(dice.below(9_000)), 1],
  ])();
}

/** A member of its own, whatever its name: an assignment would lose `__proto__`. */
export function ownMember(name: string, value: unknown, target: Members = {}): Members {
  const settings = { value, enumerable: true, configurable: true, writable: true };
  return Object.defineProperty(target, name, settings);
}

/** Bytes with a few of them changed, cut off or put in. */
export function mutatedBytes(dice: Dice, bytes: Uint8Array): Buffer {
  const changed = Buffer.from(bytes);
  if (changed.length === 0) return dice.bytes(1 + dice.below(8));
  const at = dice.below(changed.length);
  return dice.weighed<() => Buffer>([
    [() => flippedBytes(dice, changed), 6],
    [() => changed.subarray(0, at), 1],
    [() => Buffer.concat([changed, dice.bytes(1 + dice.below(16))]), 1],
    [() => Buffer.concat([changed.subarray(0, at), dice.bytes(1), changed.subarray(at)]), 1],
    [() => Buffer.concat([changed.subarray(0, at), changed.subarray(at + 1)]), 1],
  ])();
}

/** The same length, and one to three bits changed. */
export function flippedBytes(dice: Dice, given: Uint8Array): Buffer {
  const bytes = Buffer.from(given);
  for (let count = 1 + dice.below(3); count > 0; count -= 1) {
    const at = dice.below(bytes.length);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << dice.below(8));
  }
  return bytes;
}

function mutatedText(dice: Dice, text: string): string {
  const at = dice.below(text.length + 1);
  return dice.weighed<() => string>([
    [() => text.slice(0, at) + String.fromCharCode(32 + dice.below(224)) + text.slice(at + 1), 3],
    [() => text.slice(0, at), 1],
    [() => text + text, 1],
    [() => text.padEnd(text.length + dice.below(5_000), text || 'x'), 1],
    [() => dice.pick(TEXTS), 1],
  ])();
}

/** Another value near this one: of the same type, mostly. */
export function mutatedValue(dice: Dice, value: unknown): unknown {
  if (dice.chance(0.15)) return strangeValue(dice);
  if (typeof value === 'string') return mutatedText(dice, value);
  if (typeof value === 'number') return dice.chance(0.5) ? dice.pick(NUMBERS) : dice.below(2_000);
  if (typeof value === 'boolean') return !value;
  if (value instanceof Uint8Array) return mutatedBytes(dice, value);
  if (Array.isArray(value)) return mutatedList(dice, value);
  if (typeof value === 'object' && value !== null) return mutatedMembers(dice, value as Members);
  return strangeValue(dice);
}

function mutatedList(dice: Dice, list: readonly unknown[]): unknown[] {
  const at = dice.below(list.length);
  return dice.weighed<() => unknown[]>([
    [() => list.map((item, i) => (i === at ? mutatedValue(dice, item) : item)), 3],
    [() => [...list, ...list], 1],
    [() => list.slice(1), 1],
    [() => [...list, strangeValue(dice)], 1],
    [() => Array.from({ length: 2 + dice.below(200) }, () => list[at] ?? 'x'), 1],
  ])();
}

/** One member dropped, added, renamed, doubled in its type or changed. */
export function mutatedMembers(dice: Dice, members: Members): Members {
  const copy: Members = { ...members };
  const name = dice.pick(Object.keys(members));
  const changed = (value: unknown): Members => ownMember(name, value, copy);
  const change: readonly (readonly [() => Members, number])[] =
    name === undefined
      ? []
      : [
          [() => changed(mutatedValue(dice, members[name])), 6],
          [() => changed(strangeValue(dice)), 1],
          [() => changed([members[name]]), 0.5],
          [() => (delete copy[name], copy), 1],
          [() => (delete copy[name], ownMember(name.toLowerCase(), members[name], copy)), 0.5],
        ];
  return dice.weighed<() => Members>([
    ...change,
    [() => ownMember(dice.pick(PROTOTYPE_NAMES), strangeValue(dice), copy), 0.5],
    [() => ownMember(`Unknown${dice.below(9)}`, strangeValue(dice), copy), 1],
  ])();
}
