import { expect, test } from 'vitest';
import {
  OPCODES,
  auditResponse,
  formatAuditEntry,
  hsmAuditEntry,
  readAuditLine,
  type HsmAuditEntry,
} from '../../src/protocol/hsm-audit.js';

const login: HsmAuditEntry = {
  version: 1,
  usecs: 1_513_717_277_140_812,
  sequence: 26,
  reboot: 232,
  commandType: 'CN_MGMT_CMD',
  opcode: 'CN_LOGIN',
  session: 0x7014006,
  response: auditResponse(),
  logType: 'MGMT_USER_DETAILS_LOG',
  userName: 'bob',
  userType: 'CN_CRYPTO_USER',
};

test('an entry of a user is shown as CloudWatch shows it', () => {
  expect(formatAuditEntry(login)).toBe(`Time: 12/19/17 21:01:17.140812, usecs:1513717277140812
Sequence No : 0x1a
Reboot counter : 0xe8
Command Type(hex) : CN_MGMT_CMD (0x0)
Opcode : CN_LOGIN (0xd)
Session Handle : 0x7014006
Response : 0:HSM Return: SUCCESS
Log type : MGMT_USER_DETAILS_LOG (2)
User Name : bob
User Type : CN_CRYPTO_USER (1)`);
});

test('so is one of a key, and one whose opcode has no known number', () => {
  const { userName: _, userType: __, ...rest } = login;
  const key = '00112233445566778899aabbccddeeff';
  const entry = {
    ...rest,
    logType: 'MGMT_KEY_DETAILS_LOG',
    opcode: 'CN_TOMBSTONE_OBJECT',
  } as const;
  const lines = formatAuditEntry({ ...entry, key }).split('\n');
  expect(lines[4]).toBe('Opcode : CN_TOMBSTONE_OBJECT');
  expect(lines.slice(7)).toEqual([
    'Log type : MGMT_KEY_DETAILS_LOG (1)',
    `Priv/Secret Key Handle : ${key}`,
    'Public Key Handle : 0',
  ]);
  const minimal = formatAuditEntry({
    ...rest,
    commandType: 'CN_CERT_AUTH_CMD',
    logType: 'MINIMAL_LOG_ENTRY',
  }).split('\n');
  expect(minimal).toHaveLength(8);
  expect(minimal[3]).toBe('Command Type(hex) : CN_CERT_AUTH_CMD (0x9)');
  expect(minimal.at(-1)).toBe('Log type : MINIMAL_LOG_ENTRY (0)');
});

test('no two opcodes have one number', () => {
  const numbers = Object.values(OPCODES).filter((number) => number !== null);
  expect(new Set(numbers).size).toBe(numbers.length);
});

test('a failure has the number that AWS gives it, or 1 and its code', () => {
  expect(auditResponse('HsmUserNotFound')).toBe(
    "157:HSM Error: user isn't initialized or user with this name doesn't exist",
  );
  expect(auditResponse('HsmCredentialsRefused')).toBe('163:HSM Error: RET_USER_LOGIN_FAILURE');
  expect(auditResponse('HsmRoleRefused')).toBe('1:HSM Error: HsmRoleRefused');
});

test('a line is read back as it was written, a damaged one not at all', () => {
  expect(readAuditLine(JSON.stringify(login))).toEqual(login);
  for (const wrong of ['', '\0\0', '{', JSON.stringify({ ...login, opcode: 'CN_ENCRYPT' })]) {
    expect(readAuditLine(wrong)).toBeUndefined();
  }
  expect(() => hsmAuditEntry({ ...login, password: 'secret' })).toThrow();
});
