import {
  constants,
  createCipheriv,
  createPublicKey,
  publicEncrypt,
  randomBytes,
  type KeyObject,
} from 'node:crypto';
import { expect } from 'vitest';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import type { HsmFields, HsmOperation, HsmResults } from '../../src/protocol/hsm-frames.js';
import { heldKey } from '../../src/hsm/held-keys.js';
import { MachineFixture, PASSWORDS } from './hsm-machine.js';

export const refusal = (code: string): unknown => expect.objectContaining({ code });

export interface BroughtPair {
  readonly secret: HsmKeyId;
  readonly open: HsmKeyId;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

type Kind = HsmFields<'key-unwrap'>['kind'];
type Flags = Record<string, boolean>;
interface Kept {
  /** an object of the cluster, and not of Alice's session */
  readonly token?: boolean | undefined;
  readonly flags?: Flags | undefined;
}

/** RSA_AES_KEY_WRAP of PKCS #11, as somebody outside does it. */
function wrapped(spki: Uint8Array, payload: Uint8Array): Buffer {
  const ephemeral = randomBytes(32);
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const sealed = publicEncrypt({ key, padding, oaepHash: 'sha256' }, ephemeral);
  const cipher = createCipheriv('id-aes256-wrap-pad', ephemeral, Buffer.from('a65959a6', 'hex'));
  return Buffer.concat([sealed, cipher.update(payload), cipher.final()]);
}

/** An HSM in this process with a user, who brings keys that are known outside. */
export class CryptoFixture implements Disposable {
  readonly fixture: MachineFixture;
  readonly sessions: Record<string, number> = {};
  #carrier: HsmKeyId | undefined;
  #references = 0;

  private constructor(fixture: MachineFixture) {
    this.fixture = fixture;
  }

  static async open(): Promise<CryptoFixture> {
    const self = new CryptoFixture(await MachineFixture.founded());
    const { fixture, sessions } = self;
    const before = await fixture.login('admin', PASSWORDS.admin);
    await fixture.ask('activate', { password: 'admin-password' }, { session: before });
    sessions['admin'] = await fixture.login('admin', 'admin-password');
    sessions['app_user'] = await fixture.login('app_user', PASSWORDS.app_user);
    for (const username of ['alice', 'bob']) {
      const user = { username, role: 'crypto-user', password: `${username}-password` };
      await fixture.ask('user-create', user, { session: sessions['admin'] });
      sessions[username] = await fixture.login(username, user.password);
    }
    return self;
  }

  as<Op extends HsmOperation>(
    who: string,
    operation: Op,
    fields: unknown,
  ): Promise<HsmResults[Op]> {
    return this.fixture.ask(operation, fields, { session: this.sessions[who] });
  }

  alice<Op extends HsmOperation>(operation: Op, fields: unknown): Promise<HsmResults[Op]> {
    return this.as('alice', operation, fields);
  }

  making(given: Flags): { keyId: HsmKeyId; reference: string; label: string; given: Flags } {
    this.#references += 1;
    const reference = `0x${this.#references.toString(16).padStart(16, '0')}`;
    return { keyId: newHsmKeyId(), reference, label: 'a key', given };
  }

  /** A secret or a private key in PKCS #8 becomes a session key of Alice's. */
  async bring(kind: Kind, bytes: Uint8Array, given: Flags, more: object = {}): Promise<HsmKeyId> {
    const wrappingId = (this.#carrier ??= await this.#newCarrier());
    const key = this.making(given);
    const mechanism = { name: 'rsa-aes', hash: 'sha256' };
    const data = wrapped(this.spkiOf(wrappingId), bytes);
    const fields = { key, wrappingId, mechanism, data, kind, isSession: true, ...more };
    await this.alice('key-unwrap', fields);
    return key.keyId;
  }

  async #newCarrier(): Promise<HsmKeyId> {
    const [privateKey, publicKey] = [this.making({ unwrap: true }), this.making({})];
    const spec = { type: 'rsa', bits: 2_048 };
    await this.alice('key-pair-generate', { privateKey, publicKey, spec, isSession: true });
    return privateKey.keyId;
  }

  bringPrivate(key: KeyObject, given: Flags, more: object = {}): Promise<HsmKeyId> {
    const kind = key.asymmetricKeyType === 'rsa' ? 'rsa-private' : 'ec-private';
    return this.bring(kind, key.export({ format: 'der', type: 'pkcs8' }), given, more);
  }

  async bringPublic(key: KeyObject, given: Flags, more: object = {}): Promise<HsmKeyId> {
    const making = this.making(given);
    const type = key.asymmetricKeyType === 'rsa' ? 'rsa' : 'ec';
    const der = key.export({ format: 'der', type: 'spki' });
    await this.alice('key-import', { key: making, type, der, isSession: true, ...more });
    return making.keyId;
  }

  /** Both halves of a pair that was made outside, for whatever its type does. */
  async bringPair(pair: { privateKey: KeyObject; publicKey: KeyObject }): Promise<BroughtPair> {
    const isRsa = pair.privateKey.asymmetricKeyType === 'rsa';
    const secret = await this.bringPrivate(pair.privateKey, { sign: true, decrypt: isRsa });
    const open = await this.bringPublic(pair.publicKey, { verify: true, encrypt: isRsa });
    return { ...pair, secret, open };
  }

  /** An object of these bytes by PKCS #11's rules: of Alice's session, or of the cluster. */
  async create(content: object, uses: readonly string[], kept: Kept = {}): Promise<HsmKeyId> {
    const given = Object.fromEntries(uses.map((use) => [use, true]));
    const key = { ...this.making({ ...given, ...kept.flags }), pkcs11: true };
    const isSession = !kept.token;
    const { masked } = await this.alice('object-create', { key, content, isSession });
    if (!isSession) await this.as('app_user', 'insert', { masked });
    return key.keyId;
  }

  /** As `create`, with the flags of `kept` for the public half alone. */
  async createPair(
    made: { readonly privateKey: KeyObject; readonly publicKey: KeyObject },
    uses: { readonly secret: readonly string[]; readonly open: readonly string[] },
    { token, flags }: Kept = {},
  ): Promise<BroughtPair> {
    const pkcs8 = made.privateKey.export({ format: 'der', type: 'pkcs8' });
    const spki = made.publicKey.export({ format: 'der', type: 'spki' });
    const secret = { kind: 'private-key', value: pkcs8 };
    const open = { kind: 'public-key', value: spki };
    return {
      ...made,
      secret: await this.create(secret, uses.secret, { token }),
      open: await this.create(open, uses.open, { token, flags }),
    };
  }

  /** The public half that the HSM has of a key of Alice's. */
  spkiOf(id: HsmKeyId): Uint8Array {
    const { machine } = this.fixture;
    const session = machine.session(this.sessions['alice'] ?? 0);
    const spki = heldKey(machine, session, id).record.object?.public;
    if (!spki) throw new Error('the key has no public half');
    return spki;
  }

  async sign(keyId: HsmKeyId, mechanism: object, data: Uint8Array): Promise<Buffer> {
    return Buffer.from((await this.alice('p11-sign', { keyId, mechanism, data })).signature);
  }

  async cipher(
    keyId: HsmKeyId,
    direction: 'encrypt' | 'decrypt',
    mechanism: object,
    data: Uint8Array,
  ): Promise<Buffer> {
    return Buffer.from(
      (await this.alice('p11-cipher', { keyId, direction, mechanism, data })).data,
    );
  }

  /** The code of a refusal, or `done`. */
  async codeOf(who: string, operation: HsmOperation, fields: unknown): Promise<string> {
    const asked = this.as(who, operation, fields);
    return await asked.then(
      () => 'done',
      (error: { code: string }) => error.code,
    );
  }

  [Symbol.dispose](): void {
    this.fixture[Symbol.dispose]();
  }
}

/** What work is refused with. */
export const refusedWith = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

export const SECRET_USES = ['encrypt', 'decrypt', 'sign', 'verify'];

/** A key as an application of PKCS #11 asks for it: what is not named is false. */
export function makingFor(
  desk: CryptoFixture,
  uses: readonly string[],
  flags: object = {},
): { readonly keyId: HsmKeyId } {
  const given = Object.fromEntries(uses.map((use) => [use, true]));
  return Object.assign(desk.making({ ...given, ...flags }), { pkcs11: true });
}

export const secretFor = (
  desk: CryptoFixture,
  value: Uint8Array,
  { type, token = false }: { type: 'aes' | 'generic-secret'; token?: boolean },
): Promise<HsmKeyId> => desk.create({ kind: 'secret-key', type, value }, SECRET_USES, { token });
