import { describe, expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { CKA } from '../../src/core/pkcs11.js';
import { foundMaskingKeys } from '../../src/token/masking-keys.js';
import { findObjects, listData } from '../../src/token/objects.js';
import { MachineFixture, PASSWORDS } from '../support/hsm-machine.js';

const refused = (code: string): unknown => expect.objectContaining({ code });

const founding = (maskingKeyId = newMaskingKeyId()): Record<string, unknown> => ({
  maskingKeyId,
  certificates: ['certificate'],
  root: 'root',
  appUser: { username: 'app_user', password: PASSWORDS.app_user },
  admin: { username: 'admin', password: PASSWORDS.admin },
});

const maskingKeys = ({ machine }: MachineFixture): number =>
  ['wrap', 'seal', 'auth'].flatMap((role) =>
    findObjects(machine.token, [
      { type: CKA.TOKEN, value: true },
      { type: CKA.LABEL, value: `mask-${role}` },
    ]),
  ).length;

describe('founding', () => {
  test('makes a member that is one after a restart', async () => {
    using fixture = await MachineFixture.founded();
    expect(fixture.machine.phase).toBe('member');
    expect(fixture.restart()).toBe(true);
    expect(fixture.machine.users.size).toBe(2);
    await expect(fixture.ask('found', founding())).rejects.toEqual(refused('HsmPhase'));
  });

  test('asked for twice at once happens once', async () => {
    using fixture = new MachineFixture();
    const both = await Promise.allSettled([
      fixture.ask('found', founding()),
      fixture.ask('found', founding()),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(maskingKeys(fixture)).toBe(3);
    expect(fixture.restart()).toBe(true);
  });

  test('that was cut short is finished with the keys that were made', async () => {
    using fixture = new MachineFixture();
    const { tokens } = fixture;
    const id = newMaskingKeyId();
    foundMaskingKeys(tokens.token, tokens.pins, id);
    expect(fixture.restart()).toBe(false);
    fixture.machine.forget();
    const other = fixture.ask('found', founding());
    await expect(other).rejects.toEqual(refused('HsmPhase'));
    await fixture.ask('found', founding(id));
    expect(maskingKeys(fixture)).toBe(3);
    expect(fixture.machine.masking.masking.id).toBe(id);
    expect(fixture.restart()).toBe(true);
  });

  test('that never reached its last write is not a member', async () => {
    using fixture = await MachineFixture.founded();
    const { token } = fixture.machine;
    for (const { handle, label } of listData(token, 'keyspan-fact')) {
      if (label === 'member') token.destroy(handle);
    }
    expect(fixture.restart()).toBe(false);
  });
});

describe('an offer to join', () => {
  test('leaves the user logged in, and one key pair however often it is made', async () => {
    using fixture = new MachineFixture();
    await fixture.ask('identity', {});
    const { token } = fixture.machine;
    const first = await fixture.ask('join-offer', {});
    const second = await fixture.ask('join-offer', {});
    expect(Buffer.from(first.publicKey).equals(second.publicKey)).toBe(false);
    expect(findObjects(token, [{ type: CKA.TOKEN, value: false }])).toHaveLength(2);
    expect(token.isLoggedIn).toBe(true);
    const { publicKey } = await fixture.ask('identity', {});
    expect(publicKey).toEqual((await fixture.ask('identity', {})).publicKey);
  });

  test('without an identity is refused, and the user is logged in all the same', async () => {
    using fixture = new MachineFixture();
    await expect(fixture.ask('join-offer', {})).rejects.toEqual(refused('HsmPhase'));
    expect(fixture.machine.token.isLoggedIn).toBe(true);
  });

  test('is answered with keys that are none: nothing changes, the user is logged in', async () => {
    using fixture = new MachineFixture();
    await fixture.ask('identity', {});
    const fields = {
      maskingKeyId: newMaskingKeyId(),
      wrapped: { wrap: Buffer.alloc(256), seal: Buffer.alloc(256), auth: Buffer.alloc(256) },
      certificates: ['certificate'],
      root: 'root',
      users: Buffer.alloc(64),
    };
    await expect(fixture.ask('join', fields)).rejects.toEqual(refused('HsmPhase'));
    await fixture.ask('join-offer', {});
    await expect(fixture.ask('join', fields)).rejects.toEqual(refused('HsmDataInvalid'));
    expect(fixture.machine.phase).toBe('new');
    expect(fixture.machine.token.isLoggedIn).toBe(true);
    expect(maskingKeys(fixture)).toBe(0);
    await expect(fixture.ask('join', fields)).rejects.toEqual(refused('HsmPhase'));
  });
});

describe('activation', () => {
  test('that is asked for twice at once happens once', async () => {
    using fixture = await MachineFixture.founded();
    const session = await fixture.login('admin', PASSWORDS.admin);
    const results = await Promise.allSettled([
      fixture.ask('activate', { password: 'password-a' }, { session }),
      fixture.ask('activate', { password: 'password-b' }, { session }),
    ]);
    expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(fixture.machine.session(session)).toBeUndefined();
    const winner = results[0]?.status === 'fulfilled' ? 'password-a' : 'password-b';
    expect(await fixture.login('admin', winner)).toBeGreaterThan(0);
  });
});
