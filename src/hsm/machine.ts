import { monotonic } from '../core/clock.js';
import type { Deadline } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { FaultRules } from '../core/fault-rules.js';
import type { BootId, ClusterId, HsmId, HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import type { HsmPhase, HsmRole } from '../protocol/hsm-frames.js';
import { findMaskingKeys, type JoinKey, type MaskingKeys } from '../token/masking-keys.js';
import { destroyObject, listAllData } from '../token/objects.js';
import type { Token } from '../token/token.js';
import type { HsmAuditLog } from './audit-log.js';
import type { newClusterKey } from './cluster-key.js';
import type { Session } from './authority.js';
import { DataShelf } from './data-shelf.js';
import { HotSecrets } from './hot-secrets.js';
import { KeyShelf } from './key-shelf.js';
import { Keyring } from './keyring.js';
import type { Manifest } from './manifest.js';
import { verifyMasking, type MaskingContext } from './masking.js';
import { Passwords } from './passwords.js';
import { QuorumTokens } from './quorum-tokens.js';
import { decodeUserRecord, encodeUserRecord, type UserRecord } from './records.js';
import { SessionKeys } from './session-keys.js';
import { Streams } from './streams.js';

/**
 * Who an HSM is, and the PINs of its token; the daemon hands it over when it starts the
 * process.
 */
export interface Identity {
  readonly hsm: HsmId;
  readonly cluster: ClusterId;
  readonly boot: BootId;
  readonly soPin: Uint8Array;
  readonly userPin: Uint8Array;
}

/** What a member keeps on its token and serves from. */
interface Member {
  readonly keyring: Keyring;
  readonly users: DataShelf;
  readonly facts: DataShelf;
  /** keys that are data objects of the token */
  readonly secrets: KeyShelf;
}

/** CKA_APPLICATION of the data objects of each shelf. */
const SHELVES = {
  facts: 'keyspan-fact',
  users: 'keyspan-user',
  secrets: 'keyspan-secret',
} as const;

/**
 * Puts a masked key on the token, in another thread.
 * @throws HsmDeadlineExceeded when its turn came too late: then nothing was put there
 */
export type Install = (masked: Uint8Array, deadline: Deadline) => Promise<Installed>;

export interface Installed {
  readonly handle: Uint8Array;
  readonly record: Uint8Array;
  readonly proof: Uint8Array;
}

/** An RSA key pair: its private half under mask-wrap, and SubjectPublicKeyInfo in DER. */
export interface MadeRsa {
  readonly blob: Uint8Array;
  readonly spki: Uint8Array;
  readonly proof: Uint8Array;
}

/** Makes an RSA key pair, in another thread. @throws as `Install` */
export type MakeRsa = (
  make: { readonly bits: number; readonly exponent: number; readonly keyId: string },
  deadline: Deadline,
) => Promise<MadeRsa>;

/** One HSM: its token, what is on it, and who is logged in. The operations work on it. */
export class Machine {
  readonly identity: Identity;
  readonly token: Token;
  readonly passwords = new Passwords();
  /** what users have signed, to approve or as a second factor */
  readonly tokens: QuorumTokens;
  readonly install: Install;
  readonly makeRsa: MakeRsa;
  /** it does what FIPS 140 allows, and nothing else */
  readonly fips: boolean;
  /** undefined: this process takes no faults */
  readonly faults: FaultRules | undefined;
  /** undefined: nobody audits this HSM */
  readonly audit: HsmAuditLog | undefined;
  /** keys on their way to the token, settled once they are there or failed */
  readonly installing = new Map<HsmKeyId, Promise<void>>();
  /** the cluster's key where this HSM founds it: made while the token is */
  clusterKey: ReturnType<typeof newClusterKey> | undefined;
  /** between join-offer and join */
  joinKey: JoinKey | undefined;
  readonly sessionKeys: SessionKeys;
  readonly hotSecrets: HotSecrets;
  readonly streams = new Streams();
  readonly #sessions = new Map<number, Session>();
  #member: Member | undefined;
  #masking: MaskingKeys | undefined;
  #users = new Map<string, UserRecord>();
  #epoch = 0;
  #nextSession = 1;

  constructor(options: {
    identity: Identity;
    token: Token;
    install: Install;
    makeRsa: MakeRsa;
    fips?: boolean | undefined;
    faults?: FaultRules | undefined;
    audit?: HsmAuditLog | undefined;
    /** monotonic time */
    now?: () => number;
  }) {
    const { identity, now = monotonic } = options;
    this.identity = identity;
    this.tokens = new QuorumTokens({ identity, now });
    this.token = options.token;
    this.install = options.install;
    this.makeRsa = options.makeRsa;
    this.fips = options.fips === true;
    this.sessionKeys = new SessionKeys(options.token);
    this.hotSecrets = new HotSecrets((handle) => destroyObject(options.token, handle));
    this.faults = options.faults;
    this.audit = options.audit;
  }

  get phase(): HsmPhase {
    return this.#member ? 'member' : 'new';
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** @throws KeyspanError HsmPhase before the HSM was founded or joined */
  get member(): Member {
    if (!this.#member) throw new KeyspanError('HsmPhase');
    return this.#member;
  }

  /**
   * To work with the masking keys. Where the token was left in good order and not touched since,
   * they are searched for and checked when they are first needed.
   * @throws KeyspanError HsmPhase, HsmDeviceError when they are damaged
   */
  get masking(): MaskingContext {
    const { facts } = this.member;
    if (this.#masking) return this.#contextOf(this.#masking);
    const masking = findMaskingKeys(this.token);
    if (!masking) throw new KeyspanError('HsmDeviceError', 'the masking keys are gone');
    const context = this.#contextOf(masking);
    const witness = facts.get('masking');
    if (witness) verifyMasking(context, witness);
    this.#masking = masking;
    this.member.keyring.quicken(masking.wrap);
    return context;
  }

  #contextOf(masking: MaskingKeys): MaskingContext {
    return { token: this.token, masking, cluster: this.identity.cluster };
  }

  /**
   * Reads the token; true when it is a member's. The token is logged in as user.
   * @param manifest what is on the token for sure, so that it need not be read
   */
  load(manifest?: Manifest): boolean {
    const masking = manifest ? undefined : findMaskingKeys(this.token);
    if (!masking && !manifest) return false;
    this.become(masking, manifest);
    const witness = this.member.facts.get('masking');
    if (masking && witness) verifyMasking(this.masking, witness);
    return this.member.facts.get('member') !== undefined;
  }

  /** Takes up the masking keys. The HSM is a member from `settle` on. */
  become(masking: MaskingKeys | undefined, manifest?: Manifest): void {
    const found = manifest ? undefined : listAllData(this.token);
    const shelf = (name: keyof typeof SHELVES): DataShelf =>
      DataShelf.load(this.token, SHELVES[name], {
        promised: manifest && (manifest.shelves[name] ?? []),
        found,
      });
    const [facts, users, secrets] = [shelf('facts'), shelf('users'), shelf('secrets')];
    const keyring = Keyring.load(this.token, { manifest, found });
    if (masking) keyring.quicken(masking.wrap);
    this.#member = { facts, users, keyring, secrets: new KeyShelf(secrets) };
    this.#masking = masking;
    this.#users = new Map();
    for (const { body } of users.entries()) {
      const user = decodeUserRecord(body);
      this.#users.set(user.username, user);
    }
    this.#epoch = readEpoch(facts);
  }

  /** What is on the token, for the next start; undefined when not all is known and in order. */
  notes(): Omit<Manifest, 'census'> | undefined {
    const notes = this.#member?.keyring.notes();
    if (!this.#member || !notes) return undefined;
    const { facts, users, secrets } = this.#member;
    const shelves = {
      ...notes.shelves,
      facts: facts.entries(),
      users: users.entries(),
      secrets: secrets.entries(),
    };
    return { ...notes, shelves };
  }

  /** Back to phase `new`: what stands on the token is not a whole member. */
  forget(): void {
    this.#member = undefined;
    this.#masking = undefined;
    this.#users = new Map();
  }

  get users(): ReadonlyMap<string, UserRecord> {
    return this.#users;
  }

  user(name: string): UserRecord | undefined {
    return this.#users.get(name.toLowerCase());
  }

  /** Persists first, then knows. */
  putUser(user: UserRecord): void {
    this.member.users.put(user.username, encodeUserRecord(user));
    this.#users.set(user.username, user);
  }

  deleteUser(name: string): void {
    this.member.users.delete(name);
    this.#users.delete(name);
    this.closeSessionsOf(name);
  }

  /** A newer epoch is kept on the token before anything is done in it. */
  noteEpoch(epoch: number): void {
    if (epoch <= this.#epoch || !this.#member) return;
    this.#member.facts.put('epoch', encodeCbor(epoch));
    this.#epoch = epoch;
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  session(id: number): Session | undefined {
    return this.#sessions.get(id);
  }

  openSession(username: string, role: HsmRole): Session {
    if (this.#sessions.size >= LIMITS.hsm_sessions_max) {
      throw new KeyspanError('HsmBusy', `an HSM holds at most ${LIMITS.hsm_sessions_max} sessions`);
    }
    const session = { id: this.#nextSession, username, role };
    this.#nextSession += 1;
    this.#sessions.set(session.id, session);
    return session;
  }

  closeSession(id: number): void {
    this.#sessions.delete(id);
    this.sessionKeys.end(id);
    this.streams.end(id);
    this.tokens.forget(id);
  }

  /** After a role or a password changed, older logins of the user are void. */
  closeSessionsOf(name: string, except?: number): void {
    for (const session of this.#sessions.values()) {
      if (session.username === name && session.id !== except) this.closeSession(session.id);
    }
  }

  hasKey(id: HsmKeyId): boolean {
    return this.member.keyring.get(id) !== undefined || this.member.secrets.get(id) !== undefined;
  }

  get keyCount(): number {
    if (!this.#member) return 0;
    return this.#member.keyring.size + this.#member.secrets.keyCount;
  }
}

function readEpoch(facts: DataShelf): number {
  const body = facts.get('epoch');
  const epoch = body ? decodeCbor(body, 'HsmBadRecord') : 0;
  return typeof epoch === 'number' ? epoch : 0;
}
