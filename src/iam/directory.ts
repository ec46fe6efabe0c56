import { parseArn } from '../core/arn.js';
import type { CommitPart } from '../core/commit.js';
import { deadlineIn, within } from '../core/deadline.js';
import { isKeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { KEYSPACE } from '../store/keyspace.js';
import { Snapshot } from '../store/snapshot.js';
import type { Store } from '../store/store.js';
import type { StoredAccessKeys } from './access-keys.js';
import { awsManagedDocument } from './aws-managed.js';
import type { Identities, Identity } from './identities.js';
import { cachedPolicy, type PolicyDocument } from './policy-document.js';
import {
  decodeIamFact,
  type IamFact,
  type ManagedFact,
  type PrincipalFact,
  type RoleFact,
  type UserFact,
} from './principal-records.js';
import type { Principal } from './principal.js';

/** What was worked out for a principal; good until a fact of IAM changes. */
interface Known {
  readonly generation: number;
  /** AIDA…, AROA…, or an account */
  readonly id: string | undefined;
  readonly identity: Identity;
}

const NOBODY: Identity = { policies: [], tags: new Map() };
const NOTHING = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Deny', Action: '*', Resource: '*' }],
});

/**
 * The users, roles and managed policies of all accounts. Reading is synchronous, from a copy that
 * a watch feeds; what is known of a principal is worked out once for each change.
 */
export class Directory implements Identities, AsyncDisposable {
  readonly keys: StoredAccessKeys;
  readonly #store: Store;
  readonly #snapshot: Snapshot<IamFact>;
  /** counts changes */
  readonly #changes: { count: number };
  readonly #known = new WeakMap<Principal, Known>();
  /** the change that is under way, and those that wait for it */
  #turn: Promise<void> = Promise.resolve();

  private constructor(parts: {
    keys: StoredAccessKeys;
    store: Store;
    snapshot: Snapshot<IamFact>;
    changes: { count: number };
  }) {
    this.keys = parts.keys;
    this.#store = parts.store;
    this.#snapshot = parts.snapshot;
    this.#changes = parts.changes;
  }

  /** @throws StoreClosed, StoreFailed */
  static async open(store: Store, keys: StoredAccessKeys): Promise<Directory> {
    const changes = { count: 0 };
    const snapshot = await Snapshot.open(store, KEYSPACE.iam, decodeIamFact, {
      onChange: () => {
        changes.count += 1;
      },
    });
    return new Directory({ keys, store, snapshot, changes });
  }

  /** @throws KeyspanError while the copy cannot be trusted: it must not allow anything */
  of(principal: Principal): Identity {
    return this.#lookUp(principal).identity;
  }

  /** The id of a user, of the role of a session, or the account of a root. @throws as `of` */
  idOf(principal: Principal): string | undefined {
    return this.#lookUp(principal).id;
  }

  user(account: string, name: string): UserFact | undefined {
    const fact = this.#snapshot.get(KEYSPACE.iamUser(account, name))?.value;
    return fact?.kind === 'user' ? fact : undefined;
  }

  role(account: string, name: string): RoleFact | undefined {
    const fact = this.#snapshot.get(KEYSPACE.iamRole(account, name))?.value;
    return fact?.kind === 'role' ? fact : undefined;
  }

  /** By ARN: its path is part of it. */
  managed(arn: string): ManagedFact | undefined {
    const parsed = parseArn(arn);
    if (parsed?.service !== 'iam' || !parsed.resource.startsWith('policy/')) return undefined;
    const name = parsed.resource.slice(parsed.resource.lastIndexOf('/') + 1);
    const fact = this.managedNamed(parsed.account, name);
    return fact?.arn === arn ? fact : undefined;
  }

  managedNamed(account: string, name: string): ManagedFact | undefined {
    const fact = this.#snapshot.get(KEYSPACE.iamPolicy(account, name))?.value;
    return fact?.kind === 'policy' ? fact : undefined;
  }

  /** In the order of their names in lower case. */
  users(account: string): UserFact[] {
    return this.#list(KEYSPACE.iamUsers(account)).flatMap((one) =>
      one.kind === 'user' ? [one] : [],
    );
  }

  roles(account: string): RoleFact[] {
    return this.#list(KEYSPACE.iamRoles(account)).flatMap((one) =>
      one.kind === 'role' ? [one] : [],
    );
  }

  policies(account: string): ManagedFact[] {
    return this.#list(KEYSPACE.iamPolicies(account)).flatMap((one) =>
      one.kind === 'policy' ? [one] : [],
    );
  }

  /**
   * One conditional commit of what is decided, and decided anew where others were faster. When it
   * returns, reading shows it.
   * @throws StoreConflict when others were faster every time, and what `decide` throws
   */
  change(decide: () => CommitPart): Promise<void> {
    // this daemon's own changes wait for one another: tools change one role in ten ways at once
    const turn = this.#turn.then(() => this.#change(decide));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turn;
    await this.#snapshot[Symbol.asyncDispose]();
  }

  async #change(decide: () => CommitPart): Promise<void> {
    const deadline = deadlineIn(LIMITS.request_timeout_ms);
    for (let attempt = 1; ; attempt += 1) {
      try {
        const revision = await this.#store.commit(decide());
        await within(this.#reached(revision), deadline, 'waiting until the change shows');
        return;
      } catch (error) {
        const isConflict = isKeyspanError(error, 'StoreConflict');
        if (!isConflict || attempt >= LIMITS.commit_attempts_max) throw error;
        const { revision } = await this.#store.range(KEYSPACE.iam, { limit: 1 });
        await within(this.#reached(revision), deadline, 'waiting until the change shows');
      }
    }
  }

  async #reached(revision: number): Promise<void> {
    await Promise.all([this.#snapshot.reached(revision), this.keys.reached(revision)]);
  }

  #list(prefix: string): IamFact[] {
    return this.#snapshot.entries(prefix).map(({ value }) => value);
  }

  #lookUp(principal: Principal): Known {
    // an old copy has no right to answer, also from what was worked out
    this.#snapshot.readRevision();
    const known = this.#known.get(principal);
    if (known?.generation === this.#changes.count) return known;
    const made = this.#workOut(principal);
    this.#known.set(principal, made);
    return made;
  }

  #workOut(principal: Principal): Known {
    const generation = this.#changes.count;
    if (principal.type === 'Account') {
      const { account: id } = principal;
      return { generation, id, identity: { ...NOBODY, userId: id } };
    }
    const fact = this.#factOf(principal);
    if (!fact) return { generation, id: undefined, identity: NOBODY };
    const { session, type, arn } = principal;
    const userId = type === 'AssumedRole' ? `${fact.id}:${lastPart(arn)}` : fact.id;
    const own = new Map(fact.tags.map(({ key, value }) => [key, value]));
    const identity: Identity = {
      userId,
      policies: [...fact.documents(), ...fact.attached.flatMap((one) => this.#attached(one))],
      boundary: fact.boundary === undefined ? undefined : this.#bound(fact.boundary),
      session: session && this.#sessionPolicies(session),
      tags: session ? new Map([...own, ...session.tags]) : own,
    };
    return { generation, id: fact.id, identity };
  }

  /** A user or a role by its whole ARN; the role of a session by its name. */
  #factOf({ type, arn, account, names }: Principal): PrincipalFact | undefined {
    if (type === 'AssumedRole') return this.role(account, lastPart(names.at(-1) ?? ''));
    const name = lastPart(arn);
    const fact = type === 'User' ? this.user(account, name) : this.role(account, name);
    return fact?.arn === arn ? fact : undefined;
  }

  #attached(arn: string): readonly PolicyDocument[] {
    const aws = awsManagedDocument(arn);
    return aws ? [aws] : (this.managed(arn)?.documents() ?? []);
  }

  /** A bound that is not there any more lets nothing through. */
  #bound(arn: string): PolicyDocument {
    return this.#attached(arn)[0] ?? cachedPolicy(NOTHING, 'identity');
  }

  #sessionPolicies(session: NonNullable<Principal['session']>): PolicyDocument[] | undefined {
    const texts = session.policies.map((text) => cachedPolicy(text, 'identity'));
    const all = [...texts, ...session.policyArns.map((arn) => this.#bound(arn))];
    return all.length === 0 ? undefined : all;
  }
}

const lastPart = (arn: string): string => arn.slice(arn.lastIndexOf('/') + 1);
