import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Channel } from '../hsm/channel.js';
import type { HsmFields, HsmOperation, HsmResults } from '../protocol/hsm-frames.js';
import type { Member } from './member.js';

export type AskedMember = Pick<Member, 'id' | 'channel' | 'epoch'>;

/** An HSM that served when it was asked, with what it answered. */
export interface Answer<T> {
  readonly member: AskedMember;
  readonly channel: Channel;
  readonly result: T;
}

/**
 * Asks each active HSM what needs no login. One that goes away meanwhile is not active any more,
 * and its silence fails nothing.
 * @throws KeyspanError what an HSM answered when none answered well, VaultUnavailable when none is
 * active
 */
export async function askEach<Op extends HsmOperation>(
  members: readonly AskedMember[],
  operation: Op,
  fields: HsmFields<Op>,
): Promise<readonly Answer<HsmResults[Op]>[]> {
  const deadline = deadlineIn(LIMITS.request_timeout_ms);
  const asked = members.flatMap((member) => {
    const { channel } = member;
    if (!channel) return [];
    const answer = channel.request({ operation, fields, deadline });
    return answer.then((result) => ({ member, channel, result }));
  });
  const outcomes = await Promise.allSettled(asked);
  const answers = outcomes.flatMap((outcome) =>
    outcome.status === 'fulfilled' ? outcome.value : [],
  );
  if (answers.length > 0) return answers;
  const refusal = outcomes.find((outcome) => outcome.status === 'rejected');
  throw refusal?.reason ?? new KeyspanError('VaultUnavailable');
}

/** What all say, or that they differ. Pure. */
export function oneFor<T extends string | number>(values: readonly T[]): T | 'inconsistent' {
  const [first] = values;
  return first !== undefined && values.every((value) => value === first) ? first : 'inconsistent';
}
