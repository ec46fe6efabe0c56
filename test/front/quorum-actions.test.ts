import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { QuorumDesk, type WrittenApproval } from '../support/quorum-desk.js';
import { TokenSigner } from '../support/token-signer.js';

const PASSWORD = 'password-1';
const ENABLED = [{ strategy: 'token-sign', status: 'enabled' }];
const INCONSISTENT = [{ strategy: 'token-sign', status: 'inconsistent' }];
const refused = (code: string, message?: string): unknown =>
  expect.objectContaining({ code, ...(message !== undefined && { message }) });
const REQUIRED = refused('HsmQuorumRequired', 'Quorum approval is required for this operation');
const WRONG = refused(
  'HsmQuorumRefused',
  'Invalid username-signature pair for quorum authorization',
);

/** A daemon with three HSMs, and users who sign with openssl. */
let daemon: DaemonFixture;
let desk: QuorumDesk;
let ids: string[];
let admin = '';
let second = '';
const [one, two] = [new TokenSigner(), new TokenSigner()];
const approvers = { admin: one, second: two };
const alice = { username: 'alice', role: 'crypto-user', password: PASSWORD } as const;

beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 3, faults: true });
  desk = new QuorumDesk(daemon);
  ids = (await daemon.hsms()).map(({ id }) => id);
  const password = (await desk.ask('Credentials')).admin?.password ?? '';
  admin = await desk.logIn({ username: 'admin', role: 'admin', password });
  const other = { username: 'second', role: 'admin', password: PASSWORD } as const;
  await desk.ask('UserCreate', { session: admin, ...other });
  await desk.ask('UserCreate', { session: admin, ...alice });
  second = await desk.logIn(other);
});
afterAll(async () => {
  for (const signer of [one, two]) signer[Symbol.dispose]();
  await daemon?.[Symbol.asyncDispose]();
});

const approval = (service: 'user' | 'quorum' = 'user'): Promise<WrittenApproval> =>
  desk.approval(admin, service, approvers);
const create = (username: string, more: object = {}): Promise<unknown> =>
  desk.ask('UserCreate', { ...alice, session: admin, username, ...more });

/** Registers a key as second factor, or takes that away. */
async function changeMfa(session: string, more: object = {}, signer?: TokenSigner): Promise<void> {
  const { username, role } = alice;
  const key = signer && {
    publicKey: signer.pem,
    tokens: desk.signEach(await desk.tokens(session, 'registration'), signer),
  };
  await desk.ask('UserChangeMfa', { session, username, role, ...key, ...more });
}

async function factors(signer: TokenSigner): Promise<object[]> {
  return desk.signEach(await desk.challenges(alice.username, alice.role), signer);
}

describe('a second factor', () => {
  let session = '';

  test('is a key whose other half signs a token of each HSM', async () => {
    session = await desk.logIn(alice);
    const tokens = await desk.tokens(session, 'registration');
    expect(tokens.map(({ hsm }) => hsm).sort()).toEqual([...ids].sort());
    const wrong = desk.signEach(tokens, two);
    const { username, role } = alice;
    const fields = { session, username, role, publicKey: one.pem };
    await expect(desk.ask('UserChangeMfa', { ...fields, tokens: wrong })).rejects.toEqual(
      refused('HsmFactorRefused', 'InvalidQuorumSignature'),
    );
    await expect(
      desk.ask('UserChangeMfa', { ...fields, publicKey: 'no key', tokens: wrong }),
    ).rejects.toEqual(refused('HsmFactorRefused'));
    const right = desk.signEach(tokens, one);
    expect(await desk.ask('UserChangeMfa', { ...fields, tokens: right })).toEqual({
      username,
      role,
    });
    expect(await desk.listed('alice')).toMatchObject({ mfa: ENABLED, quorum: [] });
  });

  test('is asked for at a login, without a word on the password', async () => {
    for (const password of [PASSWORD, 'wrong-password']) {
      await expect(desk.logIn({ ...alice, password })).rejects.toEqual(refused('HsmMfaRequired'));
    }
    session = await desk.logIn(alice, await factors(one));
    expect(await desk.listed('alice')).toMatchObject({ locked: 'false' });
    await expect(desk.challenges('nobody', 'admin')).rejects.toEqual(
      refused('HsmCredentialsRefused'),
    );
  });

  test('cannot be used again: the login stays off an HSM that comes back', async () => {
    await desk.without(ids.slice(0, 1), async () => undefined);
    expect(await desk.listed('alice')).toMatchObject({ locked: 'false' });
    // tokens are of the HSMs that the login is on
    const tokens = await desk.tokens(session, 'registration');
    expect(tokens.map(({ hsm }) => hsm).sort()).toEqual(ids.slice(1).sort());
    expect(daemon.log()).toContain('a user could not be logged in');
    // signed challenges do not log anybody in twice either
    const signed = await factors(one);
    await desk.logIn(alice, signed);
    await expect(desk.logIn(alice, signed)).rejects.toEqual(refused('HsmCredentialsRefused'));
  });

  test('that is wrong locks the user, as a wrong password does', async () => {
    const signed = await factors(two);
    for (let time = 0; time < 4; time += 1) {
      await expect(desk.logIn(alice, signed)).rejects.toEqual(refused('HsmCredentialsRefused'));
    }
    expect(await desk.listed('alice')).toMatchObject({ locked: 'true' });
    await expect(desk.logIn(alice, await factors(one))).rejects.toEqual(refused('HsmUserLocked'));
  });

  test('that an HSM missed reads inconsistent, and is repaired as documented', async () => {
    await desk.without(ids.slice(0, 1), () => changeMfa(admin));
    expect(await desk.listed('alice')).toMatchObject({ mfa: INCONSISTENT });
    // disable, change the password, enable again
    await changeMfa(admin);
    expect(await desk.listed('alice')).toMatchObject({ mfa: [] });
    await desk.ask('UserChangePassword', { ...alice, session: admin });
    session = await desk.logIn(alice);
    await changeMfa(session, {}, two);
    expect(await desk.listed('alice')).toMatchObject({ mfa: ENABLED, locked: 'false' });
  });

  test('that differs because an HSM died half-way is repaired so, too', async () => {
    const action = { do: 'crash' };
    const rule = { operation: 'user-change-mfa', when: 'before', nth: 1, times: 1, action };
    await desk.ask('FaultAdd', { hsm: ids[1], rule });
    await expect(changeMfa(session)).rejects.toEqual(
      refused('KeyspanRefused', 'User change-mfa failed on 1 of 3 connections'),
    );
    await daemon.allActive();
    expect(await desk.listed('alice')).toMatchObject({ mfa: INCONSISTENT });
    await changeMfa(admin);
    await desk.ask('UserChangePassword', { ...alice, session: admin });
    expect(await desk.listed('alice')).toMatchObject({ mfa: [] });
    // other keys on other HSMs are no second factor of all
    const early = await desk.logIn(alice);
    await changeMfa(early, {}, one);
    await desk.without(ids.slice(2), () => changeMfa(admin, {}, two));
    expect(await desk.listed('alice')).toMatchObject({ mfa: INCONSISTENT });
    await changeMfa(admin);
  });

  test('goes with a new password where that is wished', async () => {
    session = await desk.logIn(alice);
    await changeMfa(session, { changeQuorum: true, password: 'password-2' }, one);
    expect(await desk.listed('alice')).toMatchObject({ mfa: ENABLED, quorum: ENABLED });
    const own = { ...alice, session, deregisterMfa: true };
    await desk.ask('UserChangePassword', own);
    expect(await desk.listed('alice')).toMatchObject({ mfa: [], quorum: ENABLED });
    await desk.ask('UserChangePassword', { ...own, deregisterQuorum: true });
    expect(await desk.listed('alice')).toMatchObject({ mfa: [], quorum: [] });
    await desk.logIn(alice);
  });

  test('is none for the user that KMS works as', async () => {
    const kms = { session: admin, username: 'kmsuser', role: 'crypto-user' };
    await expect(desk.ask('UserChangeMfa', kms)).rejects.toEqual(refused('KeyspanRefused'));
  });
});

describe('approval by M of N', () => {
  test('begins with keys of those who approve', async () => {
    expect(await desk.register(admin, one)).toEqual({ username: 'admin', role: 'admin' });
    expect(await desk.register(second, two)).toEqual({ username: 'second', role: 'admin' });
    for (const name of ['admin', 'second']) {
      expect(await desk.listed(name)).toMatchObject({ quorum: ENABLED, mfa: [] });
    }
  });

  test('is asked for once a value says so', async () => {
    const set = (service: string, value: number, more: object = {}): Promise<unknown> =>
      desk.ask('QuorumSetValue', { session: admin, service, value, ...more });
    expect(await desk.ask('QuorumListValues')).toEqual({ user: 1, quorum: 1, cluster: 1 });
    await expect(set('user', 2)).rejects.toEqual(refused('HsmQuorumValueRefused'));
    await expect(set('quorum', 3)).rejects.toEqual(refused('HsmQuorumValueRefused'));
    await set('quorum', 2);
    await expect(set('user', 2)).rejects.toEqual(REQUIRED);
    await desk.without(ids.slice(0, 1), async () => {
      await set('user', 2, { approval: await approval('quorum') });
    });
    expect(await desk.ask('QuorumListValues')).toMatchObject({ user: 'inconsistent', quorum: 2 });
    await set('user', 2, { approval: await approval('quorum') });
    expect(await desk.ask('QuorumListValues')).toEqual({ user: 2, quorum: 2, cluster: 1 });
  });

  test('lets one thing be done on every HSM, once', async () => {
    await expect(create('bob')).rejects.toEqual(REQUIRED);
    const tokens = await desk.tokens(admin, 'user');
    const listed = {
      username: 'admin',
      service: 'user',
      'approvals-required': 2,
      'number-of-approvals': 0,
      'cluster-coverage': 'full',
    };
    const { tokens: shown } = await desk.ask('QuorumList');
    expect(shown).toMatchObject([listed]);
    expect(shown).toMatchObject([{ 'token-timeout-seconds': expect.toSatisfy(inTime) as number }]);
    await expect(desk.tokens(admin, 'user')).rejects.toEqual(refused('HsmAlreadyExists'));
    const data = Buffer.concat(tokens.map(({ token }) => Buffer.from(token, 'base64')));
    await expect(create('bob', { approval: desk.approve(data, { admin: one }) })).rejects.toEqual(
      refused(
        'HsmQuorumRefused',
        'Too few quorum approvals: currently 1 approvals, but 2 approvals required',
      ),
    );
    const wrong = desk.approve(data, { admin: one, second: one });
    await expect(create('bob', { approval: wrong })).rejects.toEqual(WRONG);
    await expect(create('bob', { approval: { ...wrong, signatures: [] } })).rejects.toEqual(
      refused('HsmQuorumRefused', 'No token signatures provided'),
    );
    const right = desk.approve(data, approvers);
    expect(await create('bob', { approval: right })).toMatchObject({ username: 'bob' });
    expect(await desk.listed('bob')).toMatchObject({ 'cluster-coverage': 'full' });
    await expect(create('carol', { approval: right })).rejects.toEqual(WRONG);
    expect((await desk.ask('QuorumList')).tokens).toEqual([]);
  });

  test('is of the service and the login that it was asked for', async () => {
    const [quorum, user] = [await approval('quorum'), await approval()];
    await expect(create('carol', { approval: quorum })).rejects.toEqual(
      refused('HsmQuorumRefused', 'Quorum Failed'),
    );
    const elsewhere = { ...alice, username: 'carol', session: second, approval: user };
    await expect(desk.ask('UserCreate', elsewhere)).rejects.toEqual(WRONG);
    const deletion = { session: admin, username: 'bob', role: 'crypto-user' };
    await expect(desk.ask('UserDelete', deletion)).rejects.toEqual(REQUIRED);
    await desk.ask('UserDelete', { ...deletion, approval: user });
    await desk.ask('QuorumDelete', { session: admin, scope: 'user' });
    expect((await desk.ask('QuorumList')).tokens).toEqual([]);
  });

  test('where an HSM has no token of it fails there, and is repaired by another', async () => {
    const tokens = await desk.tokens(admin, 'user');
    const two3 = tokens.slice(1).map(({ token }) => Buffer.from(token, 'base64'));
    const partly = desk.approve(Buffer.concat(two3), approvers);
    await expect(create('dave', { approval: partly })).rejects.toEqual(
      refused('KeyspanRefused', 'User create failed on 1 of 3 connections'),
    );
    expect(await desk.listed('dave')).toMatchObject({ 'cluster-coverage': 'inconsistent' });
    // the token that was not used is there yet
    await expect(approval()).rejects.toEqual(
      refused(
        'HsmAlreadyExists',
        'The user has an active token of the service user. Delete it first',
      ),
    );
    await desk.ask('QuorumDelete', { session: admin, scope: 'all' });
    await create('dave', { approval: await approval() });
    expect(await desk.listed('dave')).toMatchObject({ 'cluster-coverage': 'full' });
    // nor is what the other HSMs had no use for
    expect((await desk.ask('QuorumList')).tokens).toEqual([]);
  });

  test('during which an HSM dies is repaired by another', async () => {
    const action = { do: 'crash' };
    const rule = { operation: 'user-create', when: 'before', nth: 1, times: 1, action };
    await desk.ask('FaultAdd', { hsm: ids[2], rule });
    const approved = await approval();
    await expect(create('erin', { approval: approved })).rejects.toEqual(
      refused('KeyspanRefused', 'User create failed on 1 of 3 connections'),
    );
    await daemon.allActive();
    expect(await desk.listed('erin')).toMatchObject({ 'cluster-coverage': 'inconsistent' });
    // an HSM forgets its tokens with its process, and what was used is used
    await expect(create('erin', { approval: approved })).rejects.toEqual(refused('KeyspanRefused'));
    await desk.ask('QuorumDelete', { session: admin, scope: 'all' });
    await create('erin', { approval: await approval() });
    expect(await desk.listed('erin')).toMatchObject({ 'cluster-coverage': 'full' });
  });

  test('goes with the values to a new HSM', async () => {
    const hsm = await desk.ask('HsmAdd');
    expect(await desk.ask('QuorumListValues')).toEqual({ user: 2, quorum: 2, cluster: 1 });
    expect(await desk.listed('second')).toMatchObject({ quorum: ENABLED });
    const approved = await approval();
    await create('frank', { approval: approved });
    expect(await desk.listed('frank')).toMatchObject({ 'cluster-coverage': 'full' });
    await desk.ask('HsmRemove', { id: hsm.id });
  });

  test('is nothing that a crypto-user asks for', async () => {
    const session = await desk.logIn(alice);
    await expect(desk.tokens(session, 'user')).rejects.toEqual(refused('HsmRoleRefused'));
    await expect(
      desk.ask('QuorumSetValue', { session, service: 'user', value: 1 }),
    ).rejects.toEqual(refused('HsmRoleRefused'));
    await expect(desk.ask('QuorumDelete', { session, scope: 'all' })).rejects.toEqual(
      refused('HsmRoleRefused'),
    );
  });
});

const inTime = (seconds: number): boolean => seconds > 500 && seconds <= 600;

test('the audit log has each step, allowed or not, and no secret', async () => {
  const read = (): string => readFileSync(join(daemon.home.audit, 'audit.jsonl'), 'utf8');
  await expect.poll(read).toMatch(/quorum delete all.*HsmRoleRefused/);
  const text = read();
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const about = (action: string): unknown[] =>
    lines.filter((line) => line['action'] === action).map(({ code }) => code);
  expect(about('user change-mfa')).toEqual(expect.arrayContaining([undefined, 'KeyspanRefused']));
  expect(about('user change-quorum')).toEqual([undefined, undefined]);
  expect(about('quorum generate user')).toContain('HsmAlreadyExists');
  expect(about('quorum set-quorum-value user 2')).toEqual(
    expect.arrayContaining([undefined, 'HsmQuorumRequired']),
  );
  const logins = lines.filter((line) => line['user'] === 'alice');
  expect(logins.map(({ code }) => code)).toContain('HsmMfaRequired');
  for (const secret of [PASSWORD, 'password-2', 'BEGIN PUBLIC KEY']) {
    expect(text).not.toContain(secret);
    expect(daemon.log()).not.toContain(secret);
  }
});
