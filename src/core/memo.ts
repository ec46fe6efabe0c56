/**
 * What was worked out from a text, for texts that come again and again. It holds at most so many:
 * then it begins anew. What `make` throws is not kept.
 */
export class Memo<T extends object> {
  readonly #make: (text: string) => T;
  readonly #max: number;
  readonly #known = new Map<string, T>();

  constructor(make: (text: string) => T, max: number) {
    this.#make = make;
    this.#max = max;
  }

  of(text: string): T {
    const known = this.#known.get(text);
    if (known) return known;
    const made = this.#make(text);
    if (this.#known.size >= this.#max) this.#known.clear();
    this.#known.set(text, made);
    return made;
  }
}
