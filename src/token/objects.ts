import { asBuffer } from '../core/bytes.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { CKA, CKO } from '../core/pkcs11.js';
import { attempt } from './ckr.js';
import type { Template } from './cryptoki.js';
import { storedData } from './template.js';
import type { Handle, Token } from './token.js';

export interface ListedKey {
  readonly handle: Handle;
  /** CKA_ID */
  readonly recordBytes: Buffer;
  readonly label: string;
}

export interface ListedData {
  readonly handle: Handle;
  readonly label: string;
  readonly value: Buffer;
}

/**
 * CKA_ID of the HSM's own keys (masking keys, identity) begins with this, those of users' keys
 * never
 * do: a record begins with its version. So a user's key may carry any label.
 */
export const OWN_KEY_PREFIX = 'keyspan:';

const FIND_BATCH = 4096;

/**
 * Handles of all objects that have the template's attributes. About 18 µs for each on the
 * token.
 */
export function findObjects(token: Token, template: Template): Handle[] {
  const { cryptoki } = token;
  return token.sessions.operate(
    'C_FindObjects',
    (session) => cryptoki.C_FindObjectsInit(session, template),
    (session) => {
      const found: Handle[] = [];
      for (;;) {
        const batch = cryptoki.C_FindObjects(session, FIND_BATCH);
        found.push(...batch);
        if (batch.length < FIND_BATCH) break;
      }
      cryptoki.C_FindObjectsFinal(session);
      return found;
    },
  );
}

/** The values of attributes that every object of this kind has, in the order asked for. */
export function readAttributes(token: Token, handle: Handle, types: readonly number[]): Buffer[] {
  const read = attempt('C_GetAttributeValue', () =>
    token.cryptoki.C_GetAttributeValue(
      token.anchor,
      asBuffer(handle),
      types.map((type) => ({ type })),
    ),
  );
  return read.map((attribute) => attribute.value);
}

/**
 * As `readAttributes`; undefined where the token cannot give them: one damaged file must not keep
 * the others from being read.
 */
export function readIfWhole(
  token: Token,
  handle: Handle,
  types: readonly number[],
): Buffer[] | undefined {
  try {
    return readAttributes(token, handle, types);
  } catch (error) {
    if (isKeyspanError(error, 'HsmDeviceError')) return undefined;
    throw error;
  }
}

/** As `readIfWhole`; the object may have been destroyed since it was found. */
function readIfThere(
  token: Token,
  handle: Handle,
  types: readonly number[],
): Buffer[] | 'gone' | undefined {
  try {
    return readIfWhole(token, handle, types);
  } catch (error) {
    if (isKeyspanError(error, 'HsmKeyNotFound')) return 'gone';
    throw error;
  }
}

/**
 * All secret and private keys of users on the token: not the HSM's own, not session objects. Every
 * key on a token is sensitive, so one search finds both classes. About 75 µs for each. One that
 * cannot be read has no record and no label.
 */
export function listKeys(token: Token): ListedKey[] {
  return [...eachKey(token)];
}

/** As `listKeys`, one after the other: records are read when they are asked for. */
export function* eachKey(token: Token): Generator<ListedKey> {
  const own = Buffer.from(OWN_KEY_PREFIX);
  const template = [
    { type: CKA.TOKEN, value: true },
    { type: CKA.SENSITIVE, value: true },
  ];
  for (const handle of findObjects(token, template)) {
    const read = readIfThere(token, handle, [CKA.ID, CKA.LABEL]);
    if (read === 'gone') continue;
    const [recordBytes = Buffer.alloc(0), label = Buffer.alloc(0)] = read ?? [];
    if (recordBytes.subarray(0, own.length).equals(own)) continue;
    yield { handle, recordBytes, label: label.toString('utf8') };
  }
}

/**
 * Writes a private data object to the token. It cannot be changed afterwards: a change is a new
 * object, written before the old one is destroyed.
 */
export function createData(
  token: Token,
  data: { application: string; label: string; value: Uint8Array },
): Handle {
  if (data.value.length === 0 || data.value.length > LIMITS.frame_size_max_bytes) {
    throw new KeyspanError('HsmBadFrame', 'the length of the data is out of range');
  }
  const made = attempt('C_CreateObject', () =>
    token.cryptoki.C_CreateObject(token.anchor, storedData(data)),
  );
  return moveToToken(token, made);
}

/** Data objects by application. */
export type DataByApplication = ReadonlyMap<string, readonly ListedData[]>;

/**
 * The token's data objects that can be read, found in one search: it costs time for each object on
 * the token, keys too. The application is compared here: a search by a private attribute fails as a
 * whole when one object of the token is damaged.
 */
export function listAllData(token: Token): DataByApplication {
  const template = [
    { type: CKA.CLASS, value: CKO.DATA },
    { type: CKA.TOKEN, value: true },
  ];
  const listed = new Map<string, ListedData[]>();
  for (const handle of findObjects(token, template)) {
    const [owner, label, value] =
      readIfWhole(token, handle, [CKA.APPLICATION, CKA.LABEL, CKA.VALUE]) ?? [];
    if (!owner || !label || !value) continue;
    const application = owner.toString('utf8');
    const others = listed.get(application) ?? [];
    others.push({ handle, label: label.toString('utf8'), value });
    listed.set(application, others);
  }
  return listed;
}

/** Those of one application. */
export const listData = (token: Token, application: string): readonly ListedData[] =>
  listAllData(token).get(application) ?? [];

/**
 * A copy of a key in memory: working with it is more than twice as fast, because SoftHSM looks at a
 * token object's file each time. It lives until it is destroyed, the user logs out, or the Token
 * that made it is disposed.
 */
export function copyToSession(token: Token, handle: Handle): Handle {
  return attempt('C_CopyObject', () =>
    token.cryptoki.C_CopyObject(token.anchor, asBuffer(handle), [
      { type: CKA.TOKEN, value: false },
    ]),
  );
}

/**
 * Puts an object of memory on the token, with the same attributes. About 0.7 ms: SoftHSM writes the
 * file of a copy in one piece, and that of an object that is made there anew with each of its
 * attributes, which takes ten times as long.
 */
export function moveToToken(token: Token, handle: Handle): Handle {
  const { cryptoki, anchor } = token;
  const template = [{ type: CKA.TOKEN, value: true }];
  try {
    return token.write(() =>
      attempt('C_CopyObject', () => cryptoki.C_CopyObject(anchor, asBuffer(handle), template)),
    );
  } finally {
    token.destroy(handle);
  }
}

/** Destroys an object, on the token or in memory. */
export function destroyObject(token: Token, handle: Handle): void {
  token.destroy(handle);
}
