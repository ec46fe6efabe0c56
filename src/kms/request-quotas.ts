import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { isKmsAction } from '../protocol/kms.js';
import { THROTTLED } from './vault-errors.js';

/** Requests for each second, by action: AWS's numbers with some of one's own, or those alone. */
export type QuotaSettings = boolean | Readonly<Record<string, number>>;

/** Cryptographic operations with symmetric keys count together. */
const SYMMETRIC = 'cryptographic operations';
const SYMMETRIC_ACTIONS: ReadonlySet<string> = new Set([
  'Decrypt',
  'Encrypt',
  'GenerateDataKey',
  'GenerateDataKeyWithoutPlaintext',
  'GenerateMac',
  'GenerateRandom',
  'ReEncrypt',
  'VerifyMac',
]);

/** For each second (developer guide, request quotas). */
const MANAGEMENT = 5;
const LISTING = 100;
const QUOTAS: Readonly<Record<string, number>> = {
  [SYMMETRIC]: 10_000,
  CreateGrant: 50,
  DescribeKey: LISTING,
  GetParametersForImport: 0.25,
};

interface Bucket {
  /** requests that may come now */
  tokens: number;
  /** monotonic milliseconds */
  at: number;
}

/**
 * AWS's request quotas, where they are asked for: a bucket for each account, region and action, of
 * as many requests as a second has.
 */
export class RequestQuotas {
  readonly #own: Readonly<Record<string, number>>;
  readonly #monotonic: () => number;
  readonly #buckets = new Map<string, Bucket>();

  constructor(settings: Exclude<QuotaSettings, false>, monotonic: () => number) {
    this.#own = settings === true ? {} : settings;
    this.#monotonic = monotonic;
  }

  /** Counts one request. @throws ThrottlingException in AWS's words */
  take(place: { readonly account: string; readonly region: string }, action: string): void {
    const { name, rate } = this.#quotaOf(action);
    const capacity = Math.max(1, rate);
    const now = this.#monotonic();
    const bucket = this.#bucket(`${place.account}/${place.region}/${name}`, { capacity, now });
    const gained = ((now - bucket.at) / 1_000) * rate;
    bucket.tokens = Math.min(capacity, bucket.tokens + gained);
    bucket.at = now;
    if (bucket.tokens < 1) throw new KeyspanError('ThrottlingException', THROTTLED);
    bucket.tokens -= 1;
  }

  #quotaOf(action: string): { readonly name: string; readonly rate: number } {
    const own = this.#own[action];
    if (own !== undefined) return { name: action, rate: own };
    const name = SYMMETRIC_ACTIONS.has(action) ? SYMMETRIC : action;
    const listed = QUOTAS[name] ?? (action.startsWith('List') ? LISTING : MANAGEMENT);
    return { name, rate: listed };
  }

  /** What was not asked for the longest goes first: its bucket would be full again. */
  #bucket(name: string, fresh: { readonly capacity: number; readonly now: number }): Bucket {
    const known = this.#buckets.get(name);
    if (known) {
      this.#buckets.delete(name);
      this.#buckets.set(name, known);
      return known;
    }
    if (this.#buckets.size >= LIMITS.kms_request_buckets_max) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    const bucket = { tokens: fresh.capacity, at: fresh.now };
    this.#buckets.set(name, bucket);
    return bucket;
  }
}

/** Whether settings name actions of KMS alone, each with a number of requests. */
export const areQuotas = (given: Readonly<Record<string, number>>): boolean =>
  Object.entries(given).every(([action, rate]) => isKmsAction(action) && rate > 0);
