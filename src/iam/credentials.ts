import { createHmac } from 'node:crypto';
import { decodeCborItem, encodeCborItem } from '../core/cbor.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { readPrincipal, type Principal } from './principal.js';

/** A credential, long-term or temporary: who knows the secret speaks for the principal. */
export interface AccessKey {
  readonly id: string;
  /** the secret access key as a client writes it, in UTF-8 */
  readonly secret: Uint8Array;
  readonly principal: Principal;
}

/** A long-term credential as it is stored. */
export interface StoredAccessKey extends AccessKey {
  readonly active: boolean;
  /** civil time in seconds since 1970 */
  readonly createdAt: number;
}

/** Where a signature's access key is looked up: for each request, so it must cost no I/O. */
export interface AccessKeys {
  /**
   * @param token the session token that came with the id
   * @throws ExpiredTokenException; UnrecognizedClientException for a key that was deactivated
   */
  find(id: string, token?: string): AccessKey | undefined;
  /** Whom an id that is not known speaks for, without a proof. Absent: nobody. */
  stranger?(id: string): AccessKey;
}

export const INVALID_TOKEN = 'The security token included in the request is invalid.';

/** What a signature is bound to beside the request (the credential scope). */
export interface Scope {
  /** YYYYMMDD */
  readonly date: string;
  readonly region: string;
  readonly service: string;
}

export const SCOPE_TERMINATOR = 'aws4_request';

/** IAM's form of an access key id, but short ones too: `test` is what emulators are called with. */
export const isAccessKeyId = (text: string): boolean => /^\w{3,128}$/.test(text);
export const isSecretAccessKey = (text: string): boolean => /^[!-~]{1,128}$/.test(text);

/** 1: the root's alone, always active, of unknown age */
const VERSION = 2;

/** The value that an access key is stored as. It holds the secret: it is stored sealed alone. */
export function encodeAccessKey(key: StoredAccessKey): Uint8Array {
  const { secret, principal, active, createdAt } = key;
  return encodeCborItem({ v: VERSION, principal: principal.arn, secret, active, createdAt });
}

/** @throws StoreCorrupt when the value is not one that `encodeAccessKey` made */
export function decodeAccessKey(id: string, value: Uint8Array): StoredAccessKey {
  const members = decodeCborItem(value) as Record<string, unknown>;
  const { v, principal: arn, secret, active = v === 1, createdAt = 0 } = members;
  const principal = typeof arn === 'string' ? readPrincipal(arn) : undefined;
  const known = v === 1 || v === VERSION;
  const formed = typeof active === 'boolean' && typeof createdAt === 'number';
  if (!known || !formed || !principal || !(secret instanceof Uint8Array)) {
    throw new KeyspanError('StoreCorrupt', `The access key ${id} cannot be read.`);
  }
  return { id, secret, principal, active, createdAt };
}

const derived = new WeakMap<AccessKey, Map<string, Uint8Array>>();

/**
 * The key that signs for one day, region and service (AWS Signature Version 4, "Derive a signing
 * key"). The last few are remembered with their access key: a client signs all day in one scope.
 */
export function signingKey(key: AccessKey, scope: Scope): Uint8Array {
  const known = derived.get(key) ?? new Map<string, Uint8Array>();
  derived.set(key, known);
  const { date, region, service } = scope;
  const name = `${date}/${region}/${service}`;
  let made = known.get(name);
  if (made) return made;
  const parts = [date, region, service, SCOPE_TERMINATOR];
  made = parts.reduce<Uint8Array>(
    (secret, part) => createHmac('sha256', secret).update(part).digest(),
    Buffer.concat([Buffer.from('AWS4'), key.secret]),
  );
  if (known.size >= LIMITS.signing_keys_max) known.clear();
  known.set(name, made);
  return made;
}
