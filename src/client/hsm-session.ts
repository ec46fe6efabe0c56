import { randomUUID } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import {
  isApproved,
  type BriefKey,
  type CliRole,
  type CliUser,
  type DescribedKey,
  type HsmSessionAction,
  type HsmSessionParams,
  type HsmSessionResults,
  type ListedToken,
  type ListedUser,
  type QuorumValues,
  type SignedToken,
  type UnsignedToken,
} from '../protocol/hsm-session.js';
import { blobOf } from './kms-actions.js';
import type { Answer, CallOptions } from './requests.js';
import { isPassing } from './retry.js';
import { ServiceError } from './service-error.js';

/** Who logs in, and where. */
export interface SessionOptions {
  readonly username: string;
  readonly password: string;
  /** `crypto-user` unless given */
  readonly role?: CliRole;
  /** the cluster of the ENIs unless given */
  readonly cluster?: string;
  /**
   * For a user with a second factor: signs a token with that key (RSA PKCS #1 v1.5 with SHA-256).
   * It is asked once for each HSM.
   */
  readonly secondFactor?: (token: Uint8Array) => Uint8Array | Promise<Uint8Array>;
}

/** What an action is asked with, besides the login. */
type Asked<A extends HsmSessionAction> = Omit<HsmSessionParams<A>, 'session'>;

export type FindRequest = Omit<Asked<'KeyFind'>, 'verbose'>;
export type GenerateKeyRequest = Asked<'KeyGenerate'>;
export type GenerateKeyPairRequest = Asked<'KeyGeneratePair'>;
export type ImportKeyRequest = Asked<'KeyImport'>;
export type WrapKeyRequest = Asked<'KeyWrap'>;
export type UnwrapKeyRequest = Asked<'KeyUnwrap'>;
export type SignRequest = Asked<'KeySign'>;
export type VerifyRequest = Asked<'KeyVerify'>;
export type SetAttributeRequest = Asked<'KeySetAttribute'>;
export type ShareRequest = Asked<'KeyShare'>;
export type CreateUserRequest = Asked<'UserCreate'>;
export type DeleteUserRequest = Asked<'UserDelete'>;
export type ChangePasswordRequest = Asked<'UserChangePassword'>;
export type ChangeMfaRequest = Asked<'UserChangeMfa'>;
export type ChangeQuorumRequest = Asked<'UserChangeQuorum'>;

/** A page of keys. */
export interface FoundKeys<K> {
  readonly keys: readonly K[];
  /** how many there are that the filter fits */
  readonly total: number;
  /** there are more behind the last one: ask again with its reference as `after` */
  readonly more: boolean;
}

export interface KeyPair {
  readonly publicKey: DescribedKey;
  readonly privateKey: DescribedKey;
}

/** What a session stands on. */
export interface SessionCaller {
  call(action: string, params: object, options?: CallOptions): Promise<Answer>;
}

/** Asks the data plane, and gives the answer its type. */
export function askDataPlane<A extends HsmSessionAction>(
  caller: SessionCaller,
  action: A,
  params: HsmSessionParams<A>,
  options: CallOptions = {},
): Promise<HsmSessionResults[A]> {
  // an approval counts once: a request that is sent again must not need another
  const isOnce = isApproved(params) && options.token === undefined;
  const once = isOnce ? { ...options, token: randomUUID() } : options;
  const answer = caller.call(action, params, once);
  return answer.then(({ result }) => result as unknown as HsmSessionResults[A]);
}

/** The tokens of an approval, one behind the other: each approver signs this, with SHA-256. */
export const joinTokens = (tokens: readonly UnsignedToken[]): Uint8Array =>
  Buffer.concat(tokens.map(({ token }) => token));

const hasEnded = (error: unknown): boolean =>
  error instanceof ServiceError && error.code === 'HsmNotLoggedIn';

/** What may have been done, on some of the HSMs or by an answer that did not come. */
const isUnsure = (error: unknown): boolean =>
  !(error instanceof ServiceError) || UNSURE.has(error.code);
const UNSURE = new Set(['KeyspanRefused', 'VaultTimeout', 'InternalFailure']);

const loggedOut = (): KeyspanError =>
  new KeyspanError('HsmNotLoggedIn', 'the session was logged out');

const isRefusal = (error: unknown): boolean =>
  error instanceof ServiceError && !isPassing(error.code);

/**
 * One login of one HSM user, over all HSMs of a cluster and whichever ENI the client uses. When it
 * has ended (nobody used it for half an hour, or the daemon began anew), a session without second
 * factor logs in once more and goes on; its session keys are gone then. After a refusal it does not
 * try the password again.
 *
 * Every method throws what `KeyspanClient.call` throws. Keys are named by their references.
 */
export class HsmSession implements AsyncDisposable {
  readonly username: string;
  readonly role: CliRole;
  /** what M of N have to approve */
  readonly quorum: HsmQuorum;
  readonly #caller: SessionCaller;
  readonly #options: SessionOptions;
  #password: string;
  /** as the daemon names the login */
  #name = '';
  #isOver = false;
  /** a login that is on its way, for all requests that wait for it */
  #returning: Promise<void> | undefined;
  /** why it does not log in again */
  #refusal: unknown;

  private constructor(caller: SessionCaller, options: SessionOptions) {
    this.#caller = caller;
    this.#options = options;
    this.#password = options.password;
    this.username = options.username.toLowerCase();
    this.role = options.role ?? 'crypto-user';
    this.quorum = new HsmQuorum((action, request, more) => this.#call(action, request, more));
  }

  /** @throws ServiceError HsmCredentialsRefused, HsmUserLocked, HsmBusy, ... */
  static async open(caller: SessionCaller, options: SessionOptions): Promise<HsmSession> {
    const session = new HsmSession(caller, options);
    await session.#logIn();
    return session;
  }

  /** Keys that the user owns, that are shared with it, and public keys; in their order. */
  find(
    request: FindRequest & { readonly verbose: true },
    options?: CallOptions,
  ): Promise<FoundKeys<DescribedKey>>;
  find(request?: FindRequest, options?: CallOptions): Promise<FoundKeys<BriefKey>>;
  find(
    request: FindRequest & { readonly verbose?: boolean } = {},
    options?: CallOptions,
  ): Promise<FoundKeys<DescribedKey | BriefKey>> {
    return this.#call('KeyFind', request, options);
  }

  async generateKey(request: GenerateKeyRequest, options?: CallOptions): Promise<DescribedKey> {
    return (await this.#call('KeyGenerate', request, options)).key;
  }

  /** A large RSA key takes seconds. */
  generateKeyPair(request: GenerateKeyPairRequest, options: CallOptions = {}): Promise<KeyPair> {
    const patient = { timeoutMs: LIMITS.client_key_pair_timeout_ms, ...options };
    return this.#call('KeyGeneratePair', request, patient);
  }

  /** A public key, in PEM. */
  async importKey(request: ImportKeyRequest, options?: CallOptions): Promise<DescribedKey> {
    return (await this.#call('KeyImport', request, options)).key;
  }

  /** @returns the public half in PEM (SubjectPublicKeyInfo) */
  async publicKey(reference: string, options?: CallOptions): Promise<string> {
    return (await this.#call('KeyPublic', { key: reference }, options)).pem;
  }

  /** @returns the wrapped key, and with GCM the IV that it was wrapped with */
  async wrapKey(
    request: WrapKeyRequest,
    options?: CallOptions,
  ): Promise<{ readonly data: Uint8Array; readonly iv?: Uint8Array }> {
    const { data, iv } = await this.#call('KeyWrap', request, options);
    return { data: blobOf(data), ...(iv === undefined ? {} : { iv: blobOf(iv) }) };
  }

  async unwrapKey(request: UnwrapKeyRequest, options?: CallOptions): Promise<DescribedKey> {
    return (await this.#call('KeyUnwrap', request, options)).key;
  }

  sign(request: SignRequest, options?: CallOptions): Promise<Uint8Array> {
    // not async: programs sign thousands of times a second
    const answer = this.#call('KeySign', request, options);
    return answer.then(({ signature }) => blobOf(signature));
  }

  /** @returns whether the signature is right */
  async verify(request: VerifyRequest, options?: CallOptions): Promise<boolean> {
    return (await this.#call('KeyVerify', request, options)).valid;
  }

  async setAttribute(request: SetAttributeRequest, options?: CallOptions): Promise<void> {
    await this.#call('KeySetAttribute', request, options);
  }

  /** Lets another crypto-user use the key. */
  async share(request: ShareRequest, options?: CallOptions): Promise<void> {
    await this.#call('KeyShare', request, options);
  }

  async unshare(request: ShareRequest, options?: CallOptions): Promise<void> {
    await this.#call('KeyUnshare', request, options);
  }

  async deleteKey(reference: string, options?: CallOptions): Promise<void> {
    await this.#call('KeyDelete', { key: reference }, options);
  }

  /** @param to the user's session on a cluster of the same family, or an admin's */
  async replicateKey(
    reference: string,
    to: HsmSession,
    options?: CallOptions,
  ): Promise<DescribedKey> {
    return (await this.#callTo('KeyReplicate', to, { key: reference }, options)).key;
  }

  async listUsers(options?: CallOptions): Promise<readonly ListedUser[]> {
    const { cluster } = this.#options;
    return (await this.#call('UserList', { cluster }, options)).users;
  }

  createUser(request: CreateUserRequest, options?: CallOptions): Promise<CliUser> {
    return this.#call('UserCreate', request, options);
  }

  deleteUser(request: DeleteUserRequest, options?: CallOptions): Promise<CliUser> {
    // whoever made the user has an object with its password too
    const { username, role, approval } = request;
    const user = { username, role, ...(approval && { approval }) };
    return this.#call('UserDelete', user, options);
  }

  /** @param to an admin's session on a cluster of the same family */
  async replicateUser(user: CliUser, to: HsmSession, options?: CallOptions): Promise<ListedUser> {
    const { username, role } = user;
    return (await this.#callTo('UserReplicate', to, { username, role }, options)).user;
  }

  async changePassword(request: ChangePasswordRequest, options?: CallOptions): Promise<CliUser> {
    const isOwn = request.username.toLowerCase() === this.username;
    try {
      const changed = await this.#call('UserChangePassword', request, options);
      if (isOwn) this.#password = request.password;
      return changed;
    } catch (error) {
      // some HSMs may have the new one: neither is tried by itself
      if (isOwn && isUnsure(error)) this.#refusal ??= error;
      throw error;
    }
  }

  /**
   * Registers a key as second factor, with signed tokens of `quorum.generate('registration')`, or
   * takes it away.
   */
  changeMfa(request: ChangeMfaRequest, options?: CallOptions): Promise<CliUser> {
    return this.#call('UserChangeMfa', request, options);
  }

  /** Registers the key that the user approves with, with signed tokens as `changeMfa`. */
  changeQuorum(request: ChangeQuorumRequest, options?: CallOptions): Promise<CliUser> {
    return this.#call('UserChangeQuorum', request, options);
  }

  /** Ends the login and its session keys. */
  async logout(options?: CallOptions): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    try {
      await askDataPlane(this.#caller, 'UserLogout', { session: this.#name }, options);
    } catch (error) {
      if (!hasEnded(error)) throw error;
    }
  }

  /** As `logout`; where that fails the login ends by itself, later. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.logout({ timeoutMs: LIMITS.close_grace_ms }).catch(() => undefined);
  }

  #call<A extends HsmSessionAction>(
    action: A,
    request: object,
    options?: CallOptions,
  ): Promise<HsmSessionResults[A]> {
    if (this.#isOver) return Promise.reject(loggedOut());
    const name = this.#name;
    return this.#ask(action, request, options).catch(async (error: unknown) => {
      if (!hasEnded(error)) throw error;
      await this.#return(name, error);
      return await this.#ask(action, request, options);
    });
  }

  /** As `#call`; either login may have ended. */
  async #callTo<A extends HsmSessionAction>(
    action: A,
    to: HsmSession,
    request: object,
    options?: CallOptions,
  ): Promise<HsmSessionResults[A]> {
    const ask = (): Promise<HsmSessionResults[A]> =>
      this.#ask(action, { ...request, destination: to.#current() }, options);
    try {
      return await ask();
    } catch (error) {
      if (!hasEnded(error)) throw error;
      // whichever has not is left as it is: session keys would go with it
      await this.#call('HsmInfo', {});
      await to.#call('HsmInfo', {});
      return await ask();
    }
  }

  #ask<A extends HsmSessionAction>(
    action: A,
    request: object,
    options?: CallOptions,
  ): Promise<HsmSessionResults[A]> {
    const params = { ...request, session: this.#current() } as HsmSessionParams<A>;
    return askDataPlane(this.#caller, action, params, options);
  }

  #current(): string {
    if (this.#isOver) throw loggedOut();
    return this.#name;
  }

  /** Logs in again, unless another request did. @throws ended where it may not */
  async #return(name: string, ended: unknown): Promise<void> {
    this.#current();
    if (this.#name !== name) return;
    if (this.#refusal !== undefined) throw this.#refusal;
    if (this.#options.secondFactor) throw ended;
    this.#returning ??= this.#logIn().finally(() => (this.#returning = undefined));
    await this.#returning;
  }

  async #logIn(): Promise<void> {
    const { username, role } = this;
    const { cluster } = this.#options;
    const mfa = await this.#signTokens();
    const user = { cluster, username, role, password: this.#password, mfa };
    try {
      const { session } = await askDataPlane(this.#caller, 'UserLogin', user);
      this.#name = session;
    } catch (error) {
      if (isRefusal(error)) this.#refusal = error;
      throw error;
    }
  }

  async #signTokens(): Promise<SignedToken[] | undefined> {
    const { secondFactor, cluster } = this.#options;
    if (!secondFactor) return undefined;
    const { username, role } = this;
    const user = { cluster, username, role };
    const { tokens } = await askDataPlane(this.#caller, 'UserMfaTokens', user);
    const signed: SignedToken[] = [];
    for (const { token: blob } of tokens) {
      const token = blobOf(blob);
      signed.push({ token, signature: await secondFactor(token) });
    }
    return signed;
  }
}

type Call = <A extends HsmSessionAction>(
  action: A,
  request: object,
  options?: CallOptions,
) => Promise<HsmSessionResults[A]>;

/** Quorum authentication: what a user may do when others approve (M of N). */
export class HsmQuorum {
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
  }

  /**
   * A token of each HSM, for ten minutes and this login. Approvers sign `joinTokens` of them; an
   * approval is `{ data: joinTokens(tokens), signatures }`. Of a registration each is signed by
   * itself.
   */
  async generate(
    request: Asked<'QuorumGenerate'>,
    options?: CallOptions,
  ): Promise<readonly UnsignedToken[]> {
    const { tokens } = await this.#call('QuorumGenerate', request, options);
    return tokens.map(({ hsm, token }) => ({ hsm, token: blobOf(token) }));
  }

  async list(options?: CallOptions): Promise<readonly ListedToken[]> {
    return (await this.#call('QuorumList', {}, options)).tokens;
  }

  values(options?: CallOptions): Promise<QuorumValues> {
    return this.#call('QuorumListValues', {}, options);
  }

  /** How many admins must approve what a service does; an admin's. */
  async setValue(request: Asked<'QuorumSetValue'>, options?: CallOptions): Promise<void> {
    await this.#call('QuorumSetValue', request, options);
  }

  /** One's own tokens, or an admin's those of all. */
  async delete(scope: 'user' | 'all', options?: CallOptions): Promise<void> {
    await this.#call('QuorumDelete', { scope }, options);
  }
}
