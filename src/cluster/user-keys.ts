import type { Call } from '../core/call.js';
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

/** What a making says besides of the key. */
export type Asked<Op extends 'key-generate' | 'key-pair-generate' | 'key-import' | 'key-unwrap'> =
  Omit<HsmFields<Op>, 'key' | 'publicKey' | 'privateKey' | 'stamp'> & {
    /** one HSM is enough */
    readonly isUnchecked?: boolean | undefined;
  };

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
    return await this.#one(session, key, asked, call, 'key-generate');
  }

  async importPublic(
    session: ClusterSession,
    key: Named,
    asked: Asked<'key-import'>,
    call: Call,
  ): Promise<SeenKey> {
    return await this.#one(session, key, asked, call, 'key-import');
  }

  async unwrap(
    session: ClusterSession,
    key: Named,
    asked: Asked<'key-unwrap'>,
    call: Call,
  ): Promise<SeenKey> {
    return await this.#one(session, key, asked, call, 'key-unwrap', asked.wrappingId);
  }

  async #one<Op extends 'key-generate' | 'key-import' | 'key-unwrap'>(
    session: ClusterSession,
    key: Named,
    asked: Asked<Op>,
    call: Call,
    operation: Op,
    wrappingId?: HsmKeyId,
  ): Promise<SeenKey> {
    const [reference = ''] = await this.#options.references.take(1);
    const { isUnchecked = false, ...said } = asked;
    const make = async ([keyId]: readonly HsmKeyId[]): Promise<MadeKey[]> => {
      const making = { ...key, keyId: keyId as HsmKeyId, reference };
      const fields = { ...said, key: making, stamp: this.#stamp() } as unknown as HsmFields<Op>;
      return [await session.run(operation, fields, call, wrappingId)];
    };
    const how = { isSession: asked.isSession === true, count: 1, isUnchecked };
    await this.#make(session, how, make, call);
    return await this.describe(session, reference);
  }

  /** Both halves, which become keys of the cluster together. */
  async generatePair(
    session: ClusterSession,
    halves: { readonly privateKey: Named; readonly publicKey: Named },
    asked: Asked<'key-pair-generate'>,
    call: Call,
  ): Promise<{ readonly publicKey: SeenKey; readonly privateKey: SeenKey }> {
    const { privateKey, publicKey } = halves;
    const { isUnchecked = false, ...said } = asked;
    const [first = '', second = ''] = await this.#options.references.take(2);
    const make = async ([a, b]: readonly HsmKeyId[]): Promise<MadeKey[]> => {
      const made = await session.run(
        'key-pair-generate',
        {
          ...said,
          publicKey: { ...publicKey, keyId: a as HsmKeyId, reference: first },
          privateKey: { ...privateKey, keyId: b as HsmKeyId, reference: second },
          stamp: this.#stamp(),
        },
        call,
      );
      return [made.publicKey, made.privateKey];
    };
    const how = { isSession: asked.isSession === true, count: 2, isUnchecked };
    await this.#make(session, how, make, call);
    const [open, secret] = await Promise.all([
      this.describe(session, first),
      this.describe(session, second),
    ]);
    return { publicKey: open, privateKey: secret };
  }

  /** The intent, which stands before any copy does, takes a later revision than the present one. */
  #stamp(): number {
    const { stampAt, ledger } = this.#options;
    return stampAt(ledger.revision + 1);
  }

  async #make(
    session: ClusterSession,
    how: {
      readonly isSession: boolean;
      readonly count: number;
      readonly isUnchecked?: boolean;
    },
    make: (ids: readonly HsmKeyId[]) => Promise<MadeKey[]>,
    call: Call,
  ): Promise<void> {
    const { count, isUnchecked = false } = how;
    if (how.isSession) {
      const ids = Array.from({ length: count }, newHsmKeyId);
      await make(ids);
      const { servedBy } = call;
      if (servedBy !== undefined) for (const id of ids) session.keeps(id, servedBy);
      return;
    }
    const masked = async (ids: readonly HsmKeyId[]): Promise<HsmResults['generate'][]> =>
      (await make(ids)).map(asMasked);
    const prepared = await this.#options.replicator.createAll(
      { purpose: PURPOSE, count, isUnchecked },
      masked,
      call,
    );
    await this.#commit(prepared);
  }

  /** The keys are live from the commit on; it is told when the slower HSMs have them, too. */
  async #commit({ keys, settled }: PreparedKeys): Promise<void> {
    const parts = keys.map(({ part }) => part);
    try {
      await this.#options.store.commit({
        compares: parts.flatMap(({ compares }) => compares),
        writes: parts.flatMap(({ writes }) => writes),
      });
    } catch (error) {
      for (const key of keys) key.abandon();
      throw error;
    }
    for (const key of keys) key.committed();
    await within(settled, deadlineIn(LIMITS.key_settle_ms), 'copies').catch(() => undefined);
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
    const { ledger, replicator, store } = this.#options;
    const id = await this.resolve(session, reference, call);
    session.forgetName(reference);
    if (session.isOwn(id)) {
      await session.run('key-drop', { keyId: id }, call, id);
      return session.drops(id);
    }
    await session.run('key-destroyable', { keyId: id }, call, id);
    await ledger.current();
    await store.commit(ledger.tombstone(id));
    await within(replicator.bury(id), call.deadline, 'a burial').catch(() => undefined);
  }

  /** Changes what is known of a key. */
  async change(
    session: ClusterSession,
    reference: string,
    asked: { readonly change: RecordChange; readonly approval?: Approval | undefined },
    call: Call,
  ): Promise<void> {
    const { change, approval } = asked;
    const id = await this.resolve(session, reference, call);
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
