import { KeyspanError, isErrorCode, type ErrorCode } from '../core/errors.js';
import { accept } from '../protocol/form.js';
import {
  USER_TYPE_OF,
  auditResponse,
  type CommandType,
  type Opcode,
} from '../protocol/hsm-audit.js';
import {
  HSM_OPERATIONS,
  type HsmFields,
  type HsmOperation,
  type HsmResults,
  type HsmRole,
} from '../protocol/hsm-frames.js';
import type { RecordChange } from '../protocol/hsm-key-frames.js';
import type { AuditEvent } from './audit-log.js';
import type { Session } from './authority.js';
import { findHeld } from './held-keys.js';
import type { Machine } from './machine.js';
import { isSecretKey } from './object-authority.js';
import { decodeKeyRecord, decodeMaskedRecordBody, splitMasked } from './records.js';

/**
 * Which commands of an HSM are management commands, and what each leaves in the audit log (AWS
 * CloudHSM User Guide, "HSM audit log reference"). What works with keys is none, and neither is
 * what only looks.
 */
interface Told {
  readonly opcode: Opcode;
  readonly commandType?: CommandType;
  readonly user?: { readonly name: string; readonly role: HsmRole | undefined };
  readonly key?: string | undefined;
}

/** One command and, if it succeeded, its answer. */
interface Command<Op extends HsmOperation> {
  readonly machine: Machine;
  readonly session: Session | undefined;
  readonly fields: HsmFields<Op>;
  readonly result: HsmResults[Op] | undefined;
}

/**
 * The entries of a command that succeeded, in their order; of one that failed the first counts.
 * None: it was no management command.
 */
type Rules = {
  readonly [Op in HsmOperation]?: (command: Command<Op>) => readonly Told[];
};

const RULES: Rules = {
  found: ({ fields: { appUser, admin } }) => [
    { opcode: 'CN_INIT_TOKEN' },
    { opcode: 'CN_GEN_PSWD_ENC_KEY' },
    {
      opcode: 'CN_CREATE_APPLIANCE_USER',
      user: { name: appUser.username, role: 'appliance-user' },
    },
    { opcode: 'CN_INIT_DONE' },
    { opcode: 'CN_GEN_KEY_ENC_KEY' },
    { opcode: 'CN_CREATE_CO', user: { name: admin.username, role: 'unactivated-admin' } },
  ],
  'join-offer': () => [{ opcode: 'CN_RESTORE_BEGIN' }],
  join: () => [
    { opcode: 'CN_CERT_AUTH_STORE_CERT', commandType: 'CN_CERT_AUTH_CMD' },
    { opcode: 'CN_RESTORE_END' },
  ],
  handover: () => [{ opcode: 'CN_BACKUP_BEGIN' }, { opcode: 'CN_BACKUP_END' }],
  backup: () => [{ opcode: 'CN_BACKUP_BEGIN' }, { opcode: 'CN_BACKUP_END' }],
  leave: () => [{ opcode: 'END_MARKER_OPCODE' }],
  login: ({ machine, fields: { username }, result }) => [
    {
      opcode: 'CN_LOGIN',
      user: { name: username, role: result?.role ?? machine.user(username)?.role },
    },
  ],
  logout: ({ session }) => [{ opcode: 'CN_LOGOUT', ...ofSession(session) }],
  activate: ({ session }) => [{ opcode: 'CN_CHANGE_PSWD', ...ofSession(session) }],
  'user-create': ({ fields: { username, role } }) => [
    {
      opcode: role === 'admin' ? 'CN_CREATE_CO' : 'CN_CREATE_USER',
      user: { name: username, role },
    },
  ],
  'user-delete': ({ fields: { username, role } }) => [
    { opcode: 'CN_DELETE_USER', user: { name: username, role } },
  ],
  'user-change-password': ({ fields: { username, role } }) => [
    { opcode: 'CN_CHANGE_PSWD', user: { name: username, role } },
  ],
  // CloudHSM logs a second factor as what it comes with: a change of the password
  'user-change-mfa': ({ fields: { username, role } }) => [
    { opcode: 'CN_CHANGE_PSWD', user: { name: username, role } },
  ],
  'user-change-quorum': ({ session }) => [{ opcode: 'CN_CHANGE_PSWD', ...ofSession(session) }],
  'user-extract': ({ fields: { username, role } }) => [
    { opcode: 'CN_EXTRACT_MASKED_OBJECT_USER', user: { name: username, role } },
  ],
  'user-insert': ({ result }) => [
    {
      opcode: result?.role === 'admin' ? 'CN_CREATE_CO' : 'CN_CREATE_USER',
      ...(result && { user: { name: result.username, role: result.role } }),
    },
  ],
  'token-create': ({ session }) => [{ opcode: 'CN_GET_TOKEN', ...ofSession(session) }],
  'token-delete': ({ session }) => [{ opcode: 'CN_DELETE_TOKEN', ...ofSession(session) }],
  'quorum-set': ({ session }) => [{ opcode: 'CN_SET_M_VALUE', ...ofSession(session) }],
  generate: ({ fields: { kind, keyId: key } }) => [
    { opcode: kind === 'cluster-key' ? 'CN_GENERATE_KEY_PAIR' : 'CN_GENERATE_KEY', key },
  ],
  import: ({ fields: { keyId: key } }) => [{ opcode: 'CN_CREATE_OBJECT', key }],
  insert: ({ result }) => [{ opcode: 'CN_INSERT_MASKED_OBJECT_USER', key: result?.keyId }],
  extract: ({ fields }) => [{ opcode: 'CN_EXTRACT_MASKED_OBJECT_USER', key: fields.keyId }],
  destroy: ({ fields }) => [{ opcode: 'CN_TOMBSTONE_OBJECT', key: fields.keyId }],
  discard: ({ fields }) => [{ opcode: 'CN_TOMBSTONE_OBJECT', key: fields.keyId }],
  'record-prepare': ({ fields: { change, keyId: key } }) => [{ opcode: opcodeOf(change), key }],
  'record-apply': ({ fields, result }) => [
    { opcode: 'CN_MODIFY_OBJECT', key: result && keyOfRecord(fields.masked) },
  ],
  'key-generate': ({ fields }) => [{ opcode: 'CN_GENERATE_KEY', key: fields.key.keyId }],
  'key-pair-generate': ({ fields }) => [
    { opcode: 'CN_GENERATE_KEY_PAIR', key: fields.privateKey.keyId },
  ],
  'key-import': ({ fields }) => [{ opcode: 'CN_CREATE_OBJECT', key: fields.key.keyId }],
  'key-unwrap': ({ fields }) => [{ opcode: 'CN_UNWRAP_KEY', key: fields.key.keyId }],
  'p11-derive': ({ fields }) => [{ opcode: 'CN_DERIVE_KEY', key: fields.key.keyId }],
  'key-keep': ({ fields }) => [{ opcode: 'CN_MODIFY_OBJECT', key: fields.keyId }],
  'key-wrap': ({ fields }) => [{ opcode: 'CN_WRAP_KEY', key: fields.payloadId }],
  'key-export': ({ fields }) => [{ opcode: 'CN_EXTRACT_MASKED_OBJECT_USER', key: fields.keyId }],
  'key-drop': ({ fields }) => [{ opcode: 'CN_DESTROY_OBJECT', key: fields.keyId }],
  'object-create': ({ fields }) => [{ opcode: 'CN_CREATE_OBJECT', key: fields.key.keyId }],
  'object-copy': ({ fields }) => [{ opcode: 'CN_CREATE_OBJECT', key: fields.key.keyId }],
  // a secret leaves the HSM as it does wrapped; all else is only looked at
  'object-reveal': ({ machine, session, fields: { keyId: key } }) => {
    const held = machine.phase === 'member' ? findHeld(machine, session, key) : undefined;
    const object = held?.record.object;
    return object && !isSecretKey(object) ? [] : [{ opcode: 'CN_WRAP_KEY', key }];
  },
  // the cluster's TLS key, which the daemon listens with
  'cluster-key': ({ fields }) => [{ opcode: 'CN_WRAP_KEY', key: fields.keyId }],
};

const ofSession = (session: Session | undefined): Pick<Told, 'user'> =>
  session ? { user: { name: session.username, role: session.role } } : {};

const opcodeOf = ({ share, unshare }: RecordChange): Opcode =>
  share || unshare ? 'CN_SHARE_OBJECT' : 'CN_MODIFY_OBJECT';

/** Of a masked record that was found authentic. */
const keyOfRecord = (masked: Uint8Array): string =>
  decodeKeyRecord(decodeMaskedRecordBody(splitMasked(masked).body).record).id;

function eventOf(told: Told, session: number, response: string): AuditEvent {
  const { opcode, commandType = 'CN_MGMT_CMD', user, key } = told;
  const rest = { commandType, opcode, session, response };
  if (user) {
    const userType = user.role && USER_TYPE_OF[user.role];
    const named = { userName: user.name, ...(userType && { userType }) };
    return { ...rest, logType: 'MGMT_USER_DETAILS_LOG', ...named };
  }
  if (key === undefined) return { ...rest, logType: 'MINIMAL_LOG_ENTRY' };
  return { ...rest, logType: 'MGMT_KEY_DETAILS_LOG', key };
}

/** The work of an operation. The session is there where the operation asks for a role. */
export type Work = (
  machine: Machine,
  session: Session | undefined,
  fields: unknown,
  timeoutMs: number,
) => unknown;

type AnyRule = (command: {
  machine: Machine;
  session: Session | undefined;
  fields: unknown;
  result: unknown;
}) => readonly Told[];

/**
 * The same work, which leaves its entries before it answers; where the operation is no management
 * command, the work itself.
 */
export function audited(operation: HsmOperation, work: Work): Work {
  const rule = RULES[operation] as AnyRule | undefined;
  if (!rule) return work;
  return (machine, session, fields, timeoutMs) => {
    const { audit } = machine;
    if (!audit) return work(machine, session, fields, timeoutMs);
    const succeeded = (result: unknown): unknown => {
      const handle = session?.id ?? handleIn(result);
      const told = rule({ machine, session, fields, result });
      if (told.length > 0) audit.write(told.map((one) => eventOf(one, handle, auditResponse())));
      return result;
    };
    const failed = (error: unknown): never => {
      const [told] = rule({ machine, session, fields, result: undefined });
      if (told) audit.write([eventOf(told, session?.id ?? 0, responseTo(told, error))]);
      throw error;
    };
    let result: unknown;
    try {
      result = work(machine, session, fields, timeoutMs);
    } catch (error) {
      return failed(error);
    }
    return result instanceof Promise ? result.then(succeeded, failed) : succeeded(result);
  };
}

/** A login's session begins with its answer. */
function handleIn(result: unknown): number {
  const { session } = result as Partial<HsmResults['login']>;
  return session ?? 0;
}

/** Who logs in is told the same for a wrong name and a wrong password; the log tells them apart. */
function responseTo({ opcode, user }: Told, error: unknown): string {
  const code = codeOf(error);
  const unknown = opcode === 'CN_LOGIN' && user?.role === undefined;
  return auditResponse(unknown && code === 'HsmCredentialsRefused' ? 'HsmUserNotFound' : code);
}

const codeOf = (error: unknown): ErrorCode =>
  error instanceof KeyspanError && isErrorCode(error.code) ? error.code : 'HsmDeviceError';

/** A management command that the authority did not let begin. One that nobody can read is none. */
export function tellRefused(
  machine: Machine,
  command: {
    readonly operation: HsmOperation;
    readonly session: Session | undefined;
    /** as they came */
    readonly fields: unknown;
    readonly code: ErrorCode;
  },
): void {
  const { operation, session, code } = command;
  const rule = RULES[operation] as AnyRule | undefined;
  if (!rule || !machine.audit) return;
  const fields = accept<unknown>(HSM_OPERATIONS[operation].fields, command.fields);
  if (fields === undefined) return;
  const [told] = rule({ machine, session, fields, result: undefined });
  if (told) machine.audit.write([eventOf(told, session?.id ?? 0, auditResponse(code))]);
}

/** Users approved what follows in this session. */
export function tellApproved(
  machine: Machine,
  session: Session,
  users: readonly { readonly username: string; readonly role: HsmRole }[],
): void {
  const told = users.map(({ username: name, role }): Told => ({
    opcode: 'CN_APPROVE_TOKEN',
    user: { name, role },
  }));
  machine.audit?.write(told.map((one) => eventOf(one, session.id, auditResponse())));
}

/** A session that its connection left open. */
export function tellClosed(machine: Machine, session: Session): void {
  const told: Told = { opcode: 'CN_CLOSE_SESSION', ...ofSession(session) };
  machine.audit?.write([eventOf(told, session.id, auditResponse())]);
}
