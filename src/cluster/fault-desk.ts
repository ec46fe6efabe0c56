import { pause, deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { FaultRules, type FaultRule } from '../core/fault-rules.js';
import { LIMITS } from '../core/limits.js';
import type { PlacedFault } from '../protocol/admin.js';
import type { Member } from './member.js';

/** Where a fault waits: an HSM's id, `next` for the next HSM process that starts, or `daemon`. */
export type FaultPlace = string;

/**
 * Faults on demand, for tests of Keyspan and of those who build on it. It exists only in a
 * daemon that was started with `--faults`.
 * A fault lives in the process that it waits in and is gone with it.
 */
export class FaultDesk {
  readonly #members: () => readonly Member[];
  readonly #own = new FaultRules();
  #next: FaultRule[] = [];

  constructor(members: () => readonly Member[]) {
    this.#members = members;
  }

  /**
   * @throws KeyspanError KeyspanUsage when there is no such HSM, KeyspanConnection when it does
   * not answer
   */
  async add(place: FaultPlace, rule: FaultRule): Promise<number> {
    if (place === 'daemon') return this.#own.add(rule);
    if (place !== 'next') return await this.#addTo(place, rule);
    if (this.#next.length >= LIMITS.faults_max) throw new KeyspanError('LimitExceededException');
    return this.#next.push(rule);
  }

  async #addTo(id: string, rule: FaultRule): Promise<number> {
    const member = this.#members().find((one) => one.id === id);
    const channel = member?.channel;
    if (!channel) throw new KeyspanError('KeyspanUsage', `there is no HSM ${id} that serves`);
    const deadline = deadlineIn(LIMITS.status_timeout_ms);
    return (await channel.request({ operation: 'fault-add', fields: { rule }, deadline })).id;
  }

  async list(): Promise<PlacedFault[]> {
    const own = this.#own.list().map((fault) => ({ ...fault, hsm: 'daemon' }));
    const next = this.#next.map((rule, at) => ({ ...rule, id: at + 1, seen: 0, hsm: 'next' }));
    const theirs = await Promise.all(this.#members().map((member) => listOf(member)));
    return [...own, ...next, ...theirs.flat()];
  }

  async clear(): Promise<void> {
    this.#own.clear();
    this.#next = [];
    const deadline = deadlineIn(LIMITS.status_timeout_ms);
    const channels = this.#members().flatMap(({ channel }) => channel ?? []);
    await Promise.allSettled(
      channels.map((channel) =>
        channel.request({ operation: 'fault-clear', fields: {}, deadline }),
      ),
    );
  }

  /** What the next HSM process is started with. */
  takeNext(): readonly FaultRule[] {
    const next = this.#next;
    this.#next = [];
    return next;
  }

  /** A step of the daemon's own work was made. */
  async step(name: string): Promise<void> {
    const action = this.#own.take(name, 'after') ?? this.#own.take(name, 'before');
    if (action?.do === 'delay') await pause(action.ms);
    if (action?.do === 'error') throw new KeyspanError('KeyspanRefused', `a fault: ${action.ckr}`);
    if (action?.do === 'drop') await new Promise<never>(() => undefined);
    if (action?.do === 'crash') process.kill(process.pid, 'SIGKILL');
  }
}

async function listOf({ id, channel }: Member): Promise<PlacedFault[]> {
  if (!channel) return [];
  const deadline = deadlineIn(LIMITS.status_timeout_ms);
  const { faults } = await channel.request({ operation: 'fault-list', fields: {}, deadline });
  return faults.map((fault) => ({ ...fault, hsm: id }));
}
