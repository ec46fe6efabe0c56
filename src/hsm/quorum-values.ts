import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import { accept, int, oneOf, tuple } from '../protocol/form.js';
import type { AdminService } from '../protocol/hsm-session.js';
import type { HsmQuorumValues } from '../protocol/quorum-frames.js';
import type { Machine } from './machine.js';

/** How many admins must approve what each service does: a fact on the token, as users are. */
const VERSION = 1;
const FACT = 'quorum';
const DEFAULTS: HsmQuorumValues = { user: 1, quorum: 1, cluster: 1 };

const value = int({ min: 1, max: LIMITS.quorum_approvals_max });
const fact = tuple(oneOf(VERSION), value, value, value);

/** @throws KeyspanError HsmBadRecord */
function decodeValues(body: Uint8Array): HsmQuorumValues {
  const read = accept(fact, decodeCbor(body, 'HsmBadRecord'));
  if (!read) throw new KeyspanError('HsmBadRecord', 'the quorum values cannot be read');
  const [, user, quorum, cluster] = read;
  return { user, quorum, cluster };
}

/** How many admins must approve; 1: the one who asks is enough. */
export function quorumValues(machine: Machine): HsmQuorumValues {
  const body = machine.member.facts.get(FACT);
  return body ? decodeValues(body) : DEFAULTS;
}

/** The values as they stand on the token, and travel to a joiner and into a backup. */
export const encodeQuorumValues = ({ user, quorum, cluster }: HsmQuorumValues): Uint8Array =>
  encodeCbor([VERSION, user, quorum, cluster]);

export function putQuorumValues({ member: { facts } }: Machine, values: HsmQuorumValues): void {
  facts.put(FACT, encodeQuorumValues(values));
}

/** @param body undefined: whoever gave the users knows of no values */
export function takeQuorumValues({ member: { facts } }: Machine, body?: Uint8Array): void {
  if (!body) return facts.delete(FACT);
  decodeValues(body);
  facts.put(FACT, body);
}

/** Why a value cannot be set; undefined: it can. Pure. */
export function mayNotSetValue(
  values: HsmQuorumValues,
  service: AdminService,
  wanted: number,
  admins: number,
): string | undefined {
  if (wanted > admins) {
    return `The quorum value must not be greater than the number of admins, which is ${admins}`;
  }
  if (service !== 'quorum') {
    if (wanted <= values.quorum) return undefined;
    return 'The quorum value of the service quorum must be at least as great. Set it first';
  }
  if (wanted >= Math.max(values.user, values.cluster)) return undefined;
  return 'The quorum values of the services user and cluster must not be greater. Set them first';
}
