import { answeredBy, type Call } from '../core/call.js';
import { joinParts } from '../core/commit.js';
import { deadlineIn, within } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { newHsmKeyId, type HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { HsmFields, HsmOperation, HsmResults } from '../protocol/hsm-frames.js';
import type { KeyFacts, MadeKey, RecordChange } from '../protocol/hsm-key-frames.js';
import type { Approval } from '../protocol/hsm-session.js';
import type { Store } from '../store/store.js';
import type { ClusterSession } from './cluster-session.js';
import { mergeKeys, type SeenKey } from './key-views.js';
import type { KeyLedger } from './key-ledger.js';
import type { KeyReferences } from './key-references.js';
import type { RecordChanges } from './record-changes.js';
import type { PreparedKeys, Replicator } from './replicator.js';

/** What the ledger says of keys that HSM users make. */
const PURPOSE = 'user';

export interface UserKeysOptions {
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly records: RecordChanges;
  readonly references: KeyReferences;
  readonly store: Store;
  /** how far the store has come at a revision, for the records of keys */
  readonly stampAt: (revision: number) => number;
}

type Making = HsmFields<'key-generate'>['key'];
/** What is said of a key before it has a name. */
export type Named = Omit<Making, 'keyId' | 'reference'>;
type Filter = HsmFields<'key-find'>['filter'];

/** Operations that make one object. */
export type MakingOne =
  'key-generate' | 'key-import' | 'key-unwrap' | 'object-create' | 'object-copy' | 'p11-derive';

/** What a making says besides of the key. */
export type Asked<Op extends MakingOne | 'key-pair-generate'> = Omit<
  HsmFields<Op>,
  'key' | 'publicKey' | 'privateKey' | 'stamp'
> & {
  /** it stays on one HSM and ends with the login */
  readonly isSession?: boolean | undefined;
  /** one HSM is enough */
  readonly isUnchecked?: boolean | undefined;
};

/** One object that is to be made. */
export interface WhatToMake<Op extends MakingOne> {
  readonly key: Named;
  readonly asked: Asked<Op>;
  /** a key that it is made with */
  readonly from?: HsmKeyId | undefined;
  /** of the ledger's, where it is no key */
  readonly purpose?: string | undefined;
}

/** What an object is called that was made. */
export interface Name {
  readonly keyId: HsmKeyId;
  readonly reference: string;
}

/** How objects are made. */
interface How {
  readonly isSession: boolean;
  readonly count: number;
  readonly isUnchecked?: boolean | undefined;
  readonly purpose?: string | undefined;
}

type Make = (names: readonly Name[], stamp: number, call: Call) => Promise<MadeKey[]>;

/** What is asked for of a key that is. */
export interface AskedChange {
  readonly change: RecordChange;
  readonly approval?: Approval | undefined;
}

/** Keys that a page shows. */
export interface FoundKeys {
  readonly keys: readonly SeenKey[];
  readonly total: number;
  readonly more: boolean;
}

/**
 * The keys of HSM users on all HSMs of a cluster. Each HSM decides who may do what; here it is
 * decided where keys are, and when they count.
 */
export class UserKeys {
  readonly #options: UserKeysOptions;

  constructor(options: UserKeysOptions) {
    this.#options = options;
  }

  /** @throws KeyspanError VaultNotDurable when fewer HSMs serve than the rule asks for */
  async available(call: Call): Promise<void> {
    await this.#options.replicator.enough(call);
  }

  /** What the user may see of keys. */
  async find(
    session: ClusterSession,
    page: { readonly filter: Filter; readonly after?: string | undefined; readonly limit: number },
    call: Call,
  ): Promise<HsmResults['key-find']> {
    return await session.run('key-find', { ...page, verbose: false }, call);
  }

  /** As `find`, of every HSM: where they differ it says so. */
  async compare(
    session: ClusterSession,
    page: { readonly filter: Filter; readonly after?: string | undefined; readonly limit: number },
  ): Promise<FoundKeys> {
    const outcomes = await session.onEach('key-find', { ...page, verbose: true });
    const answers = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    if (answers.length === 0) {
      const refusal = outcomes.find((one) => one.status === 'rejected');
      throw refusal?.reason ?? new KeyspanError('VaultUnavailable');
    }
    const lists = answers.map(({ keys }) => keys.filter(isWhole));
    return {
      keys: mergeKeys(lists, (id) => session.isOwn(id)).slice(0, page.limit),
      total: Math.max(...answers.map(({ total }) => total)),
      more: answers.some(({ more }) => more),
    };
  }

  /** The key of this reference, as every HSM has it. @throws KeyspanError HsmKeyNotFound */
  async describe(session: ClusterSession, reference: string): Promise<SeenKey> {
    const filter = { reference, attributes: {} };
    const [key] = (await this.compare(session, { filter, limit: 1 })).keys;
    if (!key) throw new KeyspanError('HsmKeyNotFound');
    return key;
  }

  async generate(
    session: ClusterSession,
    key: Named,
    asked: Asked<'key-generate'>,
    call: Call,
  ): Promise<SeenKey> {
    const { reference } = await this.makeOne(session, 'key-generate', { key, asked }, call);
    return await this.describe(session, reference);
  }

  async importPublic(
    session: ClusterSession,
    key: Named,
    asked: Asked<'key-import'>,
    call: Call,
  ): Promise<SeenKey> {
    const { reference } = await this.makeOne(session, 'key-import', { key, asked }, call);
    return await this.describe(session, reference);
  }

  async unwrap(
    session: ClusterSession,
    key: Named,
    asked: Asked<'key-unwrap'>,
    call: Call,
  ): Promise<SeenKey> {
    const what = { key, asked, from: asked.wrappingId };
    const { reference } = await this.makeOne(session, 'key-unwrap', what, call);
    return await this.describe(session, reference);
  }

  /** Both halves, which become keys of the cluster together. */
  async generatePair(
    session: ClusterSession,
    halves: { readonly privateKey: Named; readonly publicKey: Named },
    asked: Asked<'key-pair-generate'>,
    call: Call,
  ): Promise<{ readonly publicKey: SeenKey; readonly privateKey: SeenKey }> {
    const made = await this.makePair(session, halves, asked, call);
    const [publicKey, privateKey] = await Promise.all([
      this.describe(session, made.publicKey.reference),
      this.describe(session, made.privateKey.reference),
    ]);
    return { publicKey, privateKey };
  }

  /** Makes one object. @returns what it is called */
  async makeOne<Op extends MakingOne>(
    session: ClusterSession,
    operation: Op,
    what: WhatToMake<Op>,
    call: Call,
  ): Promise<Name> {
    const { key, from, purpose } = what;
    const { isUnchecked = false, isSession = false, ...said } = what.asked;
    const how = { isSession, count: 1, isUnchecked, purpose };
    const make: Make = async ([name], stamp, own) => {
      const fields = { ...said, isSession, key: { ...key, ...name }, stamp };
      return [await session.run(operation, fields as unknown as HsmFields<Op>, own, from)];
    };
    const [made] = await this.#makeNamed(session, how, make, call);
    return made as Name;
  }

  /** Makes both halves of a pair. @returns what they are called */
  async makePair(
    session: ClusterSession,
    halves: { readonly privateKey: Named; readonly publicKey: Named },
    asked: Asked<'key-pair-generate'>,
    call: Call,
  ): Promise<{ readonly publicKey: Name; readonly privateKey: Name }> {
    const { isUnchecked = false, ...said } = asked;
    const make: Make = async ([a, b], stamp, own) => {
      const publicKey = { ...halves.publicKey, ...(a as Name) };
      const privateKey = { ...halves.privateKey, ...(b as Name) };
      const fields = { ...said, publicKey, privateKey, stamp };
      const made = await session.run('key-pair-generate', fields, own);
      return [made.publicKey, made.privateKey];
    };
    const how = { isSession: asked.isSession === true, count: 2, isUnchecked };
    const [publicKey, privateKey] = await this.#makeNamed(session, how, make, call);
    return { publicKey: publicKey as Name, privateKey: privateKey as Name };
  }

  /** Under references that are new, and ids that are new with each attempt. */
  async #makeNamed(
    session: ClusterSession,
    how: How,
    make: Make,
    call: Call,
  ): Promise<readonly Name[]> {
    const references = await this.#options.references.take(how.count);
    const namesOf = (ids: readonly HsmKeyId[]): Name[] =>
      ids.map((keyId, at) => ({ keyId, reference: references[at] ?? '' }));
    // session keys of a login are together where they can be
    const entry = how.isSession ? session.home : undefined;
    const own: Call = entry ? { ...call, entry } : call;
    const work = (ids: readonly HsmKeyId[]): Promise<MadeKey[]> =>
      make(namesOf(ids), this.#stamp(), own);
    try {
      return namesOf(await this.#make(session, how, work, own));
    } finally {
      if (own !== call) answeredBy(call, own);
    }
  }

  /** The intent, which stands before any copy does, takes a later revision than the present one. */
  #stamp(): number {
    const { stampAt, ledger } = this.#options;
    return stampAt(ledger.revision + 1);
  }

  async #make(
    session: ClusterSession,
    how: How,
    make: (ids: readonly HsmKeyId[]) => Promise<MadeKey[]>,
    call: Call,
  ): Promise<readonly HsmKeyId[]> {
    const { count, isUnchecked = false, purpose = PURPOSE } = how;
    if (how.isSession) {
      const ids = Array.from({ length: count }, newHsmKeyId);
      await make(ids);
      const { servedBy } = call;
      if (servedBy !== undefined) for (const id of ids) session.keeps(id, servedBy);
      return ids;
    }
    const masked = async (ids: readonly HsmKeyId[]): Promise<HsmResults['generate'][]> =>
      (await make(ids)).map(asMasked);
    const prepared = await this.#options.replicator.createAll(
      { purpose, count, isUnchecked },
      masked,
      call,
    );
    await this.#commit(prepared);
    return prepared.keys.map(({ id }) => id);
  }

  /** The keys are live from the commit on; it is told when the slower HSMs have them, too. */
  async #commit({ keys, settled }: PreparedKeys): Promise<void> {
    const { store, ledger } = this.#options;
    let revision = 0;
    try {
      revision = await store.commit(joinParts(...keys.map(({ part }) => part)));
    } catch (error) {
      for (const key of keys) key.abandon();
      throw error;
    }
    for (const key of keys) key.committed();
    const shown = Promise.all([settled, ledger.reached(revision)]);
    await within(shown, deadlineIn(LIMITS.key_settle_ms), 'copies').catch(() => undefined);
  }

  /**
   * Takes a key over from a cluster of the same family.
   * @throws KeyspanError KeyspanRefused for one that was here and was deleted
   */
  async adopt(id: HsmKeyId, made: HsmResults['generate'], call: Call): Promise<void> {
    const { ledger, replicator } = this.#options;
    await ledger.current();
    const state = ledger.get(id)?.state;
    // one that lives here and is not on each HSM yet is brought there by repairs
    if (state === 'live') return;
    if (state !== undefined) {
      throw new KeyspanError('KeyspanRefused', 'The key was deleted in the destination cluster');
    }
    await this.#commit(await replicator.adopt(id, made, PURPOSE, call));
  }

  /** A session key becomes one of the cluster. */
  async keep(session: ClusterSession, reference: string, call: Call): Promise<void> {
    const fromId = await this.resolve(session, reference, call);
    const make = async ([keyId]: readonly HsmKeyId[]): Promise<MadeKey[]> => {
      const fields = { fromId, keyId: keyId as HsmKeyId, stamp: this.#stamp() };
      return [await session.run('key-keep', fields, call, fromId)];
    };
    await this.#make(session, { isSession: false, count: 1 }, make, call);
    await session.run('key-drop', { keyId: fromId }, call, fromId);
    session.drops(fromId);
    session.forgetName(reference);
  }

  /** Ends a key's life on every HSM. */
  async delete(session: ClusterSession, reference: string, call: Call): Promise<void> {
    const id = await this.resolve(session, reference, call);
    session.forgetName(reference);
    await this.deleteById(session, id, call);
  }

  async deleteById(session: ClusterSession, id: HsmKeyId, call: Call): Promise<void> {
    const { ledger, replicator, store } = this.#options;
    if (session.isOwn(id)) {
      await session.run('key-drop', { keyId: id }, call, id);
      return session.drops(id);
    }
    await session.run('key-destroyable', { keyId: id }, call, id);
    await ledger.current();
    const revision = await store.commit(ledger.tombstone(id));
    const gone = Promise.all([replicator.bury(id), ledger.reached(revision)]);
    await within(gone, call.deadline, 'a burial').catch(() => undefined);
  }

  /** Changes what is known of a key. */
  async change(
    session: ClusterSession,
    reference: string,
    asked: AskedChange,
    call: Call,
  ): Promise<void> {
    await this.changeById(session, await this.resolve(session, reference, call), asked, call);
  }

  async changeById(
    session: ClusterSession,
    id: HsmKeyId,
    { change, approval }: AskedChange,
    call: Call,
  ): Promise<void> {
    if (!session.isOwn(id)) {
      return await this.#options.records.change(session, id, change, call, approval);
    }
    await session.run('record-prepare', { keyId: id, change, approval }, call, id);
  }

  /**
   * Runs an operation with keys that are named by their references. A name may have come to mean
   * nothing since it was learned; then it is asked for once more.
   */
  use<Op extends HsmOperation>(
    session: ClusterSession,
    operation: Op,
    names: readonly [string, string?],
    call: Call,
    fields: (ids: readonly [HsmKeyId, HsmKeyId | undefined]) => HsmFields<Op>,
  ): Promise<HsmResults[Op]> {
    const [first, second] = names;
    const id = session.nameOf(first);
    const other = second === undefined ? undefined : session.nameOf(second);
    const isKnown = id !== undefined && (second === undefined || other !== undefined);
    // not async: each promise on the way of a signature is paid thousands of times a second
    if (!isKnown) return this.#useResolved(session, operation, names, call, fields);
    const work = session.run(operation, fields([id, other]), call, id, other);
    return work.catch((error: unknown) => {
      if (!isKeyspanError(error, 'HsmKeyNotFound')) throw error;
      for (const name of names) if (name !== undefined) session.forgetName(name);
      return this.#useResolved(session, operation, names, call, fields);
    });
  }

  async #useResolved<Op extends HsmOperation>(
    session: ClusterSession,
    operation: Op,
    [first, second]: readonly [string, string?],
    call: Call,
    fields: (ids: readonly [HsmKeyId, HsmKeyId | undefined]) => HsmFields<Op>,
  ): Promise<HsmResults[Op]> {
    const id = await this.resolve(session, first, call);
    const other = second === undefined ? undefined : await this.resolve(session, second, call);
    return await session.run(operation, fields([id, other]), call, id, other);
  }

  /** The id of a key that the user may see. @throws KeyspanError HsmKeyNotFound */
  async resolve(session: ClusterSession, reference: string, call: Call): Promise<HsmKeyId> {
    const known = session.nameOf(reference);
    if (known) return known;
    const filter = { reference, attributes: {} };
    const [key] = (await this.find(session, { filter, limit: 1 }, call)).keys;
    if (!key) throw new KeyspanError('HsmKeyNotFound');
    session.name(reference, key.id);
    return key.id;
  }
}

/** An admin is told of a list of keys what they are called, and no more. */
const isWhole = (key: object): key is KeyFacts => 'object' in key;

function asMasked({ masked, proof }: MadeKey): HsmResults['generate'] {
  if (!masked) throw new KeyspanError('HsmProtocol');
  return { masked, proof };
}
