import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { monotonic } from '../../src/core/clock.js';
import type { ErrorCode } from '../../src/core/errors.js';
import { newBootId, newHsmId, newHsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { needApproval, type Need } from '../../src/hsm/quorum.js';
import { QuorumTokens } from '../../src/hsm/quorum-tokens.js';
import { mayNotSetValue, takeQuorumValues } from '../../src/hsm/quorum-values.js';
import type { HsmApproval, HsmSignedToken } from '../../src/protocol/quorum-frames.js';
import { MachineFixture, PASSWORDS } from '../support/hsm-machine.js';
import { TokenSigner } from '../support/token-signer.js';

const PASSWORD = 'password-1';
const refused = (code: ErrorCode, message?: string): unknown =>
  expect.objectContaining({ code, ...(message !== undefined && { message }) });
const REQUIRED = refused('HsmQuorumRequired', 'Quorum approval is required for this operation');
const WRONG = refused(
  'HsmQuorumRefused',
  'Invalid username-signature pair for quorum authorization',
);
const FAILED = refused('HsmQuorumRefused', 'Quorum Failed');
const TOO_FEW = refused(
  'HsmQuorumRefused',
  'Too few quorum approvals: currently 1 approvals, but 2 approvals required',
);

let fixture: MachineFixture;
const signers = { admin: new TokenSigner(), admin2: new TokenSigner(), alice: new TokenSigner() };
const sessions = { admin: 0, admin2: 0, alice: 0, bob: 0 };
type Name = keyof typeof signers;

beforeAll(async () => {
  fixture = await MachineFixture.founded();
  const before = await fixture.login('admin', PASSWORDS.admin);
  await fixture.ask('activate', { password: PASSWORD }, { session: before });
  sessions.admin = await fixture.login('admin', PASSWORD);
  const roles = { admin2: 'admin', admin3: 'admin', alice: 'crypto-user', bob: 'crypto-user' };
  for (const [username, role] of Object.entries(roles)) {
    await asAdmin('user-create', { username, role, password: PASSWORD });
  }
  for (const name of ['admin2', 'alice', 'bob'] as const) {
    sessions[name] = await fixture.login(name, PASSWORD);
  }
  for (const name of Object.keys(signers) as Name[]) await register(name);
  await asAdmin('quorum-set', { service: 'quorum', value: 2 });
  const approval = approvedBy(await newToken('admin', { service: 'quorum' }), 'admin', 'admin2');
  await asAdmin('quorum-set', { service: 'user', value: 2, approval });
});
afterAll(() => {
  fixture[Symbol.dispose]();
  for (const signer of Object.values(signers)) signer[Symbol.dispose]();
});
beforeEach(async () => {
  fixture.aheadMs = 0;
  await asAdmin('token-delete', { scope: 'all' });
});

const asAdmin: (operation: 'user-create' | (string & {}), fields: object) => Promise<unknown> = (
  operation,
  fields,
) => fixture.ask(operation as 'user-create', fields, { session: sessions.admin });

const newToken = async (name: keyof typeof sessions, fields: object): Promise<Uint8Array> =>
  (await fixture.ask('token-create', fields, { session: sessions[name] })).token;

async function register(name: Name, signer = signers[name]): Promise<unknown> {
  const token = await newToken(name, { service: 'registration' });
  const proof: HsmSignedToken = { token, signature: signer.sign(token) };
  const fields = { publicKey: signer.der, proof };
  return await fixture.ask('user-change-quorum', fields, { session: sessions[name] });
}

const approvedBy = (data: Uint8Array, ...names: Name[]): HsmApproval => ({
  data,
  signatures: names.map((username) => ({ username, signature: signers[username].sign(data) })),
});

let users = 0;
/** Makes a user that there is none of yet. */
const create = (approval?: HsmApproval): Promise<unknown> => {
  users += 1;
  const user = { username: `u${users}`, role: 'crypto-user', password: PASSWORD };
  return asAdmin('user-create', { ...user, ...(approval && { approval }) });
};

describe('what M of N approve', () => {
  test('is done once, and needs as many as the value says', async () => {
    await expect(create()).rejects.toEqual(REQUIRED);
    const data = await newToken('admin', { service: 'user' });
    await expect(create({ data, signatures: [] })).rejects.toEqual(
      refused('HsmQuorumRefused', 'No token signatures provided'),
    );
    await expect(create(approvedBy(data, 'admin'))).rejects.toEqual(TOO_FEW);
    // two signatures of one are one approval
    await expect(create(approvedBy(data, 'admin', 'admin'))).rejects.toEqual(TOO_FEW);
    const approval = approvedBy(data, 'admin', 'admin2');
    expect(await create(approval)).toEqual({});
    await expect(create(approval)).rejects.toEqual(WRONG);
  });

  test('is refused where a signature is of another, whoever', async () => {
    const data = await newToken('admin', { service: 'user' });
    const right = approvedBy(data, 'admin', 'admin2');
    const [one, two] = right.signatures as [(typeof right.signatures)[0], never];
    const wrong: HsmApproval['signatures'][] = [
      [one, { username: 'admin2', signature: one.signature }],
      [one, { username: 'admin3', signature: one.signature }],
      [one, { username: 'nobody', signature: one.signature }],
      [one, { username: 'alice', signature: signers.alice.sign(data) }],
      [one, { username: 'admin2', role: 'crypto-user', signature: signers.admin2.sign(data) }],
      [one, { username: 'admin2', signature: signers.admin2.sign(data.subarray(1)) }],
      [one, { username: 'admin2', signature: Buffer.alloc(256, 1) }],
      [one, { username: 'admin2', signature: Buffer.alloc(64, 1) }],
    ];
    for (const signatures of wrong) {
      await expect(create({ data, signatures })).rejects.toEqual(WRONG);
    }
    // none of these used the token up
    expect(await create({ data, signatures: [one, two] })).toEqual({});
  });

  test('has its time', async () => {
    const data = await newToken('admin', { service: 'user' });
    const approval = approvedBy(data, 'admin', 'admin2');
    fixture.aheadMs = LIMITS.quorum_token_ttl_ms + 1_000;
    await expect(create(approval)).rejects.toEqual(WRONG);
    // its place is free again
    expect(await newToken('admin', { service: 'user' })).toHaveLength(245);
  });

  test('is of one service, one login and one HSM', async () => {
    const value = { service: 'cluster', value: 1 };
    const [user, quorum] = [
      await newToken('admin', { service: 'user' }),
      await newToken('admin', { service: 'quorum' }),
    ];
    const forUser = approvedBy(user, 'admin', 'admin2');
    const forQuorum = approvedBy(quorum, 'admin', 'admin2');
    await expect(asAdmin('quorum-set', { ...value, approval: forUser })).rejects.toEqual(FAILED);
    await expect(create(forQuorum)).rejects.toEqual(FAILED);
    const both = approvedBy(Buffer.concat([user, quorum]), 'admin', 'admin2');
    await expect(create(both)).rejects.toEqual(FAILED);
    const junk = approvedBy(Buffer.concat([user, Buffer.alloc(245)]), 'admin', 'admin2');
    await expect(create(junk)).rejects.toEqual(FAILED);
    const others = await newToken('admin2', { service: 'user' });
    await expect(create(approvedBy(others, 'admin', 'admin2'))).rejects.toEqual(WRONG);
    const identity = { ...fixture.ids, hsm: newHsmId(), boot: newBootId() };
    const another = new QuorumTokens({ identity, now: monotonic });
    const session = fixture.machine.session(sessions.admin) ?? expect.unreachable();
    const token = another.give(session, 'user');
    await expect(create(approvedBy(token, 'admin', 'admin2'))).rejects.toEqual(WRONG);
    // beside that of another HSM it is good
    const data = Buffer.concat([token, user]);
    expect(await create(approvedBy(data, 'admin', 'admin2'))).toEqual({});
    expect(await asAdmin('quorum-set', { ...value, approval: forQuorum })).toEqual({});
  });

  test('is nothing when the login is over', async () => {
    const session = await fixture.login('admin3', PASSWORD);
    const as = { session };
    const { token } = await fixture.ask('token-create', { service: 'user' }, as);
    await fixture.ask('logout', {}, as);
    expect((await fixture.ask('token-list', {})).tokens).toEqual([]);
    const again = await fixture.login('admin3', PASSWORD);
    const fields = { username: 'bob', role: 'crypto-user' };
    const approval = approvedBy(token, 'admin', 'admin2');
    const late = fixture.ask('user-delete', { ...fields, approval }, { session: again });
    await expect(late).rejects.toEqual(WRONG);
  });

  test('is what admins do to users, but for their own passwords', async () => {
    const bob = { username: 'bob', role: 'crypto-user' };
    const own = { username: 'admin2', role: 'admin', password: PASSWORD };
    await expect(asAdmin('user-delete', bob)).rejects.toEqual(REQUIRED);
    const change = { ...bob, password: PASSWORD };
    await expect(asAdmin('user-change-password', change)).rejects.toEqual(REQUIRED);
    await expect(asAdmin('user-change-mfa', bob)).rejects.toEqual(REQUIRED);
    const as = { session: sessions.admin2 };
    expect(await fixture.ask('user-change-password', own, as)).toEqual({});
    for (const more of [{ deregisterMfa: true }, { deregisterQuorum: true }]) {
      const weaker = fixture.ask('user-change-password', { ...own, ...more }, as);
      await expect(weaker).rejects.toEqual(REQUIRED);
    }
    const user = { session: sessions.bob };
    expect(await fixture.ask('user-change-password', change, user)).toEqual({});
    const data = await newToken('admin', { service: 'user' });
    const approval = approvedBy(data, 'admin', 'admin2');
    // what is wrong otherwise does not use it up
    const missing = { username: 'nobody', role: 'admin', approval };
    await expect(asAdmin('user-delete', missing)).rejects.toEqual(refused('HsmUserNotFound'));
    expect(await asAdmin('user-change-password', { ...change, approval })).toEqual({});
    sessions.bob = await fixture.login('bob', PASSWORD);
  });
});

describe('tokens', () => {
  test('a user has one of each service of admins, and others as many as it likes', async () => {
    await newToken('admin', { service: 'user' });
    await expect(newToken('admin', { service: 'user' })).rejects.toEqual(
      refused('HsmAlreadyExists'),
    );
    await newToken('admin', { service: 'cluster' });
    await newToken('admin2', { service: 'user' });
    for (let time = 0; time < 3; time += 1) await newToken('admin', { service: 'registration' });
    const { tokens, values } = await fixture.ask('token-list', {});
    expect(values).toEqual({ user: 2, quorum: 2, cluster: 1 });
    expect(tokens.map(({ username, service }) => `${username} ${service}`)).toEqual([
      'admin user',
      'admin cluster',
      'admin2 user',
      ...Array.from({ length: 3 }, () => 'admin registration'),
    ]);
    expect(tokens[0]?.expiresInMs).toBeLessThanOrEqual(LIMITS.quorum_token_ttl_ms);
    await asAdmin('token-delete', { scope: 'user' });
    expect((await fixture.ask('token-list', {})).tokens).toHaveLength(1);
    await expect(
      fixture.ask('token-delete', { scope: 'all' }, { session: sessions.alice }),
    ).rejects.toEqual(refused('HsmRoleRefused'));
    await asAdmin('token-delete', { scope: 'all' });
    expect((await fixture.ask('token-list', {})).tokens).toEqual([]);
  });

  test('that are named are deleted, if they are of the user who asks', async () => {
    const [mine, theirs] = [
      await newToken('admin', { service: 'user' }),
      await newToken('admin2', { service: 'user' }),
    ];
    await newToken('admin', { service: 'cluster' });
    const among = Buffer.concat([mine, theirs]);
    await asAdmin('token-delete', { scope: 'user', among });
    const { tokens } = await fixture.ask('token-list', {});
    expect(tokens).toMatchObject([
      { username: 'admin2', service: 'user' },
      { username: 'admin', service: 'cluster' },
    ]);
    await asAdmin('token-delete', { scope: 'all', among: Buffer.alloc(245) });
    expect((await fixture.ask('token-list', {})).tokens).toHaveLength(2);
  });

  test('are of the services of their role', async () => {
    for (const service of ['key-usage', 'key-management']) {
      const fields = { service, key: newHsmKeyId() };
      await expect(newToken('admin', fields)).rejects.toEqual(refused('HsmRoleRefused'));
      await expect(newToken('alice', fields)).rejects.toEqual(refused('HsmKeyNotFound'));
      await expect(newToken('alice', { service })).rejects.toEqual(refused('HsmBadFrame'));
    }
    for (const service of ['user', 'quorum', 'cluster']) {
      await expect(newToken('alice', { service })).rejects.toEqual(refused('HsmRoleRefused'));
    }
  });

  test('are no more than there may be, until some are over', async () => {
    const ask = (): Promise<Uint8Array> => newToken('bob', { service: 'registration' });
    for (let count = 0; count < LIMITS.quorum_tokens_max; count += 1) await ask();
    await expect(ask()).rejects.toEqual(refused('HsmBusy'));
    fixture.aheadMs = LIMITS.quorum_token_ttl_ms + 1_000;
    await ask();
    expect((await fixture.ask('token-list', {})).tokens).toHaveLength(1);
  });
});

describe('keys', () => {
  const owner = 'bob';
  const reference = newHsmKeyId();
  const need = (approvals: number, sharedWith = ['alice']): Need => ({
    service: 'key-usage',
    key: { reference, owner, sharedWith },
    approvals,
  });
  /** as `token-create` would, of a key that this machine has */
  function given(service: 'key-usage' | 'key-management', key: string): HsmApproval {
    const session = fixture.machine.session(sessions.bob) ?? expect.unreachable();
    const data = fixture.machine.tokens.give(session, service, key);
    return approvedBy(data, 'alice');
  }
  const asked = (what: Need, approval?: HsmApproval) => (): void => {
    const session = fixture.machine.session(sessions.bob) ?? expect.unreachable();
    needApproval(fixture.machine, session, what, approval);
  };

  test('nobody is asked where one is enough', () => {
    expect(asked(need(0))).not.toThrow();
    expect(asked(need(1))).not.toThrow();
    expect(asked(need(2))).toThrow(FAILED);
  });

  test('who owns a key or shares it approves, for this key and service', () => {
    const { alice } = signers;
    const two = (approval: HsmApproval, username: string): HsmApproval => ({
      ...approval,
      signatures: [...approval.signatures, { username, signature: alice.sign(approval.data) }],
    });
    expect(asked(need(2), given('key-usage', reference))).toThrow(TOO_FEW);
    expect(asked(need(2), two(given('key-usage', reference), 'bob'))).toThrow(WRONG);
    expect(asked(need(2, []), given('key-usage', reference))).toThrow(WRONG);
    expect(asked(need(2), given('key-usage', newHsmKeyId()))).toThrow(FAILED);
    expect(asked(need(2), given('key-management', reference))).toThrow(FAILED);
    const bob = fixture.machine.user('bob') ?? expect.unreachable();
    const publicKey = signers.alice.der;
    fixture.machine.putUser({ ...bob, version: 2, publicKey, quorum: true });
    expect(asked(need(2), two(given('key-usage', reference), 'bob'))).not.toThrow();
    fixture.machine.putUser(bob);
  });
});

describe('values', () => {
  const ones = { user: 1, quorum: 1, cluster: 1 };
  test.each([
    ['more than there are admins', ones, 'quorum', 3, 2, 'which is 2'],
    ['of users before that of quorums', ones, 'user', 2, 2, 'of the service quorum'],
    ['of a cluster before that of quorums', ones, 'cluster', 2, 2, 'of the service quorum'],
    ['of quorums below', { ...ones, quorum: 3, user: 2 }, 'quorum', 1, 8, 'user and cluster'],
    ['of quorums', ones, 'quorum', 2, 2, undefined],
    ['of users', { ...ones, quorum: 2 }, 'user', 2, 2, undefined],
    ['of users back', { ...ones, quorum: 2, user: 2 }, 'user', 1, 2, undefined],
  ] as const)('%s', (_what, values, service, value, admins, told) => {
    const refusal = mayNotSetValue(values, service, value, admins);
    if (told === undefined) expect(refusal).toBeUndefined();
    else expect(refusal).toContain(told);
  });

  test('outlive a start, are seen by anybody, and need approval themselves', async () => {
    const value = { service: 'quorum', value: 3 };
    await expect(asAdmin('quorum-set', value)).rejects.toEqual(REQUIRED);
    await expect(asAdmin('quorum-set', { ...value, value: 4 })).rejects.toEqual(
      refused('HsmQuorumValueRefused'),
    );
    const data = await newToken('admin', { service: 'quorum' });
    await asAdmin('quorum-set', { ...value, approval: approvedBy(data, 'admin', 'admin2') });
    expect(fixture.restart()).toBe(true);
    expect(await fixture.ask('quorum-values', {})).toEqual({ user: 2, quorum: 3, cluster: 1 });
    sessions.admin = await fixture.login('admin', PASSWORD);
    for (const name of ['admin2', 'alice', 'bob'] as const) {
      sessions[name] = await fixture.login(name, PASSWORD);
    }
    expect(fixture.machine.user('alice')).toMatchObject({ version: 2, quorum: true });
    // a backup that was taken before there were any
    takeQuorumValues(fixture.machine);
    expect(await fixture.ask('quorum-values', {})).toEqual(ones);
  });
});
