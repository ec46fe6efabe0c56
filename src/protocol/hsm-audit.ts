import type { ErrorCode } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { accept, int, object, oneOf, optional, text, type Form, type FormOf } from './form.js';
import type { HsmRole } from './hsm-frames.js';

/**
 * The audit log of one HSM (AWS CloudHSM User Guide, "Interpreting HSM audit logs"): the HSM
 * writes a line of JSON for each management command, and whoever may read the home reads it.
 */
export const HSM_AUDIT_VERSION = 1;

/** The categories of commands (User Guide, "Command type"). */
export const COMMAND_TYPES = { CN_MGMT_CMD: 0x0, CN_CERT_AUTH_CMD: 0x9 } as const;
export type CommandType = keyof typeof COMMAND_TYPES;

/** What an entry says more than all do (User Guide, "Log type"). */
export const LOG_TYPES = {
  MINIMAL_LOG_ENTRY: 0,
  MGMT_KEY_DETAILS_LOG: 1,
  MGMT_USER_DETAILS_LOG: 2,
} as const;
export type LogType = keyof typeof LOG_TYPES;

/** Operation codes that our HSMs write; null: the guide names it and tells no number. */
export const OPCODES = {
  CN_INIT_TOKEN: 0x1,
  CN_CREATE_USER: 0x3,
  CN_CREATE_CO: 0x4,
  CN_CHANGE_PSWD: 0x9,
  CN_LOGIN: 0xd,
  CN_LOGOUT: 0xe,
  CN_SHARE_OBJECT: 0x12,
  CN_GENERATE_KEY: 0x17,
  CN_GENERATE_KEY_PAIR: 0x19,
  CN_WRAP_KEY: 0x1a,
  CN_UNWRAP_KEY: 0x1b,
  CN_GEN_PSWD_ENC_KEY: 0x1d,
  CN_INIT_DONE: 0x95,
  CN_DESTROY_OBJECT: 0x11,
  CN_DELETE_USER: 0xa1,
  CN_EXTRACT_MASKED_OBJECT_USER: 0xf0,
  CN_INSERT_MASKED_OBJECT_USER: 0xf1,
  CN_CREATE_APPLIANCE_USER: 0xfc,
  END_MARKER_OPCODE: 0xffff,
  CN_APPROVE_TOKEN: null,
  CN_BACKUP_BEGIN: null,
  CN_BACKUP_END: null,
  CN_CERT_AUTH_STORE_CERT: null,
  CN_CLOSE_SESSION: null,
  CN_CREATE_OBJECT: null,
  CN_DELETE_TOKEN: null,
  CN_DERIVE_KEY: null,
  CN_GEN_KEY_ENC_KEY: null,
  CN_GET_TOKEN: null,
  CN_MODIFY_OBJECT: null,
  CN_RESTORE_BEGIN: null,
  CN_RESTORE_END: null,
  CN_SET_M_VALUE: null,
  CN_TOMBSTONE_OBJECT: null,
} as const;
export type Opcode = keyof typeof OPCODES;

export const USER_TYPES = {
  CN_CRYPTO_USER: 1,
  CN_CRYPTO_OFFICER: 2,
  CN_APPLIANCE_USER: 5,
  CN_CRYPTO_PRE_OFFICER: 6,
} as const;
export type UserType = keyof typeof USER_TYPES;

export const USER_TYPE_OF: Readonly<Record<HsmRole, UserType>> = {
  'crypto-user': 'CN_CRYPTO_USER',
  admin: 'CN_CRYPTO_OFFICER',
  'appliance-user': 'CN_APPLIANCE_USER',
  'unactivated-admin': 'CN_CRYPTO_PRE_OFFICER',
};

const namesOf = <T extends object>(table: T): (keyof T & string)[] =>
  Object.keys(table) as (keyof T & string)[];
const nameIn = <T extends object>(table: T): Form<keyof T & string> => oneOf(...namesOf(table));

const counter = int({ min: 0 });

/** One line of the file. */
export const hsmAuditEntry = object({
  version: oneOf(HSM_AUDIT_VERSION),
  /** microseconds since 1970 */
  usecs: counter,
  /** 0 for an HSM's first entry, then one more for each */
  sequence: counter,
  /** the same for all entries of one start of the HSM, higher with each start */
  reboot: counter,
  commandType: nameIn(COMMAND_TYPES),
  opcode: nameIn(OPCODES),
  /** 0: none */
  session: counter,
  response: text({ max: 256 }),
  logType: nameIn(LOG_TYPES),
  userName: optional(text({ max: LIMITS.hsm_user_name_max_chars })),
  userType: optional(nameIn(USER_TYPES)),
  /** the HSM key's id: what a key handle is to a real HSM */
  key: optional(text({ max: 64 })),
});
export type HsmAuditEntry = FormOf<typeof hsmAuditEntry>;

/** The entry of a line; undefined when it is damaged. */
export function readAuditLine(line: string): HsmAuditEntry | undefined {
  try {
    return accept(hsmAuditEntry, JSON.parse(line));
  } catch {
    return undefined;
  }
}

/** The file of an HSM's audit log: the present one, or one of those that were full before it. */
export const auditFile = (path: string, age: number): string =>
  age === 0 ? path : `${path}.${age}`;

const NO_SUCH_USER = "user isn't initialized or user with this name doesn't exist";

/** The response of a command: the numbers that the guide tells, 1 for every other failure. */
export function auditResponse(code?: ErrorCode): string {
  if (code === undefined) return '0:HSM Return: SUCCESS';
  if (code === 'HsmUserNotFound') return `157:HSM Error: ${NO_SUCH_USER}`;
  if (code === 'HsmCredentialsRefused') return '163:HSM Error: RET_USER_LOGIN_FAILURE';
  return `1:HSM Error: ${code}`;
}

const hex = (value: number): string => `0x${value.toString(16)}`;
const padded = (value: number, digits: number): string => String(value).padStart(digits, '0');

/** `12/19/17 21:01:17.140812`, in UTC */
function formatTime(usecs: number): string {
  const at = new Date(Math.floor(usecs / 1_000));
  const two = (value: number): string => padded(value, 2);
  const day = [at.getUTCMonth() + 1, at.getUTCDate(), at.getUTCFullYear() % 100].map(two);
  const time = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(two);
  return `${day.join('/')} ${time.join(':')}.${padded(usecs % 1_000_000, 6)}`;
}

/** As CloudWatch Logs shows it (AWS CloudHSM User Guide, "Interpreting HSM audit logs"). */
export function formatAuditEntry(entry: HsmAuditEntry): string {
  const { commandType, opcode, logType, userName, userType, key } = entry;
  const number = OPCODES[opcode];
  const lines = [
    `Time: ${formatTime(entry.usecs)}, usecs:${entry.usecs}`,
    `Sequence No : ${hex(entry.sequence)}`,
    `Reboot counter : ${hex(entry.reboot)}`,
    `Command Type(hex) : ${commandType} (${hex(COMMAND_TYPES[commandType])})`,
    `Opcode : ${opcode}${number === null ? '' : ` (${hex(number)})`}`,
    `Session Handle : ${hex(entry.session)}`,
    `Response : ${entry.response}`,
    `Log type : ${logType} (${LOG_TYPES[logType]})`,
  ];
  if (userName !== undefined) lines.push(`User Name : ${userName}`);
  if (userType !== undefined) lines.push(`User Type : ${userType} (${USER_TYPES[userType]})`);
  if (key !== undefined) lines.push(`Priv/Secret Key Handle : ${key}`, 'Public Key Handle : 0');
  return lines.join('\n');
}
