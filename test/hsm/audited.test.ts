import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { certifyRecovery } from '../../src/cluster/certificates.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { audited, tellRefused } from '../../src/hsm/audited.js';
import {
  formatAuditEntry,
  readAuditLine,
  type HsmAuditEntry,
} from '../../src/protocol/hsm-audit.js';
import { HSM_OPERATIONS, type HsmOperation } from '../../src/protocol/hsm-frames.js';
import { smallDisk } from '../support/full-disk.js';
import { HsmHost, PASSWORDS, type FrameClient, type TestHsm } from '../support/hsm-host.js';
import { TokenSigner } from '../support/token-signer.js';

const SUCCESS = '0:HSM Return: SUCCESS';
const NO_AAD = Buffer.alloc(0);

let host: HsmHost;
let hsm: TestHsm;
let client: FrameClient;
const sessions = { admin: 0, appliance: 0, alice: 0 };

beforeAll(async () => {
  host = await HsmHost.open();
  hsm = await host.newHsm().start();
  client = await hsm.connect();
  sessions.admin = await host.found(hsm, client);
});
afterAll(() => host[Symbol.asyncDispose]());

const entriesOf = (of: TestHsm): HsmAuditEntry[] =>
  readFileSync(of.launch.audit, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => readAuditLine(line) as HsmAuditEntry);

/** The entries that the work leaves. */
async function left(work: () => Promise<unknown>, of = hsm): Promise<HsmAuditEntry[]> {
  const before = entriesOf(of).length;
  await work();
  return entriesOf(of).slice(before);
}

const codes = (entries: readonly HsmAuditEntry[]): string[] => entries.map(({ opcode }) => opcode);
const refused = (code: string): unknown => expect.objectContaining({ code });

async function newKey(session = sessions.alice): Promise<string> {
  const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: 'a key' };
  const { masked } = await client.ask<'generate'>('generate', fields, { session });
  return (await client.ask<'insert'>('insert', { masked }, { session })).keyId;
}

test('the first HSM of a cluster begins as the reference says', () => {
  const entries = entriesOf(hsm);
  expect(codes(entries)).toEqual([
    'CN_INIT_TOKEN',
    'CN_GEN_PSWD_ENC_KEY',
    'CN_CREATE_APPLIANCE_USER',
    'CN_INIT_DONE',
    'CN_GEN_KEY_ENC_KEY',
    'CN_CREATE_CO',
    'CN_LOGIN',
    'CN_CHANGE_PSWD',
    'CN_LOGIN',
  ]);
  expect(entries.map(({ sequence }) => sequence)).toEqual([...entries.keys()]);
  expect(new Set(entries.map(({ response }) => response))).toEqual(new Set([SUCCESS]));
  const preco = { userName: 'admin', userType: 'CN_CRYPTO_PRE_OFFICER' };
  expect(entries[2]).toMatchObject({ userName: 'app_user', userType: 'CN_APPLIANCE_USER' });
  expect(entries.slice(5)).toMatchObject([
    preco,
    { ...preco, session: entries[7]?.session },
    preco,
    { userName: 'admin', userType: 'CN_CRYPTO_OFFICER', session: sessions.admin },
  ]);
});

test('users: made, logged in, given a password, logged out and deleted', async () => {
  const as = { session: sessions.admin };
  const user = { username: 'alice', role: 'crypto-user', password: PASSWORDS.user };
  const alice = { userName: 'alice', userType: 'CN_CRYPTO_USER', response: SUCCESS };
  const found = await left(async () => {
    await client.ask('user-create', user, as);
    sessions.alice = await client.login('alice', PASSWORDS.user);
    await client.ask('user-change-password', user, as);
    sessions.alice = await client.login('alice', PASSWORDS.user);
    sessions.appliance = await client.login('app_user', PASSWORDS.appUser);
    await client.ask('user-create', { ...user, username: 'carol', role: 'admin' }, as);
    await client.ask('user-delete', { username: 'carol', role: 'admin' }, as);
    await client.ask('user-list', {});
    const session = await client.login('alice', PASSWORDS.user);
    await client.ask('logout', {}, { session });
  });
  const carol = { userName: 'carol', userType: 'CN_CRYPTO_OFFICER', session: sessions.admin };
  expect(found).toMatchObject([
    { opcode: 'CN_CREATE_USER', ...alice, session: sessions.admin },
    { opcode: 'CN_LOGIN', ...alice },
    { opcode: 'CN_CHANGE_PSWD', ...alice, session: sessions.admin },
    { opcode: 'CN_LOGIN', ...alice, session: sessions.alice },
    { opcode: 'CN_LOGIN', userType: 'CN_APPLIANCE_USER' },
    { opcode: 'CN_CREATE_CO', ...carol },
    { opcode: 'CN_DELETE_USER', ...carol },
    { opcode: 'CN_LOGIN', ...alice },
    { opcode: 'CN_LOGOUT', ...alice },
  ]);
  expect(found[8]?.session).toBe(found[7]?.session);
});

test('approvals: a key registered, values set, tokens given, deleted and approved', async () => {
  using signer = new TokenSigner();
  const as = { session: sessions.admin };
  const user = { role: 'admin', password: PASSWORDS.user };
  const give = async (service: string): Promise<Uint8Array> =>
    (await client.ask<'token-create'>('token-create', { service }, as)).token;
  const found = await left(async () => {
    const token = await give('registration');
    const proof = { token, signature: signer.sign(token) };
    await client.ask('user-change-quorum', { publicKey: signer.der, proof }, as);
    await client.ask('user-create', { ...user, username: 'carol' }, as);
    const session = await client.login('carol', PASSWORDS.user);
    const carols = { service: 'registration' };
    const second = await client.ask<'token-create'>('token-create', carols, { session });
    const proven = { token: second.token, signature: signer.sign(second.token) };
    await client.ask('user-change-quorum', { publicKey: signer.der, proof: proven }, { session });
    await client.ask('quorum-set', { service: 'quorum', value: 2 }, as);
    const data = await give('quorum');
    const signature = signer.sign(data);
    const signatures = ['admin', 'carol'].map((username) => ({ username, signature }));
    const value = { service: 'quorum', value: 1, approval: { data, signatures } };
    await client.ask('quorum-set', value, as);
    await client.ask('token-delete', { scope: 'all' }, as);
    await client.ask('user-extract', { username: 'carol', role: 'admin' }, as);
    await client.ask('user-delete', { username: 'carol', role: 'admin' }, as);
  });
  expect(codes(found)).toEqual([
    'CN_GET_TOKEN',
    'CN_CHANGE_PSWD',
    'CN_CREATE_CO',
    'CN_LOGIN',
    'CN_GET_TOKEN',
    'CN_CHANGE_PSWD',
    'CN_SET_M_VALUE',
    'CN_GET_TOKEN',
    'CN_APPROVE_TOKEN',
    'CN_APPROVE_TOKEN',
    'CN_SET_M_VALUE',
    'CN_DELETE_TOKEN',
    'CN_EXTRACT_MASKED_OBJECT_USER',
    'CN_DELETE_USER',
  ]);
  const approved = found.filter(({ opcode }) => opcode === 'CN_APPROVE_TOKEN');
  expect(approved).toMatchObject([
    { userName: 'admin', userType: 'CN_CRYPTO_OFFICER', session: sessions.admin },
    { userName: 'carol', userType: 'CN_CRYPTO_OFFICER', session: sessions.admin },
  ]);
  expect(found.at(-2)).toMatchObject({ userName: 'carol', logType: 'MGMT_USER_DETAILS_LOG' });
});

test('keys: made, put in, taken out, shared, changed and destroyed', async () => {
  const as = { session: sessions.alice };
  const appliance = { session: sessions.appliance };
  const user = { username: 'bob', role: 'crypto-user', password: PASSWORDS.user };
  await client.ask('user-create', user, { session: sessions.admin });
  let keyId = '';
  const found = await left(async () => {
    keyId = await newKey();
    await client.ask('extract', { keyId }, as);
    for (const change of [{ share: ['bob'] }, { label: 'new' }]) {
      const { masked } = await client.ask<'record-prepare'>(
        'record-prepare',
        { keyId, change },
        as,
      );
      await client.ask('record-apply', { masked }, appliance);
    }
    await client.ask('destroy', { keyId }, as);
    await client.ask('discard', { keyId }, appliance);
  });
  expect(codes(found)).toEqual([
    'CN_GENERATE_KEY',
    'CN_INSERT_MASKED_OBJECT_USER',
    'CN_EXTRACT_MASKED_OBJECT_USER',
    'CN_SHARE_OBJECT',
    'CN_MODIFY_OBJECT',
    'CN_MODIFY_OBJECT',
    'CN_MODIFY_OBJECT',
    'CN_TOMBSTONE_OBJECT',
    'CN_TOMBSTONE_OBJECT',
  ]);
  const about = { key: keyId, logType: 'MGMT_KEY_DETAILS_LOG', response: SUCCESS };
  expect(found).toMatchObject(found.map(() => about));
});

test("PKCS #11's objects: made, copied, and a secret that is told", async () => {
  const as = { session: sessions.alice };
  const ids: string[] = [];
  const making = (given: object): object => {
    const keyId = newHsmKeyId();
    ids.push(keyId);
    const reference = `0x${String(ids.length).padStart(16, '0')}`;
    return { keyId, reference, label: '', given, pkcs11: true };
  };
  const create = async (content: object, given: object): Promise<void> => {
    const fields = { key: making(given), content, isSession: true };
    await client.ask('object-create', fields, as);
  };
  const found = await left(async () => {
    const value = Buffer.alloc(16, 7);
    await create({ kind: 'secret-key', type: 'aes', value }, { extractable: true });
    await create({ kind: 'certificate', value }, {});
    await client.ask('object-copy', { fromId: ids[1], key: making({}), isSession: true }, as);
    for (const keyId of ids) await client.ask('object-reveal', { keyId }, as);
    await client.ask('object-find', { limit: 10 }, as);
  });
  const created = { opcode: 'CN_CREATE_OBJECT' };
  const told = { opcode: 'CN_WRAP_KEY', key: ids[0] };
  expect(found).toMatchObject([...ids.map((key) => ({ ...created, key })), told]);
  const absent = { keyId: newHsmKeyId() };
  const failed = await left(async () => {
    await expect(client.ask('object-reveal', absent, as)).rejects.toThrow();
  });
  expect(failed).toMatchObject([{ opcode: 'CN_WRAP_KEY', key: absent.keyId }]);
});

test('a key of given bytes is told as made, and not what it is', async () => {
  const fields = { keyId: newHsmKeyId(), material: Buffer.alloc(32, 'secret'), label: '' };
  const as = { session: sessions.alice };
  const found = await left(() => client.ask('import', fields, as));
  expect(found).toMatchObject([{ opcode: 'CN_CREATE_OBJECT', key: fields.keyId }]);
  const { material } = fields;
  const text = readFileSync(hsm.launch.audit, 'latin1');
  for (const encoding of ['latin1', 'hex', 'base64'] as const) {
    expect(text).not.toContain(material.toString(encoding));
  }
});

test('work with keys leaves nothing, and no entry holds a secret', async () => {
  const keyId = await newKey();
  const as = { session: sessions.alice };
  const work = { keyId, aad: NO_AAD };
  const found = await left(async () => {
    const data = Buffer.from('plain');
    const sealed = await client.ask<'encrypt'>('encrypt', { ...work, data }, as);
    await client.ask('decrypt', { ...work, ...sealed }, as);
    await client.ask('data-key', { ...work, length: 32, withPlaintext: true }, as);
    await client.ask('random', { length: 32 }, as);
    await client.ask('find', { after: '', limit: 10 }, as);
    await client.ask('info', {});
    const wrong = client.ask('decrypt', { ...work, ...sealed, iv: Buffer.alloc(12) }, as);
    await expect(wrong).rejects.toThrow();
  });
  expect(found).toEqual([]);
  const text = readFileSync(hsm.launch.audit, 'utf8');
  for (const secret of Object.values(PASSWORDS)) expect(text).not.toContain(secret);
});

describe('what fails is told, with whom or what it was about', () => {
  const failing = async (...asked: Parameters<FrameClient['ask']>): Promise<unknown> => {
    const found = await left(() => expect(client.ask(...asked)).rejects.toThrow());
    expect(found).toHaveLength(1);
    return found[0];
  };

  test('a wrong password and a user who is not there', async () => {
    const wrong = { username: 'alice', password: 'not-a-password' };
    expect(await failing('login', wrong)).toMatchObject({
      response: '163:HSM Error: RET_USER_LOGIN_FAILURE',
      userName: 'alice',
      userType: 'CN_CRYPTO_USER',
      session: 0,
    });
    const nobody = await failing('login', { ...wrong, username: 'nobody' });
    expect(nobody).toMatchObject({
      response: expect.stringMatching(/^157:HSM Error: /) as string,
      userName: 'nobody',
    });
    expect(nobody).not.toHaveProperty('userType');
  });

  test('what the authority does not let begin', async () => {
    const bob = { username: 'bob', role: 'crypto-user' };
    const asked = await failing('user-delete', bob, { session: sessions.alice });
    const response = '1:HSM Error: HsmRoleRefused';
    expect(asked).toMatchObject({ opcode: 'CN_DELETE_USER', userName: 'bob', response });
    expect(asked).toMatchObject({ session: sessions.alice });
    expect(await failing('insert', { masked: Buffer.alloc(64) })).toMatchObject({
      opcode: 'CN_INSERT_MASKED_OBJECT_USER',
      logType: 'MINIMAL_LOG_ENTRY',
      response: '1:HSM Error: HsmNotLoggedIn',
    });
  });

  test('but no work with keys, and nothing that cannot be read', async () => {
    const found = await left(async () => {
      const encrypt = client.ask('encrypt', { keyId: 'x' });
      await expect(encrypt).rejects.toEqual(refused('HsmNotLoggedIn'));
      await expect(client.ask('generate', {})).rejects.toEqual(refused('HsmNotLoggedIn'));
      await expect(client.ask('no-such', {})).rejects.toEqual(refused('HsmBadFrame'));
    });
    expect(found).toEqual([]);
  });
});

test('a session that its connection left open is closed', async () => {
  const other = await hsm.connect();
  const session = await other.login('alice', PASSWORDS.user);
  const before = entriesOf(hsm).length;
  other.end();
  await other.closed;
  await expect.poll(() => entriesOf(hsm).length).toBe(before + 1);
  const told = { opcode: 'CN_CLOSE_SESSION', session, userName: 'alice' };
  expect(entriesOf(hsm).at(-1)).toMatchObject(told);
});

test('an HSM that joins restores, and the one that lets it in makes a backup', async () => {
  const joiner = await host.newHsm().start();
  const door = await joiner.connect();
  const given = await left(async () => {
    const { publicKey } = await door.ask<'identity'>('identity', {});
    const certificates = await host.certify(joiner.id, publicKey);
    const offer = await door.ask<'join-offer'>('join-offer', {});
    const fields = { hsm: joiner.id, certificates, ...offer };
    const as = { session: sessions.appliance };
    const handed = await client.ask<'handover'>('handover', fields, as);
    await door.ask('join', { ...handed, certificates, root: host.manufacturer.certificate });
    await door.login('alice', PASSWORDS.user);
  });
  expect(codes(given)).toEqual(['CN_BACKUP_BEGIN', 'CN_BACKUP_END']);
  expect(entriesOf(joiner)).toMatchObject([
    { sequence: 0, opcode: 'CN_RESTORE_BEGIN' },
    { sequence: 1, opcode: 'CN_CERT_AUTH_STORE_CERT', commandType: 'CN_CERT_AUTH_CMD' },
    { sequence: 2, opcode: 'CN_RESTORE_END' },
    { sequence: 3, opcode: 'CN_LOGIN', userName: 'alice' },
  ]);
});

test('a backup is told when it begins and when its keys are known, not key by key', async () => {
  const keyId = await newKey();
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const { hardware } = host;
  const leaf = await certifyRecovery({ hardware, publicKey: spki });
  const as = { session: sessions.appliance };
  const found = await left(async () => {
    await client.ask('backup', { certificates: [leaf, hardware.certificate] }, as);
    await client.ask('backup-keys', { keyIds: [keyId] }, as);
  });
  expect(codes(found)).toEqual(['CN_BACKUP_BEGIN', 'CN_BACKUP_END']);
});

test('the operations that leave entries are these, and the work of others is untouched', () => {
  const work = (): unknown => undefined;
  const operations = Object.keys(HSM_OPERATIONS) as HsmOperation[];
  const silent = operations.filter((operation) => audited(operation, work) === work);
  expect(silent.sort()).toEqual([
    'backup-keys',
    'data-key',
    'decrypt',
    'digest',
    'encrypt',
    'fault-add',
    'fault-clear',
    'fault-list',
    'find',
    'identity',
    'info',
    'inventory',
    'key-acceptable',
    'key-destroyable',
    'key-find',
    'key-sign',
    'key-verify',
    'mfa-challenge',
    'object-find',
    'p11-cipher',
    'p11-sign',
    'p11-verify',
    'quorum-values',
    'random',
    'record-extract',
    'reencrypt',
    'store-seen',
    'stream-close',
    'stream-final',
    'stream-open',
    'stream-update',
    'token-list',
    'user-list',
  ]);
});

describe('over starts', () => {
  const gapless = (): void => {
    const entries = entriesOf(hsm);
    expect(entries.map(({ sequence }) => sequence)).toEqual([...entries.keys()]);
  };

  test('kill -9 loses no entry of what was answered, and no number', async () => {
    const { reboot } = entriesOf(hsm).at(-1) as HsmAuditEntry;
    for (let round = 1; round <= 3; round += 1) {
      const answered: string[] = [];
      const asking = (async () => {
        for (;;) answered.push(await newKey());
      })().catch(() => undefined);
      await expect.poll(() => answered.length).toBeGreaterThan(2);
      await hsm.kill();
      await asking;
      // as a kill within a write would leave it
      appendFileSync(hsm.launch.audit, '{"version":1,"usecs":1795590736');
      await hsm.start();
      client = await hsm.connect();
      sessions.alice = await client.login('alice', PASSWORDS.user);
      gapless();
      expect(entriesOf(hsm).at(-1)).toMatchObject({ opcode: 'CN_LOGIN', reboot: reboot + round });
      const told = entriesOf(hsm).filter(({ opcode }) => opcode === 'CN_INSERT_MASKED_OBJECT_USER');
      expect(told.map(({ key }) => key)).toEqual(expect.arrayContaining(answered));
    }
  });

  test('an end in good order closes the sessions', async () => {
    const found = await left(async () => {
      await hsm.process?.stop(deadlineIn(LIMITS.hsm_stop_timeout_ms));
      await hsm.exited();
    });
    expect(codes(found)).toEqual(['CN_CLOSE_SESSION']);
    await hsm.start();
    client = await hsm.connect();
    sessions.alice = await client.login('alice', PASSWORDS.user);
    gapless();
  });
});

test('on a full disk commands go on, and their entries come when there is room', async () => {
  const folder = join(host.folder, 'small');
  mkdirSync(folder);
  const member = host.newHsm();
  Object.assign(member.launch, { audit: join(folder, 'hsm.jsonl') });
  using disk = smallDisk(folder, 256);
  await member.start();
  const door = await member.connect();
  await host.found(member, door);
  const pid = member.process?.pid ?? 0;
  disk.fill(pid);
  const before = entriesOf(member).length;
  for (let at = 0; at < 30; at += 1) await door.login('app_user', PASSWORDS.appUser);
  expect(entriesOf(member).length).toBeLessThan(before + 30);
  disk.free(pid);
  await door.login('app_user', PASSWORDS.appUser);
  const entries = entriesOf(member);
  expect(entries).toHaveLength(before + 31);
  expect(entries.map(({ sequence }) => sequence)).toEqual([...entries.keys()]);
  const said = (): string[] => readFileSync(member.launch.log, 'utf8').trim().split('\n');
  await expect.poll(() => said().length).toBe(2);
  expect(said()[0]).toContain('audit entries cannot be written');
  await member.kill();
});

test('an HSM that nobody audits works as one', () => {
  const work = audited('logout', () => ({}));
  const machine = { audit: undefined } as unknown as Parameters<typeof work>[0];
  expect(work(machine, undefined, {}, 1)).toEqual({});
  const refusal = { operation: 'logout', session: undefined, fields: {} } as const;
  expect(() => tellRefused(machine, { ...refusal, code: 'HsmNotLoggedIn' })).not.toThrow();
});

test('the end marker is the last entry of an HSM that leaves', async () => {
  const session = await client.login('app_user', PASSWORDS.appUser);
  const found = await left(async () => {
    await client.ask('leave', {}, { session });
    await client.login('alice', PASSWORDS.user);
    await hsm.kill();
  });
  expect(codes(found)).toEqual(['END_MARKER_OPCODE']);
  expect(found.map(formatAuditEntry).join()).toContain('END_MARKER_OPCODE (0xffff)');
});
