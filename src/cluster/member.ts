import { deadlineIn, type Deadline } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { BootId, HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { HsmStatus } from '../protocol/admin.js';
import type { HsmFields, HsmOperation, HsmResults, HsmRole } from '../protocol/hsm-frames.js';
import { channelLost, type Channel } from '../hsm/channel.js';
import type { Supervisor } from '../hsm/supervisor.js';
import type { HsmRecord } from './cluster.js';

/** A way to ask one HSM in the name of one logged-in user. */
export interface Line {
  readonly channel: Channel;
  readonly session: number;
  readonly role: HsmRole;
}

/** One HSM of a cluster while the daemon runs. */
export class Member {
  readonly id: HsmId;
  record: HsmRecord;
  /** the cluster's epoch, sent with what changes a token */
  epoch: number;
  supervisor!: Supervisor;
  /** the appliance user's login; it is there from the moment that creates are sent to this HSM */
  appliance: Line | undefined;
  /** it is being removed: it gets no new keys, and does not count where copies are counted */
  isLeaving = false;
  /** it was founded or joined, and has not served since */
  isNew = false;
  /** keys that repairs and its joining have given it so far */
  copied = 0;
  /** keys on the token, as it last said */
  keys: number | null = null;

  constructor(record: HsmRecord, epoch: number) {
    this.id = record.id;
    this.record = record;
    this.epoch = epoch;
  }

  /** It serves. */
  get channel(): Channel | undefined {
    return this.supervisor.channel;
  }

  get boot(): BootId | undefined {
    return this.appliance?.channel.peer.boot;
  }

  /** Reached by creates and repairs, though perhaps not yet up to date. */
  get isReachable(): boolean {
    return this.appliance !== undefined && !this.appliance.channel.closed.aborted;
  }

  /**
   * Asks in the name of the appliance user. @throws KeyspanError KeyspanConnection when it is
   * not reachable
   */
  ask<Op extends HsmOperation>(
    operation: Op,
    fields: HsmFields<Op>,
    deadline: Deadline,
    requestId?: string,
  ): Promise<HsmResults[Op]> {
    if (!this.appliance) return Promise.reject(channelLost());
    const { channel, session } = this.appliance;
    const { epoch } = this;
    return channel.request({ operation, fields, deadline, session, epoch, requestId });
  }

  /** Logs a user in over a channel. */
  static async login(
    channel: Channel,
    user: HsmFields<'login'>,
    deadline: Deadline,
  ): Promise<Line> {
    const { username, password, mfa } = user;
    const fields = { username, password, ...(mfa && { mfa }) };
    const answer = await channel.request({ operation: 'login', fields, deadline });
    if (answer.session <= 0) throw new KeyspanError('HsmProtocol');
    return { channel, session: answer.session, role: answer.role };
  }
}

/** An HSM as the operator sees it. */
export async function statusOf(member: Member): Promise<HsmStatus> {
  const { supervisor, record } = member;
  const deadline = deadlineIn(LIMITS.status_timeout_ms);
  const info = await supervisor.channel
    ?.request({ operation: 'info', fields: {}, deadline })
    .catch(() => undefined);
  return {
    id: member.id,
    az: record.az,
    state: supervisor.state,
    eniIp: record.eniIp,
    pid: supervisor.pid ?? null,
    keys: info?.keys ?? null,
    ...(supervisor.reason === undefined ? {} : { reason: supervisor.reason }),
  };
}

/** Why HSMs do not serve, in one line. */
export const reasonsOf = (members: readonly Member[]): string =>
  members.map(({ id, supervisor }) => `${id}: ${supervisor.reason ?? 'unknown'}.`).join(' ');
