import { MovableClock } from '../core/clock.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { ClockStatus } from '../protocol/admin.js';
import { int, object, oneOf } from '../protocol/form.js';
import { changeValue } from '../store/change.js';
import { KEYSPACE } from '../store/keyspace.js';
import { Snapshot } from '../store/snapshot.js';
import type { Entry, Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';

const VERSION = 1;
const max = LIMITS.civil_offset_max_ms;
const clockRecord = object({ v: oneOf(VERSION), offsetMs: int({ min: -max, max }) });
const decode = ({ value }: Pick<Entry, 'value'>): number =>
  decodeValue(value, clockRecord).offsetMs;

/** The clock of a daemon. What its operator moved civil time by stands in the store. */
export class OperatorClock extends MovableClock implements AsyncDisposable {
  readonly #store: Store;
  #entry!: Snapshot<number>;

  private constructor(store: Store) {
    super();
    this.#store = store;
  }

  /** @throws StoreCorrupt, StoreClosed, StoreFailed */
  static async open(store: Store): Promise<OperatorClock> {
    const clock = new OperatorClock(store);
    const onChange = (): void => clock.#follow();
    clock.#entry = await Snapshot.open(store, KEYSPACE.clock, decode, { onChange });
    clock.#follow();
    return clock;
  }

  #follow(): void {
    this.move(this.#entry.get(KEYSPACE.clock)?.value ?? 0);
  }

  status(): ClockStatus {
    const wireMs = this.wire();
    const iso = (ms: number): string => new Date(ms).toISOString();
    const { offsetMs } = this;
    return { civil: iso(wireMs + offsetMs), real: iso(wireMs), offsetMs };
  }

  /**
   * Moves civil time by `byMs` milliseconds. All that goes by it follows at once.
   * @throws KeyspanError KeyspanRefused when it would go back and that is not meant, or go further
   * than LIMITS.civil_offset_max_ms
   */
  async advance({ byMs, force }: { byMs: number; force: boolean }): Promise<ClockStatus> {
    return await this.#change((offsetMs) => offsetMs + byMs, force);
  }

  /** Brings civil time back to the machine's. @throws as `advance` */
  async reset({ force }: { force: boolean }): Promise<ClockStatus> {
    return await this.#change(() => 0, force);
  }

  async #change(to: (offsetMs: number) => number, force: boolean): Promise<ClockStatus> {
    const revision = await changeValue(this.#store, KEYSPACE.clock, (entry) => {
      const before = entry ? decode(entry) : 0;
      const offsetMs = to(before);
      if (offsetMs < before && !force) throw refused('Civil time goes back only with --force.');
      if (Math.abs(offsetMs) > max) throw refused('Civil time is at most 50 years off.');
      return encodeValue(VERSION, { offsetMs });
    });
    await this.#entry.reached(revision);
    return this.status();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#entry[Symbol.asyncDispose]();
  }
}

const refused = (sentence: string): KeyspanError => new KeyspanError('KeyspanRefused', sentence);
