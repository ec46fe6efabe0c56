import type { Call } from '../core/call.js';
import { hasPassed } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { HsmId, HsmKeyId } from '../core/ids.js';
import type { HsmFields, HsmOperation, HsmResults } from '../protocol/hsm-frames.js';
import type { ClusterSession } from './cluster-session.js';
import type { Member } from './member.js';

/** A way to ask the HSMs of a cluster in somebody's name. */
export type HsmLine = Pick<ClusterSession, 'run' | 'runOn'> & Partial<Pick<ClusterSession, 'soon'>>;

const ELSEWHERE: ReadonlySet<string> = new Set([
  'KeyspanConnection',
  'HsmBusy',
  'HsmDeviceError',
  'HsmKeyNotFound',
  'HsmKeyUnproven',
  'HsmNotLoggedIn',
  'HsmPhase',
]);

/**
 * What those may ask who did not log in: an HSM is asked in the name of its appliance user, and
 * tells of what is public alone.
 */
export class PublicLine implements HsmLine {
  readonly #members: () => readonly Member[];
  #next = 0;

  constructor(members: () => readonly Member[]) {
    this.#members = members;
  }

  /** As ClusterSession has it. @throws KeyspanError VaultUnavailable when no HSM serves */
  async run<Op extends HsmOperation>(
    operation: Op,
    fields: HsmFields<Op>,
    call: Call,
    _key?: HsmKeyId,
  ): Promise<HsmResults[Op]> {
    const serving = this.#members().filter(({ channel }) => channel !== undefined);
    this.#next += 1;
    let failure: unknown = new KeyspanError('VaultUnavailable');
    for (let i = 0; i < serving.length; i += 1) {
      const member = serving[(this.#next + i) % serving.length] as Member;
      try {
        const result = await member.ask(operation, fields, call.deadline, call.requestId);
        call.servedBy = member.id;
        return result;
      } catch (error) {
        failure = error;
        if (!isKeyspanError(error) || !ELSEWHERE.has(error.code)) throw error;
        if (hasPassed(call.deadline)) throw new KeyspanError('VaultTimeout');
      }
    }
    throw failure;
  }

  /** As ClusterSession has it. */
  async runOn<Op extends HsmOperation>(
    hsm: HsmId,
    operation: Op,
    fields: HsmFields<Op>,
    call: Call,
  ): Promise<HsmResults[Op]> {
    const member = this.#members().find(({ id }) => id === hsm);
    if (!member?.channel) throw new KeyspanError('VaultKeyMissing', `${hsm} does not serve`);
    return await member.ask(operation, fields, call.deadline, call.requestId);
  }
}
