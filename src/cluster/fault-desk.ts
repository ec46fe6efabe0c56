import { pause, deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { FaultRules, type FaultRule } from '../core/fault-rules.js';
import { LIMITS } from '../core/limits.js';
import type { PlacedFault } from '../protocol/admin.js';
import { HSM_OPERATIONS } from '../protocol/hsm-frames.js';
import type { Member } from './member.js';

/** Where a fault waits: an HSM's id, `next` for the next HSM process that starts, or `daemon`. */
export type FaultPlace = string;

/** The steps of the daemon's own work at which a fault can strike: just after each was made. */
export const STEPS = [
  // a key is made; what is abandoned or destroyed goes from the HSMs
  'create.intended',
  'create.made',
  'create.spread',
  'bury.discarded',
  // a key's record is changed
  'change.prepared',
  'change.committed',
  'change.spread',
  // an HSM comes into service
  'rise.entered',
  'catch-up.examined',
  'catch-up.copied',
  // an HSM joins or leaves
  'leave.proved',
  'member.committed',
  'member.adopted',
  'member.erased',
  // a backup is taken
  'backup.begun',
  'backup.written',
  // the day of a KMS key came: it is removed, in portions where it has much, or rotated
  'removal.begun',
  'removal.portion',
  'removal.done',
  'rotation.done',
] as const;
export type StepName = (typeof STEPS)[number];

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
   * @throws KeyspanError KeyspanUsage when there is no such HSM or operation,
   * LimitExceededException, KeyspanConnection when the HSM does not answer
   */
  async add(place: FaultPlace, rule: FaultRule): Promise<number> {
    const known = place === 'daemon' ? STEPS : Object.keys(HSM_OPERATIONS);
    if (rule.operation !== '*' && !(known as readonly string[]).includes(rule.operation)) {
      const sentence = `${rule.operation} is none of: *, ${known.join(', ')}`;
      throw new KeyspanError('KeyspanUsage', sentence);
    }
    if (place !== 'next' && place !== 'daemon') return await this.#addTo(place, rule);
    const waiting = place === 'next' ? this.#next.length : this.#own.list().length;
    if (waiting >= LIMITS.faults_max) throw new KeyspanError('LimitExceededException');
    return place === 'next' ? this.#next.push(rule) : this.#own.add(rule);
  }

  async #addTo(id: string, rule: FaultRule): Promise<number> {
    const member = this.#members().find((one) => one.id === id);
    const channel = member?.channel;
    if (!channel) throw new KeyspanError('KeyspanUsage', `there is no HSM ${id} that serves`);
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
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
  async step(name: StepName): Promise<void> {
    const action = this.#own.take(name, 'after') ?? this.#own.take(name, 'before');
    if (action?.do === 'delay') await pause(action.ms);
    if (action?.do === 'error') throw new KeyspanError('KeyspanRefused', `a fault: ${action.ckr}`);
    if (action?.do === 'drop') await new Promise<never>(() => undefined);
    if (action?.do === 'crash') process.kill(process.pid, 'SIGKILL');
  }
}

/** Of an HSM that does not answer nothing is known, and it may be dying of its fault. */
async function listOf({ id, channel }: Member): Promise<PlacedFault[]> {
  const deadline = deadlineIn(LIMITS.status_timeout_ms);
  const answer = channel?.request({ operation: 'fault-list', fields: {}, deadline });
  const { faults } = (await answer?.catch(() => undefined)) ?? { faults: [] };
  return faults.map((fault) => ({ ...fault, hsm: id }));
}
