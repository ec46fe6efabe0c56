import { equalConstantTime, wipe } from '../core/bytes.js';
import { deadlineIn, type Deadline } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { HsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import {
  RECORD_VERSION,
  type HsmFields,
  type HsmResults,
  type InventoryItem,
  type PackedItems,
} from '../protocol/hsm-frames.js';
import { AES_256 } from '../token/key-kind.js';
import { importKey } from '../token/key-transport.js';
import { proveKey } from '../token/mac.js';
import { destroyObject } from '../token/objects.js';
import type { Handle } from '../token/token.js';
import { generateSessionKey, wrapKey } from '../token/wrapping.js';
import { mayCarry, mayDestroy, maySee, type Session } from './authority.js';
import { newClusterKey } from './cluster-key.js';
import { findHeld } from './held-keys.js';
import { isShelved, type ShelvedKey } from './key-shelf.js';
import type { Keyring } from './keyring.js';
import { noteOf, type KeyNote } from './manifest.js';
import type { Machine } from './machine.js';
import { mask, openSecret, sealSecret, unmask } from './masking.js';
import { proofOfSecret } from './proofs.js';
import { decodeKeyRecord, type KeyRecord } from './records.js';
import { refuse, refuseLate } from './user-operations.js';

const NOTHING = new Uint8Array(0);

/** What a new key of the installation's own is called and what it is. */
type Named = HsmFields<'generate'>;

function newRecord(session: Session, fields: Named, proof: Uint8Array): KeyRecord {
  return {
    version: RECORD_VERSION,
    id: fields.keyId,
    revision: 1,
    kind: fields.kind,
    owner: session.username,
    sharedWith: [],
    label: fields.label,
    ...(fields.stamp !== undefined && { stamp: fields.stamp }),
    usage: { encrypt: fields.kind === 'aes-256', decrypt: fields.kind === 'aes-256' },
    proof,
  };
}

/**
 * Makes a key and answers it masked. It is on no token yet: `insert` puts it there, on this HSM
 * as on the others.
 */
export async function generate(
  machine: Machine,
  session: Session,
  fields: HsmFields<'generate'>,
): Promise<HsmResults['generate']> {
  if (machine.hasKey(fields.keyId)) throw new KeyspanError('HsmAlreadyExists');
  if (fields.kind === 'cluster-key') return await generateClusterKey(machine, session, fields);
  if (session.role === 'appliance-user') throw new KeyspanError('HsmRoleRefused');
  return maskNew(machine, session, fields, generateSessionKey(machine.token));
}

/** As `generate`, of a key whose bytes came from outside; they are wiped here. */
export function importMaterial(
  machine: Machine,
  session: Session,
  { material, ...named }: HsmFields<'import'>,
): HsmResults['import'] {
  try {
    if (machine.hasKey(named.keyId)) throw new KeyspanError('HsmAlreadyExists');
    const key = importKey(machine.token, AES_256, material);
    return maskNew(machine, session, { ...named, kind: 'aes-256' }, key);
  } finally {
    wipe(material);
  }
}

/** Takes an object of the token's memory over: proved, masked, and destroyed. */
function maskNew(
  machine: Machine,
  session: Session,
  named: Named,
  key: Handle,
): HsmResults['generate'] {
  const { token, masking } = machine;
  try {
    const proof = proveKey(token, key, named.keyId);
    const blob = wrapKey(token, masking.masking.wrap, key);
    return { masked: mask(masking, newRecord(session, named, proof), blob), proof };
  } finally {
    destroyObject(token, key);
  }
}

/**
 * The key of the cluster's CSR and certificate. The token cannot hand it to a TLS server, so it
 * travels sealed.
 */
async function generateClusterKey(
  machine: Machine,
  session: Session,
  fields: HsmFields<'generate'>,
): Promise<HsmResults['generate']> {
  if (session.role !== 'appliance-user') throw new KeyspanError('HsmRoleRefused');
  // one that was made ahead is for one key alone
  const made = machine.clusterKey ?? newClusterKey();
  machine.clusterKey = undefined;
  const secret = await made;
  try {
    const proof = proofOfSecret(secret, fields.keyId);
    const blob = sealSecret(machine.masking, secret, fields.keyId);
    return { masked: mask(machine.masking, newRecord(session, fields, proof), blob), proof };
  } finally {
    wipe(secret);
  }
}

/**
 * Puts a masked key on this token. The same key again is the same answer; another under its id
 * is refused.
 */
export async function insert(
  machine: Machine,
  session: Session,
  fields: HsmFields<'insert'>,
  timeoutMs: number,
): Promise<HsmResults['insert']> {
  const deadline = deadlineIn(timeoutMs);
  const { object, record } = unmask(machine.masking, fields.masked);
  refuse(mayCarry(session, record));
  // nothing may come between the last look and the entry below
  while (machine.installing.has(record.id)) await machine.installing.get(record.id);
  refuseLate(deadline);
  const known = copyOf(machine, record.id);
  if (known) return answerKnown(machine, known, record);
  if (isShelved(record)) return insertSecret(machine, record, object.blob);
  const work = install(machine, fields.masked, deadline);
  const settled = work.then(noted, noted).finally(() => machine.installing.delete(record.id));
  machine.installing.set(record.id, settled);
  return await work;
}

const noted = (): void => undefined;

async function install(
  machine: Machine,
  masked: Uint8Array,
  deadline: Deadline,
): Promise<HsmResults['insert']> {
  const installed = await machine.install(masked, deadline);
  const record = decodeKeyRecord(installed.record);
  machine.member.keyring.add(record, Buffer.from(installed.handle), 'good');
  return { keyId: record.id, revision: record.revision, proof: installed.proof };
}

function answerKnown(machine: Machine, known: KeyRecord, record: KeyRecord): HsmResults['insert'] {
  if (!equalConstantTime(known.proof, record.proof)) throw new KeyspanError('HsmAlreadyExists');
  const { keyring } = machine.member;
  const entry = keyring.get(known.id);
  // the record alone is no evidence that the copy is good
  if (entry && !keyring.prove(entry)) throw new KeyspanError('HsmKeyUnproven');
  return { keyId: known.id, revision: known.revision, proof: known.proof };
}

function insertSecret(machine: Machine, record: KeyRecord, blob: Uint8Array): HsmResults['insert'] {
  const proof = proofOfShelved(machine, { record, blob });
  if (!equalConstantTime(proof, record.proof)) throw new KeyspanError('HsmKeyUnproven');
  machine.member.secrets.put(record, blob);
  return { keyId: record.id, revision: record.revision, proof: record.proof };
}

/** A public key is in its record as a whole: there is nothing else to prove. */
function proofOfShelved(machine: Machine, { record, blob }: ShelvedKey): Buffer {
  const { object, id } = record;
  if (object?.class === 'public-key') return proofOfSecret(object.public ?? NOTHING, id);
  if (object?.class === 'data' && blob.length === 0) return proofOfSecret(blob, id);
  const secret = openSecret(machine.masking, blob, id);
  try {
    return proofOfSecret(secret, id);
  } finally {
    wipe(secret);
  }
}

const copyOf = (machine: Machine, id: HsmKeyId): KeyRecord | undefined =>
  findHeld(machine, undefined, id)?.record;

export function extract(
  machine: Machine,
  session: Session,
  fields: HsmFields<'extract'>,
): HsmResults['extract'] {
  return { masked: maskedCopy(machine, session, fields.keyId) };
}

function maskedCopy(machine: Machine, session: Session, id: HsmKeyId): Uint8Array {
  const context = machine.masking;
  const secret = machine.member.secrets.get(id);
  if (secret) {
    refuse(mayCarry(session, secret.record));
    return mask(context, secret.record, secret.blob);
  }
  const { keyring } = machine.member;
  const entry = keyring.get(id);
  if (!entry) throw new KeyspanError('HsmKeyNotFound');
  refuse(mayCarry(session, entry.record));
  if (!keyring.prove(entry)) throw new KeyspanError('HsmKeyUnproven');
  const blob = wrapKey(machine.token, context.masking.wrap, entry.handle);
  return mask(context, entry.record, blob);
}

/** Some of the keys of a backup: who takes it asks another HSM for those that are not here. */
export function backupKeys(
  machine: Machine,
  session: Session,
  { keyIds }: HsmFields<'backup-keys'>,
): HsmResults['backup-keys'] {
  let size = 0;
  const keys = keyIds.flatMap((id) => {
    // what is left out is asked for again
    if (size >= LIMITS.backup_batch_max_bytes) return [];
    try {
      const masked = maskedCopy(machine, session, id);
      size += masked.length;
      return [{ id, masked }];
    } catch (error) {
      const isAbsent = isKeyspanError(error, 'HsmKeyNotFound');
      if (isAbsent || isKeyspanError(error, 'HsmKeyUnproven')) return [];
      throw error;
    }
  });
  return { keys };
}

export function destroy(
  machine: Machine,
  session: Session,
  fields: HsmFields<'destroy'>,
): Record<string, never> {
  const entry = machine.member.keyring.get(fields.keyId);
  if (!entry) throw new KeyspanError('HsmKeyNotFound');
  refuse(mayDestroy(session, entry.record));
  machine.member.keyring.delete(fields.keyId);
  return {};
}

/**
 * What the ledger abandoned or buried goes; that it is gone already is no error. A copy that is
 * being made is waited for: it must not come to stand after the answer.
 */
export async function discard(
  machine: Machine,
  _session: Session,
  fields: HsmFields<'discard'>,
  timeoutMs: number,
): Promise<Record<string, never>> {
  const deadline = deadlineIn(timeoutMs);
  while (machine.installing.has(fields.keyId)) await machine.installing.get(fields.keyId);
  refuseLate(deadline);
  machine.member.keyring.delete(fields.keyId);
  machine.member.secrets.delete(fields.keyId);
  machine.hotSecrets.drop(fields.keyId);
  return {};
}

/** The keys that a crypto-user owns or shares, in the order of their ids. */
export function find(
  machine: Machine,
  session: Session,
  fields: HsmFields<'find'>,
): HsmResults['find'] {
  const { keyring } = machine.member;
  const keys: { id: HsmKeyId; label: string }[] = [];
  for (const id of keyring.page(fields.after, keyring.size).ids) {
    const record = keyring.get(id)?.record;
    if (record && maySee(session, record)) keys.push({ id, label: record.label });
    if (keys.length === fields.limit) break;
  }
  return { keys };
}

function inventoryItem(keyring: Keyring, id: HsmKeyId): InventoryItem[] {
  const entry = keyring.get(id);
  if (!entry) return [];
  const found = noteOf(entry.record);
  return [{ id, ...found, proof: keyring.prove(entry) ? found.proof : NOTHING }];
}

type Noted = readonly [HsmKeyId, KeyNote];

const hasFirstRecord = ([, { digest }]: Noted): boolean => digest.length === 0;

function pack(notes: readonly Noted[]): PackedItems {
  return {
    ids: Buffer.from(notes.map(([id]) => id).join(''), 'hex'),
    proofs: Buffer.concat(notes.map(([, { proof }]) => proof)),
  };
}

/** What the manifest says of these keys. */
const notesOf = (keyring: Keyring, ids: readonly HsmKeyId[]): Noted[] =>
  ids.flatMap((id) => {
    const note = keyring.noted(id);
    return note ? [[id, note] as const] : [];
  });

/** Which copies are here and what they prove; secrets come with the first page. */
export function inventory(
  machine: Machine,
  _session: Session,
  fields: HsmFields<'inventory'>,
): HsmResults['inventory'] {
  const { keyring, secrets } = machine.member;
  const page = keyring.page(fields.after, fields.limit);
  const noted = fields.recorded ? notesOf(keyring, page.ids) : [];
  const known = new Set(noted.map(([id]) => id));
  const items = page.ids.flatMap((id) => (known.has(id) ? [] : inventoryItem(keyring, id)));
  for (const [id, note] of noted) if (note.digest.length > 0) items.push({ id, ...note });
  const first = noted.filter(hasFirstRecord);
  if (fields.after === '') {
    const shelved = [...secrets.keys()].map(({ record }): Noted => [record.id, noteOf(record)]);
    // all of them come at once: in one list they would be more than a frame holds
    const isMany = shelved.length > LIMITS.hsm_inventory_page_max;
    for (const one of shelved) {
      if (isMany && hasFirstRecord(one)) first.push(one);
      else items.push({ id: one[0], ...one[1] });
    }
  }
  return {
    items,
    ...(first.length > 0 && { packed: pack(first) }),
    last: page.ids.at(-1) ?? '',
    more: page.more,
  };
}

export function clusterKey(
  machine: Machine,
  _session: Session,
  fields: HsmFields<'cluster-key'>,
): HsmResults['cluster-key'] {
  const secret = machine.member.secrets.get(fields.keyId);
  if (secret?.record.kind !== 'cluster-key') throw new KeyspanError('HsmKeyNotFound');
  return { privateKey: openSecret(machine.masking, secret.blob, fields.keyId) };
}

/**
 * The newest state of the store that this token knows of: what was noted, or what the record of
 * a key says. A store that is
 * older than that is an old copy.
 */
export function storeSeen(
  machine: Machine,
  _session: Session,
  fields: HsmFields<'store-seen'>,
): HsmResults['store-seen'] {
  const { facts, keyring } = machine.member;
  const noted = readStoreFact(facts.get('store'));
  const { note } = fields;
  if (note && (note.store !== noted?.store || note.stamp > noted.stamp)) {
    facts.put('store', encodeCbor([note.store, note.stamp]));
    return note;
  }
  const stamp = Math.max(noted?.stamp ?? 0, keyring.newestStamp());
  return { store: noted?.store ?? null, stamp };
}

function readStoreFact(body: Uint8Array | undefined): { store: string; stamp: number } | undefined {
  if (!body) return undefined;
  const [store, stamp] = decodeCbor(body, 'HsmBadRecord') as [string, number];
  return { store, stamp };
}
