const SLOTS_MAX = 65_536;

/**
 * What is in flight, each by a number of its own; a later one has a higher number. A Map would do,
 * but one to which tens of thousands come and go each second keeps what is long gone: V8 links each
 * table that a Map grew out of to the next one, so that one of them, once it is old, holds all that
 * follow until the next full garbage collection.
 */
export class InFlight<T> {
  readonly #items: (T | undefined)[] = [];
  /** under which number the item of a slot goes */
  readonly #numbers: number[] = [];
  readonly #free: number[] = [];
  #sequence = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The number of the next one that is added. */
  get next(): number {
    const slot = this.#free[this.#free.length - 1] ?? this.#items.length;
    // exact up to 2^53: more than a hundred thousand million of them
    return (this.#sequence + 1) * SLOTS_MAX + slot;
  }

  /** @returns the number it goes by from now on */
  add(item: T): number {
    const number = this.next;
    const slot = number % SLOTS_MAX;
    if (this.#free.length > 0) this.#free.pop();
    this.#items[slot] = item;
    this.#numbers[slot] = number;
    this.#sequence += 1;
    this.#size += 1;
    return number;
  }

  get(number: number): T | undefined {
    const slot = number % SLOTS_MAX;
    return this.#numbers[slot] === number ? this.#items[slot] : undefined;
  }

  /** @returns what went by this number, if anything did */
  remove(number: number): T | undefined {
    const item = this.get(number);
    if (item === undefined) return undefined;
    const slot = number % SLOTS_MAX;
    this.#items[slot] = undefined;
    this.#free.push(slot);
    this.#size -= 1;
    return item;
  }

  /** All of them with their numbers, the oldest first. */
  entries(): [number, T][] {
    const found: [number, T][] = [];
    for (const [slot, item] of this.#items.entries()) {
      if (item !== undefined) found.push([this.#numbers[slot] as number, item]);
    }
    return found.sort(([a], [b]) => a - b);
  }
}
