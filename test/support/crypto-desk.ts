import type { KeyObject } from 'node:crypto';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import type { HsmOperation, HsmResults } from '../../src/protocol/hsm-frames.js';
import { MachineFixture, PASSWORDS } from './hsm-machine.js';

/** What attributes say that a test wants. */
export const given = (uses: readonly string[]): Record<string, boolean> =>
  Object.fromEntries(uses.map((use) => [use, true]));

/** What an answer was refused with; `done` for one that was not. */
export const refusal = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

export interface HeldPair {
  readonly secret: HsmKeyId;
  readonly open: HsmKeyId;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

interface Kept {
  /** an object of the cluster, and not of Alice's session */
  readonly token?: boolean;
  readonly flags?: Record<string, boolean> | undefined;
}

/** An HSM with an admin, an appliance user, Alice and Bob, and keys that a test brings. */
export class CryptoDesk implements Disposable {
  readonly fixture: MachineFixture;
  readonly #sessions = new Map<string, number>();
  #count = 0;

  private constructor(fixture: MachineFixture) {
    this.fixture = fixture;
  }

  static async open(): Promise<CryptoDesk> {
    const fixture = await MachineFixture.founded();
    const desk = new CryptoDesk(fixture);
    const before = await fixture.login('admin', PASSWORDS.admin);
    await fixture.ask('activate', { password: 'admin-password' }, { session: before });
    const admin = await fixture.login('admin', 'admin-password');
    desk.#sessions.set('admin', admin);
    for (const username of ['alice', 'bob']) {
      const user = { username, role: 'crypto-user', password: `${username}-password` };
      await fixture.ask('user-create', user, { session: admin });
      desk.#sessions.set(username, await fixture.login(username, user.password));
    }
    desk.#sessions.set('app_user', await fixture.login('app_user', PASSWORDS.app_user));
    return desk;
  }

  as<Op extends HsmOperation>(
    who: string,
    operation: Op,
    fields: unknown,
  ): Promise<HsmResults[Op]> {
    return this.fixture.ask(operation, fields, { session: this.#sessions.get(who) ?? 0 });
  }

  alice<Op extends HsmOperation>(operation: Op, fields: unknown): Promise<HsmResults[Op]> {
    return this.as('alice', operation, fields);
  }

  making(flags: Record<string, boolean>): { readonly keyId: HsmKeyId } {
    this.#count += 1;
    const reference = `0x${this.#count.toString(16).padStart(16, '0')}`;
    const more = { reference, label: 'object', given: flags, pkcs11: true };
    return { keyId: newHsmKeyId(), ...more };
  }

  /** An object of Alice's of these bytes. */
  async create(content: object, uses: readonly string[], kept: Kept = {}): Promise<HsmKeyId> {
    const key = this.making({ ...given(uses), ...kept.flags });
    const isSession = !kept.token;
    const made = await this.alice('object-create', { key, content, isSession });
    if (!isSession) await this.as('app_user', 'insert', { masked: made.masked });
    return key.keyId;
  }

  secret(value: Uint8Array, type: 'aes' | 'generic-secret', kept: Kept = {}): Promise<HsmKeyId> {
    const uses = ['encrypt', 'decrypt', 'sign', 'verify'];
    return this.create({ kind: 'secret-key', type, value }, uses, kept);
  }

  /** Both halves, with the flags of `kept` for the public one. */
  async pair(
    made: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
    uses: { readonly secret: readonly string[]; readonly open: readonly string[] },
    kept: Kept = {},
  ): Promise<HeldPair> {
    const pkcs8 = made.privateKey.export({ format: 'der', type: 'pkcs8' });
    const spki = made.publicKey.export({ format: 'der', type: 'spki' });
    const { flags, ...place } = kept;
    return {
      ...made,
      secret: await this.create({ kind: 'private-key', value: pkcs8 }, uses.secret, place),
      open: await this.create({ kind: 'public-key', value: spki }, uses.open, { ...place, flags }),
    };
  }

  [Symbol.dispose](): void {
    this.fixture[Symbol.dispose]();
  }
}
