import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

/** Hears one event; `data` is the event's own. */
export type EventListener = (event: string, data: Readonly<Record<string, unknown>>) => void;

/** What subscriptions need of a client. */
interface Caller {
  call(action: string, params: object): Promise<unknown>;
}

interface Subscription {
  readonly events: readonly string[];
  readonly listener: EventListener;
}

/** Who hears what; asks the service anew on every new connection. */
export class Subscriptions {
  readonly #caller: Caller;
  readonly #all = new Set<Subscription>();

  constructor(caller: Caller) {
    this.#caller = caller;
  }

  /** @throws ServiceError when the service refuses, KeyspanError when there are too many */
  async add(events: readonly string[], listener: EventListener): Promise<AsyncDisposable> {
    if (this.#all.size >= LIMITS.subscriptions_max) {
      throw new KeyspanError('LimitExceededException', 'too many subscriptions');
    }
    const subscription = { events: [...events], listener };
    this.#all.add(subscription);
    try {
      await this.#caller.call('Subscribe', { Events: subscription.events });
    } catch (error) {
      this.#all.delete(subscription);
      throw error;
    }
    return {
      [Symbol.asyncDispose]: async () => {
        this.#all.delete(subscription);
        await Promise.resolve();
      },
    };
  }

  /** Subscribes over a new connection to all that was subscribed to. */
  renew(): void {
    const events = new Set([...this.#all].flatMap((subscription) => subscription.events));
    if (events.size === 0) return;
    // a refusal shows as silence; the next connection asks again
    this.#caller.call('Subscribe', { Events: [...events] }).catch(() => undefined);
  }

  /** Hands an event to everybody who asked for it or for its family (`hsm` hears `hsm.lost`). */
  notify(event: string, data: Readonly<Record<string, unknown>>): void {
    const family = event.split('.', 1)[0] ?? event;
    for (const { events, listener } of this.#all) {
      if (events.includes(event) || events.includes(family)) listener(event, data);
    }
  }
}
