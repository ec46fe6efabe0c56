import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../src/core/errors.js';
import { LIMITS } from '../../src/core/limits.js';
import { readUserKey } from '../../src/hsm/user-factors.js';
import type { HsmSignedToken } from '../../src/protocol/quorum-frames.js';
import { MachineFixture, PASSWORDS } from '../support/hsm-machine.js';
import { TokenSigner } from '../support/token-signer.js';

const PASSWORD = 'password-1';
const refused = (code: ErrorCode, message?: string): unknown =>
  expect.objectContaining({ code, ...(message !== undefined && { message }) });
const WRONG = refused('HsmCredentialsRefused');

let fixture: MachineFixture;
let admin = 0;
const [signer, other] = [new TokenSigner(), new TokenSigner()];
beforeAll(async () => {
  fixture = await MachineFixture.founded();
  const before = await fixture.login('admin', PASSWORDS.admin);
  await fixture.ask('activate', { password: PASSWORD }, { session: before });
  admin = await fixture.login('admin', PASSWORD);
});
afterAll(() => {
  fixture[Symbol.dispose]();
  for (const one of [signer, other]) one[Symbol.dispose]();
});

const named = (username: string): object => ({ username, role: 'crypto-user' });

/** A user with a login of its own. */
async function newUser(username: string): Promise<number> {
  const fields = { ...named(username), password: PASSWORD };
  await fixture.ask('user-create', fields, { session: admin });
  return await fixture.login(username, PASSWORD);
}

async function proofBy(session: number, by = signer): Promise<HsmSignedToken> {
  const { token } = await fixture.ask('token-create', { service: 'registration' }, { session });
  return { token, signature: by.sign(token) };
}

/** Registers a key as second factor. */
async function enable(
  session: number,
  username: string,
  more: object = {},
  by = signer,
): Promise<void> {
  const proof = await proofBy(session, by);
  const fields = { ...named(username), publicKey: by.der, proof, ...more };
  await fixture.ask('user-change-mfa', fields, { session });
}

async function factor(username: string, by = signer): Promise<HsmSignedToken> {
  const { token } = await fixture.ask('mfa-challenge', { username });
  return { token, signature: by.sign(token) };
}

const logIn = async (
  username: string,
  mfa?: HsmSignedToken,
  password = PASSWORD,
): Promise<number> =>
  (await fixture.ask('login', { username, password, ...(mfa && { mfa }) })).session;

async function listed(name: string): Promise<unknown> {
  const { users } = await fixture.ask('user-list', {});
  return users.find(({ username }) => username === name);
}

describe('a login with a second factor', () => {
  test('needs both, and the first one alone says nothing', async () => {
    const session = await newUser('amy');
    const before = await logIn('amy');
    await enable(session, 'amy');
    expect(await listed('amy')).toMatchObject({ mfa: true, keyHash: expect.any(String) as string });
    // older logins are over, but for the one that asked
    expect(fixture.machine.session(before)).toBeUndefined();
    expect(fixture.machine.session(session)).toBeDefined();
    for (const password of [PASSWORD, 'not the password']) {
      await expect(logIn('amy', undefined, password)).rejects.toEqual(refused('HsmMfaRequired'));
    }
    expect(fixture.machine.user('amy')?.failures).toBe(0);
    expect(await logIn('AMY', await factor('amy'))).toBeGreaterThan(0);
    expect(fixture.restart()).toBe(true);
    admin = await fixture.login('admin', PASSWORD);
    expect(await logIn('amy', await factor('Amy'))).toBeGreaterThan(0);
  });

  test('takes each token once, in its time, from the boot that gave it', async () => {
    const once = await factor('amy');
    await logIn('amy', once);
    await expect(logIn('amy', once)).rejects.toEqual(WRONG);
    const late = await factor('amy');
    fixture.aheadMs = LIMITS.quorum_token_ttl_ms + 1_000;
    await expect(logIn('amy', late)).rejects.toEqual(WRONG);
    fixture.aheadMs = 0;
    const old = await factor('amy');
    fixture.restart();
    admin = await fixture.login('admin', PASSWORD);
    await expect(logIn('amy', old)).rejects.toEqual(WRONG);
    expect(fixture.machine.user('amy')?.failures).toBe(3);
    await logIn('amy', await factor('amy'));
    expect(fixture.machine.user('amy')?.failures).toBe(0);
  });

  test('that is wrong in either counts as one with a wrong password, and locks', async () => {
    const session = await newUser('lea');
    await newUser('max');
    await enable(session, 'lea');
    const right = await factor('lea');
    const registration = await proofBy(session);
    const wrong: [HsmSignedToken, string][] = [
      [await factor('lea', other), PASSWORD],
      [await factor('max'), PASSWORD],
      [registration, PASSWORD],
      [{ token: Buffer.alloc(245, 1), signature: right.signature }, PASSWORD],
      [right, 'not the password'],
    ];
    for (const [mfa, password] of wrong) {
      await expect(logIn('lea', mfa, password)).rejects.toEqual(WRONG);
    }
    expect(fixture.machine.user('lea')).toMatchObject({ failures: 5, locked: true });
    await expect(logIn('lea', right)).rejects.toEqual(refused('HsmUserLocked'));
    // as the documentation repairs it
    await fixture.ask('user-change-mfa', named('lea'), { session: admin });
    const change = { ...named('lea'), password: 'password-2' };
    await fixture.ask('user-change-password', change, { session: admin });
    expect(await logIn('lea', undefined, 'password-2')).toBeGreaterThan(0);
  });

  test('is taken as it is from a user who has none here', async () => {
    expect(await logIn('max', await factor('max'))).toBeGreaterThan(0);
  });
});

describe('registering a key', () => {
  test('wants its other half, and a token of this login', async () => {
    const session = await newUser('ron');
    const fields = { ...named('ron'), publicKey: signer.der };
    const change = (proof?: HsmSignedToken, publicKey = signer.der): Promise<unknown> =>
      fixture.ask(
        'user-change-mfa',
        { ...fields, publicKey, ...(proof && { proof }) },
        { session },
      );
    await expect(change()).rejects.toEqual(refused('HsmFactorRefused'));
    await expect(change(await proofBy(admin))).rejects.toEqual(refused('HsmFactorRefused'));
    await expect(change(await factor('ron'))).rejects.toEqual(refused('HsmFactorRefused'));
    const proof = await proofBy(session, other);
    await expect(change(proof)).rejects.toEqual(
      refused('HsmFactorRefused', 'InvalidQuorumSignature'),
    );
    await change(proof, other.der);
    await expect(change(proof, other.der)).rejects.toEqual(refused('HsmFactorRefused'));
    expect(fixture.machine.user('ron')).toMatchObject({ version: 2, mfa: true });
  });

  test('is of RSA keys of 2048 bits alone', () => {
    const der = ({ publicKey }: { publicKey: KeyObject }): Buffer =>
      publicKey.export({ format: 'der', type: 'spki' });
    for (const wrong of [
      der(generateKeyPairSync('rsa', { modulusLength: 1_024 })),
      der(generateKeyPairSync('rsa', { modulusLength: 2_048, publicExponent: 3 })),
      der(generateKeyPairSync('rsa-pss', { modulusLength: 2_048 })),
      der(generateKeyPairSync('ec', { namedCurve: 'P-256' })),
      Buffer.alloc(294, 1),
    ]) {
      expect(() => readUserKey(wrong)).toThrow(refused('HsmFactorRefused'));
    }
    expect(Buffer.from(readUserKey(signer.der)).equals(signer.der)).toBe(true);
  });

  test('is for oneself, or for others if an admin asks', async () => {
    const session = await newUser('sue');
    const theirs = { ...named('sue'), publicKey: signer.der };
    const max = await logIn('max');
    const proof = await proofBy(max);
    await expect(
      fixture.ask('user-change-mfa', { ...theirs, proof }, { session: max }),
    ).rejects.toEqual(refused('HsmRoleRefused'));
    await enable(admin, 'sue', { password: 'password-3' });
    expect(fixture.machine.session(session)).toBeUndefined();
    expect(await logIn('sue', await factor('sue'), 'password-3')).toBeGreaterThan(0);
    const app = { username: 'app_user', role: 'appliance-user', publicKey: signer.der };
    await expect(fixture.ask('user-change-mfa', app, { session: admin })).rejects.toEqual(
      refused('HsmBadFrame'),
    );
  });

  test('is one key for both: another one is said to be for both, or refused', async () => {
    const session = await newUser('tom');
    const approve = async (by = signer): Promise<unknown> => {
      const fields = { publicKey: by.der, proof: await proofBy(session, by) };
      return await fixture.ask('user-change-quorum', fields, { session });
    };
    await approve();
    await approve(other);
    await approve();
    expect(await listed('tom')).toMatchObject({ quorum: true });
    expect(await listed('tom')).not.toHaveProperty('mfa');
    await expect(enable(session, 'tom', {}, other)).rejects.toEqual(refused('HsmFactorRefused'));
    await enable(session, 'tom');
    await expect(approve(other)).rejects.toEqual(refused('HsmFactorRefused'));
    await enable(session, 'tom', { changeQuorum: true }, other);
    expect(await listed('tom')).toMatchObject({ mfa: true, quorum: true });
    await fixture.ask('user-change-mfa', named('tom'), { session });
    expect(await listed('tom')).toMatchObject({ quorum: true });
    await enable(session, 'tom', {}, other);
    await fixture.ask('user-change-mfa', { ...named('tom'), changeQuorum: true }, { session });
    expect(fixture.machine.user('tom')).toMatchObject({ version: 1 });
    expect(await listed('tom')).not.toHaveProperty('keyHash');
  });

  test('ends with a new password where that is wished', async () => {
    const session = await newUser('uma');
    const change = (more: object): Promise<unknown> =>
      fixture.ask(
        'user-change-password',
        { ...named('uma'), password: PASSWORD, ...more },
        {
          session,
        },
      );
    await enable(session, 'uma', { changeQuorum: true });
    await change({});
    expect(fixture.machine.user('uma')).toMatchObject({ mfa: true, quorum: true });
    await change({ deregisterMfa: true });
    expect(fixture.machine.user('uma')).toMatchObject({ quorum: true });
    expect(fixture.machine.user('uma')).not.toHaveProperty('mfa');
    await change({ deregisterQuorum: true });
    expect(fixture.machine.user('uma')).not.toHaveProperty('publicKey');
    expect(await logIn('uma')).toBeGreaterThan(0);
  });
});
