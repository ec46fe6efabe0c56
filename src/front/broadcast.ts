import type { ClientEvent } from '../protocol/client-frames.js';

/** What clients may subscribe to. */
export const TOPICS = ['hsm', 'cluster'] as const;
export type Topic = (typeof TOPICS)[number];

export type Listener = (event: ClientEvent) => void;

/** Hands events of the daemon to the connections that asked for them. */
export class Broadcast {
  readonly #listeners = new Map<Topic, Set<Listener>>();

  subscribe(topic: Topic, listener: Listener): void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    listeners.add(listener);
    this.#listeners.set(topic, listeners);
  }

  unsubscribe(listener: Listener): void {
    for (const listeners of this.#listeners.values()) listeners.delete(listener);
  }

  publish(topic: Topic, data: Readonly<Record<string, unknown>>): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener({ event: topic, data });
  }
}
