import { answeredBy, type Call } from '../core/call.js';
import { isKeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { HsmResults } from '../protocol/hsm-frames.js';
import type { KeyFacts } from '../protocol/hsm-key-frames.js';
import type { ClusterSession } from './cluster-session.js';
import { OBJECT_PURPOSE, type KeyLedger } from './key-ledger.js';
import type { RecordChanges } from './record-changes.js';
import type { Replicator } from './replicator.js';
import type { Asked, AskedChange, MakingOne, Named, UserKeys, WhatToMake } from './user-keys.js';

export interface UserObjectsOptions {
  readonly ledger: KeyLedger;
  readonly replicator: Replicator;
  readonly records: RecordChanges;
  readonly keys: UserKeys;
}

/** Some of the objects that a login finds, in the order of their references. */
export type ObjectPage = HsmResults['object-find'];

/** Which objects are asked for. */
export interface PageAsked {
  /** these alone, as far as they are there */
  readonly ids?: readonly HsmKeyId[] | undefined;
  /** the reference of the last one of the page before */
  readonly after?: string | undefined;
  readonly limit: number;
}

const NONE: ObjectPage = { objects: [], more: false };

/**
 * What PKCS #11 does with the objects of HSM users, on all HSMs of a cluster: keys, certificates
 * and data, by their ids. Whoever makes one is told its id and no more.
 */
export class UserObjects {
  readonly #options: UserObjectsOptions;

  constructor(options: UserObjectsOptions) {
    this.#options = options;
  }

  /**
   * @param listener hears of each key that became live, was destroyed, or has another record: when
   * HSMs answer by what it is now. Not of session objects. It must not throw.
   * @returns what ends it
   */
  onChange(listener: (id: HsmKeyId) => void): () => void {
    const { ledger, records } = this.#options;
    const ends = [
      ledger.onChange((ids) => {
        for (const id of ids) if (this.#isDecided(id)) listener(id);
      }),
      records.onSettled(listener),
    ];
    return () => {
      for (const end of ends) end();
    };
  }

  /** An attempt is no key yet, and a change that HSMs do not have yet is told when they have it. */
  #isDecided(id: HsmKeyId): boolean {
    const { ledger, records } = this.#options;
    const state = ledger.get(id)?.state;
    if (state === 'intent' || state === 'abandoned') return false;
    return state !== 'live' || !records.isChanging(id);
  }

  /**
   * What the login finds. Each HSM knows all of it but for what it lacks yet, and session objects
   * of others, for which those are asked besides.
   */
  async objects(session: ClusterSession, page: PageAsked, call: Call): Promise<ObjectPage> {
    const { limit, ids } = page;
    let { after } = page;
    for (;;) {
      const asked = { after, limit };
      const pages = ids
        ? await this.#named(session, ids, asked, call)
        : await this.#all(session, asked, call);
      const { objects, more } = mergePages(pages, limit);
      const living = objects.filter((one) => this.#lives(session, one));
      // copies of keys that are none yet, or none any more: there may be a whole page of them
      if (living.length > 0 || !more) return { objects: living, more };
      after = objects.at(-1)?.object.reference;
    }
  }

  #lives(session: ClusterSession, { id }: KeyFacts): boolean {
    return session.isOwn(id) || this.#options.ledger.get(id)?.state === 'live';
  }

  async #all(session: ClusterSession, asked: PageAsked, call: Call): Promise<ObjectPage[]> {
    const entry = call.entry ?? session.home;
    const own: Call = entry ? { ...call, entry } : { ...call };
    const first = await session.run('object-find', asked, own);
    answeredBy(call, own);
    const { servedBy } = own;
    const lacked = servedBy ? this.#options.replicator.lackedBy(servedBy) : [];
    const elsewhere = [...lacked, ...session.ownBeside(servedBy)];
    if (elsewhere.length === 0) return [first];
    return [first, ...(await this.#named(session, elsewhere, asked, call))];
  }

  /** Asks for objects by their ids, each where it is. */
  async #named(
    session: ClusterSession,
    ids: readonly HsmKeyId[],
    asked: PageAsked,
    call: Call,
  ): Promise<ObjectPage[]> {
    const parts: HsmKeyId[][] = [];
    const open = new Map<string, HsmKeyId[]>();
    for (const id of new Set(ids)) {
      const place = this.#placeOf(session, id);
      const part = open.get(place);
      if (part && part.length < LIMITS.p11_object_page_max) part.push(id);
      else {
        const begun = [id];
        open.set(place, begun);
        parts.push(begun);
      }
    }
    return await Promise.all(parts.map((part) => this.#part(session, part, asked, call)));
  }

  /** Keys with the same one are found on the same HSMs. */
  #placeOf(session: ClusterSession, id: HsmKeyId): string {
    const lacking = this.#options.replicator.lacking(id);
    return session.homeOf(id) ?? [...(lacking ?? [])].sort().join(' ');
  }

  async #part(
    session: ClusterSession,
    ids: readonly HsmKeyId[],
    asked: PageAsked,
    call: Call,
  ): Promise<ObjectPage> {
    const [one] = ids;
    const isOwn = one !== undefined && session.isOwn(one);
    try {
      return await session.run('object-find', { ...asked, ids }, call, one);
    } catch (error) {
      // session objects go with their HSM
      if (isOwn && isGone(error)) return NONE;
      throw error;
    }
  }

  async generate(
    session: ClusterSession,
    key: Named,
    asked: Asked<'key-generate'>,
    call: Call,
  ): Promise<HsmKeyId> {
    return await this.#make(session, 'key-generate', { key, asked }, call);
  }

  /** Both halves, which become keys of the cluster together. */
  async generatePair(
    session: ClusterSession,
    halves: { readonly privateKey: Named; readonly publicKey: Named },
    asked: Asked<'key-pair-generate'>,
    call: Call,
  ): Promise<{ readonly publicKey: HsmKeyId; readonly privateKey: HsmKeyId }> {
    const made = await this.#options.keys.makePair(session, halves, asked, call);
    return { publicKey: made.publicKey.keyId, privateKey: made.privateKey.keyId };
  }

  async unwrap(
    session: ClusterSession,
    key: Named,
    asked: Asked<'key-unwrap'>,
    call: Call,
  ): Promise<HsmKeyId> {
    return await this.#make(session, 'key-unwrap', { key, asked, from: asked.wrappingId }, call);
  }

  /** A secret key that two parties agree upon. */
  async derive(
    session: ClusterSession,
    key: Named,
    asked: Asked<'p11-derive'>,
    call: Call,
  ): Promise<HsmKeyId> {
    return await this.#make(session, 'p11-derive', { key, asked, from: asked.baseId }, call);
  }

  /** An object of what somebody brought. */
  async createObject(
    session: ClusterSession,
    key: Named,
    asked: Asked<'object-create'>,
    call: Call,
  ): Promise<HsmKeyId> {
    const { kind } = asked.content;
    const isKey = kind !== 'certificate' && kind !== 'data';
    const purpose = isKey ? undefined : OBJECT_PURPOSE;
    return await this.#make(session, 'object-create', { key, asked, purpose }, call);
  }

  /**
   * Another object with the same key or content.
   * @param key `given` names what is not as it was
   * @param isKey false: a certificate, or data
   */
  async copyObject(
    session: ClusterSession,
    key: Named,
    asked: Asked<'object-copy'> & { readonly isKey: boolean },
    call: Call,
  ): Promise<HsmKeyId> {
    const { isKey, ...said } = asked;
    const purpose = isKey ? undefined : OBJECT_PURPOSE;
    const what = { key, asked: said, from: said.fromId, purpose };
    return await this.#make(session, 'object-copy', what, call);
  }

  async #make<Op extends MakingOne>(
    session: ClusterSession,
    operation: Op,
    what: WhatToMake<Op>,
    call: Call,
  ): Promise<HsmKeyId> {
    return (await this.#options.keys.makeOne(session, operation, what, call)).keyId;
  }

  /** The bytes of an object, where they may be told; the caller wipes them. */
  async reveal(session: ClusterSession, keyId: HsmKeyId, call: Call): Promise<Uint8Array> {
    return (await session.run('object-reveal', { keyId }, call, keyId)).value;
  }

  /** Changes what is known of an object. */
  async change(
    session: ClusterSession,
    id: HsmKeyId,
    asked: AskedChange,
    call: Call,
  ): Promise<void> {
    await this.#options.keys.changeById(session, id, asked, call);
  }

  /** Ends an object's life on every HSM. */
  async delete(session: ClusterSession, id: HsmKeyId, call: Call): Promise<void> {
    await this.#options.keys.deleteById(session, id, call);
  }
}

const isGone = (error: unknown): boolean =>
  isKeyspanError(error, 'VaultKeyMissing') || isKeyspanError(error, 'KeyspanConnection');

const referenceOf = ({ object }: KeyFacts): string => object.reference;

/**
 * One page of several: none of them tells more than the one that ends first, since what follows
 * there is not known. Pure.
 */
export function mergePages(pages: readonly ObjectPage[], limit: number): ObjectPage {
  const ends = pages.flatMap(({ objects, more }) => {
    const last = objects.at(-1);
    return more && last ? [referenceOf(last)] : [];
  });
  const [end] = ends.sort();
  const known = new Map(pages.flatMap(({ objects }) => objects).map((one) => [one.id, one]));
  const within = [...known.values()].filter((one) => !end || referenceOf(one) <= end);
  within.sort((a, b) => (referenceOf(a) < referenceOf(b) ? -1 : 1));
  return {
    objects: within.slice(0, limit),
    more: end !== undefined || within.length > limit,
  };
}
