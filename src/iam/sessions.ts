import { decodeCborItem, encodeCborItem } from '../core/cbor.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { newSecretAccessKey, newSessionKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import {
  accept,
  bytes,
  list,
  number,
  object,
  oneOf,
  text,
  tuple,
  type FormOf,
} from '../protocol/form.js';
import type { Sealer } from '../store/sealed.js';
import type { AccessKey } from './credentials.js';
import { readPrincipal, type Principal, type Session } from './principal.js';

/** Temporary credentials as their owner is given them. */
export interface SessionCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
  /** wire time in milliseconds since 1970 */
  readonly expiresAtMs: number;
}

const VERSION = 1;
const name = text({ max: 2_048 });
/** What a token seals: the whole of a session, so that nothing of it need be stored. */
const contentForm = object({
  v: oneOf(VERSION),
  principal: name,
  of: name,
  secret: bytes({ min: 1, max: 128 }),
  /** wire time in milliseconds since 1970 */
  issuedAtMs: number,
  expiresAtMs: number,
  policies: list(text({ max: LIMITS.session_content_max_bytes }), { max: 1 }),
  policyArns: list(name, { max: LIMITS.iam_attached_policies_max }),
  tags: list(tuple(name, text({ min: 0, max: 1_024 })), { max: LIMITS.iam_tags_max }),
});
type Content = FormOf<typeof contentForm>;

interface KnownSession {
  readonly token: string;
  readonly expiresAtMs: number;
  readonly key: AccessKey & { readonly principal: Principal & { readonly session: Session } };
}

export interface SessionsOptions {
  readonly sealer: Sealer;
  /** wire time in milliseconds since 1970 */
  readonly wire: () => number;
  /** the id that the principal has now, if there is one of its name */
  readonly idOf: (principal: Principal) => string | undefined;
}

/** Temporary credentials. A token is sealed under the installation's key and needs no store. */
export class Sessions {
  readonly #options: SessionsOptions;
  /** by access key id; what was opened lately need not be opened again */
  readonly #known = new Map<string, KnownSession>();

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /**
   * @throws PackedPolicyTooLarge when the policies and tags take more room than a token has
   */
  begin(options: {
    principal: Principal;
    session: Omit<Session, 'issuedAtMs'>;
    durationSeconds: number;
  }): SessionCredentials {
    const { principal, session, durationSeconds } = options;
    const issuedAtMs = this.#options.wire();
    const accessKeyId = newSessionKeyId();
    const secretAccessKey = newSecretAccessKey();
    const expiresAtMs = issuedAtMs + durationSeconds * 1_000;
    const content: Content = {
      v: VERSION,
      principal: principal.arn,
      of: session.of,
      secret: Buffer.from(secretAccessKey, 'utf8'),
      issuedAtMs,
      expiresAtMs,
      policies: session.policies,
      policyArns: session.policyArns,
      tags: [...session.tags],
    };
    const plain = encodeCborItem(content);
    if (plain.length > LIMITS.session_content_max_bytes) {
      throw new KeyspanError('PackedPolicyTooLarge');
    }
    const sealed = this.#options.sealer.seal(plain, sealedAs(accessKeyId));
    const sessionToken = Buffer.from(sealed).toString('base64');
    return { accessKeyId, secretAccessKey, sessionToken, expiresAtMs };
  }

  /**
   * The key of a session, if the token is its own.
   * @throws ExpiredTokenException
   */
  find(id: string, token: string): AccessKey | undefined {
    const known = this.#known.get(id);
    const session = known?.token === token ? known : this.#open(id, token);
    if (!session) return undefined;
    const { key, expiresAtMs } = session;
    if (this.#options.wire() >= expiresAtMs) {
      this.#known.delete(id);
      const sentence = 'The security token included in the request is expired';
      throw new KeyspanError('ExpiredTokenException', sentence);
    }
    // who was deleted, or made again under the same name, is not whose session it is
    return this.#options.idOf(key.principal) === key.principal.session.of ? key : undefined;
  }

  #open(id: string, token: string): KnownSession | undefined {
    const content = this.#unseal(id, token);
    const principal = content && readPrincipal(content.principal);
    if (!content || !principal) return undefined;
    const { of, policies, policyArns, issuedAtMs, expiresAtMs, secret } = content;
    const session: Session = { of, policies, policyArns, issuedAtMs, tags: new Map(content.tags) };
    const key = { id, secret, principal: { ...principal, session } };
    const opened = { token, expiresAtMs, key };
    if (this.#known.size >= LIMITS.sessions_known_max) this.#known.clear();
    this.#known.set(id, opened);
    return opened;
  }

  #unseal(id: string, token: string): Content | undefined {
    const sealed = Buffer.from(token, 'base64');
    // a decoder that passes over what it does not know would take a token in many spellings
    if (sealed.toString('base64') !== token) return undefined;
    try {
      const plain = this.#options.sealer.open(sealed, sealedAs(id));
      return accept(contentForm, decodeCborItem(plain));
    } catch (error) {
      if (isKeyspanError(error, 'StoreCorrupt')) return undefined;
      throw error;
    }
  }
}

const sealedAs = (accessKeyId: string): string => `session/${accessKeyId}`;
