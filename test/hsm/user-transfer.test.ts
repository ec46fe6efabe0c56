import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newClusterId } from '../../src/core/ids.js';
import type { HsmUser } from '../../src/protocol/hsm-frames.js';
import { HsmHost, PASSWORDS, type FrameClient } from '../support/hsm-host.js';
import { TokenSigner } from '../support/token-signer.js';

const refused = (code: string): unknown => expect.objectContaining({ code });
const alice = { username: 'alice', role: 'crypto-user' };

/** Real HSM processes of one family, and one of another. */
let host: HsmHost;
let source: FrameClient;
let admin = 0;
const signer = new TokenSigner();

beforeAll(async () => {
  host = await HsmHost.open();
  const first = await host.newHsm().start();
  source = await first.connect();
  admin = await host.found(first, source);
  await source.ask('user-create', { ...alice, password: PASSWORDS.user }, { session: admin });
  const session = await source.login('alice', PASSWORDS.user);
  const registration = { service: 'registration' };
  const { token } = await source.ask<'token-create'>('token-create', registration, { session });
  const proof = { token, signature: signer.sign(token) };
  const key = { publicKey: signer.der, proof, changeQuorum: true };
  await source.ask('user-change-mfa', { ...alice, ...key }, { session });
});
afterAll(async () => {
  signer[Symbol.dispose]();
  await host[Symbol.asyncDispose]();
});

/** Another member, with what the first one hands over. */
async function joiner(): Promise<FrameClient> {
  const hsm = await host.newHsm().start();
  const client = await hsm.connect();
  const { publicKey } = await client.ask<'identity'>('identity', {});
  const certificates = await host.certify(hsm.id, publicKey);
  const offer = await client.ask<'join-offer'>('join-offer', {});
  const session = await source.login('app_user', PASSWORDS.appUser);
  const fields = { hsm: hsm.id, certificates, ...offer };
  const given = await source.ask<'handover'>('handover', fields, { session });
  await client.ask('join', { ...given, certificates, root: host.manufacturer.certificate });
  return client;
}

const usersOf = async (client: FrameClient): Promise<readonly HsmUser[]> =>
  (await client.ask<'user-list'>('user-list', {})).users;
const adminOn = (client: FrameClient): Promise<number> => client.login('admin', PASSWORDS.admin);
const extract = async (client = source, session = admin): Promise<Uint8Array> =>
  (await client.ask<'user-extract'>('user-extract', alice, { session })).sealed;

/** Logs alice in with a challenge of the one HSM, on the other. */
async function logIn(client: FrameClient, challenger = client): Promise<number> {
  const { token } = await challenger.ask<'mfa-challenge'>('mfa-challenge', { username: 'alice' });
  const mfa = { token, signature: signer.sign(token) };
  const fields = { username: 'alice', password: PASSWORDS.user, mfa };
  return (await client.ask<'login'>('login', fields)).session;
}

describe('a user of a relative', () => {
  let target: FrameClient;
  let session = 0;
  beforeAll(async () => {
    target = await joiner();
    session = await adminOn(target);
  });

  test('came with its key where the whole HSM did', async () => {
    expect(await usersOf(target)).toEqual(await usersOf(source));
    expect(await logIn(target)).toBeGreaterThan(0);
    await expect(logIn(target, source)).rejects.toEqual(refused('HsmCredentialsRefused'));
  });

  test('is taken in as it is, and once more without an error', async () => {
    await target.ask('user-delete', alice, { session });
    const sealed = await extract();
    for (let time = 0; time < 2; time += 1) {
      expect(await target.ask('user-insert', { sealed }, { session })).toEqual(alice);
    }
    expect(await usersOf(target)).toEqual(expect.arrayContaining([...(await usersOf(source))]));
    expect(await logIn(target)).toBeGreaterThan(0);
    // a wrong password there makes no other user of it
    const wrong = { username: 'alice', password: 'wrong', mfa: undefined };
    await expect(target.ask('login', wrong)).rejects.toThrow();
    expect(await target.ask('user-insert', { sealed }, { session })).toEqual(alice);
  });

  test('is not put over another one of its name', async () => {
    const sealed = await extract();
    await target.ask('user-change-password', { ...alice, password: 'other-password' }, { session });
    await expect(target.ask('user-insert', { sealed }, { session })).rejects.toEqual(
      refused('HsmAlreadyExists'),
    );
    await target.ask('user-delete', alice, { session });
    const other = { ...alice, role: 'admin', password: PASSWORDS.user };
    await target.ask('user-create', other, { session });
    await expect(target.ask('user-insert', { sealed }, { session })).rejects.toEqual(
      refused('HsmAlreadyExists'),
    );
    await target.ask('user-delete', { ...alice, role: 'admin' }, { session });
  });

  test('is not what was sealed for another purpose, changed, or of another family', async () => {
    const sealed = await extract();
    const changed = Buffer.from(sealed);
    changed[20] = (changed[20] ?? 0) ^ 1;
    const appliance = await source.login('app_user', PASSWORDS.appUser);
    const joining = host.newHsm();
    await joining.start();
    const client = await joining.connect();
    const { publicKey } = await client.ask<'identity'>('identity', {});
    const certificates = await host.certify(joining.id, publicKey);
    const offer = await client.ask<'join-offer'>('join-offer', {});
    const asked = { hsm: joining.id, certificates, ...offer };
    const as = { session: appliance };
    const { users } = await source.ask<'handover'>('handover', asked, as);
    for (const wrong of [changed, users]) {
      await expect(target.ask('user-insert', { sealed: wrong }, { session })).rejects.toEqual(
        refused('HsmDataInvalid'),
      );
    }
    const foreign = await host.newHsm(newClusterId()).start();
    const door = await foreign.connect();
    const there = await host.found(foreign, door);
    await expect(door.ask('user-insert', { sealed }, { session: there })).rejects.toEqual(
      refused('HsmDataInvalid'),
    );
  });

  test('leaves for an admin alone, under its own role, and never the appliance user', async () => {
    const crypto = await logIn(source);
    await expect(extract(source, crypto)).rejects.toEqual(refused('HsmRoleRefused'));
    for (const wrong of [
      { ...alice, role: 'admin' },
      { ...alice, username: 'nobody' },
      { username: 'app_user', role: 'admin' },
    ]) {
      await expect(source.ask('user-extract', wrong, { session: admin })).rejects.toEqual(
        refused('HsmUserNotFound'),
      );
    }
  });

  test('needs approval where admins approve; values come with a joining', async () => {
    const second = { username: 'second', role: 'admin', password: PASSWORDS.user };
    await source.ask('user-create', second, { session: admin });
    const set = { service: 'quorum', value: 2 };
    await source.ask('quorum-set', set, { session: admin });
    const late = await joiner();
    const values = { user: 1, quorum: 2, cluster: 1 };
    expect(await late.ask('quorum-values', {})).toEqual(values);
    await expect(late.ask('quorum-set', set, { session: await adminOn(late) })).rejects.toEqual(
      refused('HsmQuorumRequired'),
    );
    expect(await target.ask('quorum-values', {})).toEqual({ user: 1, quorum: 1, cluster: 1 });
  });
});
