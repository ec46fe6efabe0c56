import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asBuffer } from '../core/bytes.js';
import type { HsmId, HsmKeyId } from '../core/ids.js';
import { decodeCbor, encodeCbor } from '../protocol/frame-codec.js';
import { digestOfRecord, type DataObject, type KeyRecord } from './records.js';

/** What stands on the token of one key, without its object having been looked at. */
export interface KeyNote {
  readonly revision: number;
  /** what a true copy proves itself with */
  readonly proof: Uint8Array;
  /** of the record, which names it among others of its revision; empty for a key's first one */
  readonly digest: Uint8Array;
}

const NO_DIGEST = new Uint8Array(0);

/** What is noted of a key with this record. */
export function noteOf(record: KeyRecord): KeyNote {
  const { revision, proof } = record;
  return { revision, proof, digest: revision > 1 ? digestOfRecord(record) : NO_DIGEST };
}

/**
 * What was on a token when its HSM last ended in good order. Reading the record of a key costs the
 * token 60 µs and each search 16 µs for each of its objects: with thousands of keys that is most of
 * a start. While the census says that nobody touched the files since, the manifest tells what is
 * there, and the objects are looked at later, each before it is first used.
 */
export interface Manifest extends KeyNotes {
  /** the state of the files that it speaks of */
  readonly census: string;
}

export interface KeyNotes {
  /** the highest stamp among the records */
  readonly stamp: number;
  readonly keys: ReadonlyMap<HsmKeyId, KeyNote>;
  /** data objects by application */
  readonly shelves: Readonly<Record<string, readonly DataObject[]>>;
}

/** Where the manifest of a token is, and whose it is. */
export interface ManifestPlace {
  readonly directory: string;
  readonly hsm: HsmId;
  /** it opens the token itself, so it may open what is known of it */
  readonly userPin: Uint8Array;
}

const FILE = 'manifest';
const VERSION = 1;
const PURPOSE = 'keyspan manifest v1';
const ID_BYTES = 16;
const PROOF_BYTES = 16;
const IV_BYTES = 12;
const TAG_BYTES = 16;

const keyOf = ({ userPin, hsm }: ManifestPlace): Uint8Array =>
  new Uint8Array(hkdfSync('sha256', userPin, hsm, PURPOSE, 32));
const aadOf = ({ hsm }: ManifestPlace): Buffer => Buffer.from(`${PURPOSE} ${hsm}`);

type Body = [
  census: string,
  stamp: number,
  ids: Uint8Array,
  revisions: number[],
  proofs: Uint8Array,
  digests: Uint8Array[],
  shelves: [application: string, objects: [string, number, Uint8Array][]][],
];

/** Writes it whole or not at all; it is not worth a sync: one that is lost costs time alone. */
export function writeManifest(place: ManifestPlace, manifest: Manifest): void {
  const { census, stamp, keys, shelves } = manifest;
  const notes = [...keys.values()];
  const body: Body = [
    census,
    stamp,
    Buffer.concat([...keys.keys()].map((id) => Buffer.from(id, 'hex'))),
    notes.map(({ revision }) => revision),
    Buffer.concat(notes.map(({ proof }) => proof)),
    notes.map(({ digest }) => digest),
    Object.entries(shelves).map(([name, objects]) => [
      name,
      objects.map(({ id, revision, body: bytes }) => [id, revision, bytes]),
    ]),
  ];
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', keyOf(place), iv).setAAD(aadOf(place));
  const sealed = [cipher.update(encodeCbor(body)), cipher.final()];
  const file = Buffer.concat([Buffer.of(VERSION), iv, cipher.getAuthTag(), ...sealed]);
  const path = join(place.directory, FILE);
  writeFileSync(`${path}.new`, file, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** `undefined` when there is none that can be read, or it speaks of another state of the files. */
export function readManifest(place: ManifestPlace, census: string): Manifest | undefined {
  try {
    const manifest = decode(open(place, readFileSync(join(place.directory, FILE))));
    return manifest.census === census ? manifest : undefined;
  } catch {
    return undefined;
  }
}

function open(place: ManifestPlace, file: Buffer): Buffer {
  if (file[0] !== VERSION) throw new Error('a manifest of another version');
  const iv = file.subarray(1, 1 + IV_BYTES);
  const tag = file.subarray(1 + IV_BYTES, 1 + IV_BYTES + TAG_BYTES);
  const options = { authTagLength: TAG_BYTES };
  const decipher = createDecipheriv('aes-256-gcm', keyOf(place), iv, options);
  decipher.setAAD(aadOf(place)).setAuthTag(tag);
  const sealed = file.subarray(1 + IV_BYTES + TAG_BYTES);
  return Buffer.concat([decipher.update(sealed), decipher.final()]);
}

/** It was sealed by this HSM, so its form is not looked at twice. */
function decode(bytes: Buffer): Manifest {
  const [census, stamp, ids, revisions, proofs, digests, shelves] = decodeCbor(
    bytes,
    'HsmBadRecord',
  ) as Body;
  const hex = asBuffer(ids).toString('hex');
  const keys = new Map<HsmKeyId, KeyNote>();
  for (const [at, revision] of revisions.entries()) {
    const id = hex.slice(at * 2 * ID_BYTES, (at + 1) * 2 * ID_BYTES) as HsmKeyId;
    const proof = proofs.subarray(at * PROOF_BYTES, (at + 1) * PROOF_BYTES);
    keys.set(id, { revision, proof, digest: digests[at] ?? NO_DIGEST });
  }
  const objects = shelves.map(([name, list]): [string, DataObject[]] => [
    name,
    list.map(([id, revision, body]) => ({ id, revision, body })),
  ]);
  return { census, stamp, keys, shelves: Object.fromEntries(objects) };
}
