import { createHmac, randomBytes, scrypt, type ScryptOptions } from 'node:crypto';
import { asBuffer, equalConstantTime } from '../core/bytes.js';
import { hasPassed, type Deadline } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { TaskQueue } from '../core/queue.js';
import type { UserRecord } from './records.js';

const SCRYPT: ScryptOptions = { N: 1 << 14, r: 8, p: 1 };
const HASH_BYTES = 32;
/** 128 bits in base64 */
const RANDOM_MIN_CHARS = 22;

/** What decides how a password is hashed. */
type Stretching = Pick<UserRecord, 'role' | 'random'>;

export interface PasswordHash {
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/**
 * Hashes passwords with scrypt off the main thread, a few at once. After a success it remembers
 * an HMAC of the password
 * under a key of this boot, so that the many logins of one user cost one hash.
 */
export class Passwords {
  readonly #bootKey = randomBytes(32);
  readonly #proven = new Map<string, { salt: Uint8Array; mac: Buffer }>();
  readonly #decoySalt = randomBytes(16);
  readonly #queue = new TaskQueue({
    concurrent: LIMITS.hsm_hash_concurrent_max,
    waiting: LIMITS.channel_inflight_max,
    refusal: 'HsmBusy',
  });

  /** @throws KeyspanError HsmBadFrame when it is too short to be as random as it is said to be */
  async hash(password: string, user: Stretching): Promise<PasswordHash> {
    if (user.random && password.length < RANDOM_MIN_CHARS) {
      throw new KeyspanError('HsmBadFrame', 'the password cannot have 128 random bits');
    }
    const salt = randomBytes(16);
    return { salt, hash: await this.#stretch(password, { ...user, salt }, Infinity) };
  }

  /**
   * Whether the password is the user's; for no user it takes as long and is false.
   * @throws HsmDeadlineExceeded when its turn came too late: then nothing was compared
   */
  async matches(
    user: UserRecord | null,
    password: string,
    deadline: Deadline = Infinity,
  ): Promise<boolean> {
    if (user === null) {
      await this.#scrypt(password, this.#decoySalt, deadline);
      return false;
    }
    const mac = this.#mac(user, password);
    const proven = this.#proven.get(user.username);
    if (proven && equalConstantTime(proven.salt, user.salt)) {
      if (equalConstantTime(proven.mac, mac)) return true;
    }
    const hash = await this.#stretch(password, user, deadline);
    const right = equalConstantTime(hash, user.hash);
    if (right) this.#remember(user, mac);
    return right;
  }

  #remember(user: UserRecord, mac: Buffer): void {
    // users come and go; those who stay are remembered again at their next login
    if (this.#proven.size >= LIMITS.hsm_users_max) this.#proven.clear();
    this.#proven.set(user.username, { salt: user.salt, mac });
  }

  #mac(user: UserRecord, password: string): Buffer {
    const hmac = createHmac('sha256', this.#bootKey);
    return hmac.update(asBuffer(user.salt)).update(password, 'utf8').digest();
  }

  /**
   * What the installation makes from 142 random bits (the appliance user's password, and KMS's):
   * there is nothing to guess and so nothing to stretch, and their logins stand in the way of each
   * start.
   */
  async #stretch(
    password: string,
    user: Stretching & Pick<UserRecord, 'salt'>,
    deadline: Deadline,
  ): Promise<Buffer> {
    const { salt, role, random } = user;
    if (role !== 'appliance-user' && !random) return await this.#scrypt(password, salt, deadline);
    return createHmac('sha256', asBuffer(salt)).update(password, 'utf8').digest();
  }

  #scrypt(password: string, salt: Uint8Array, deadline: Deadline): Promise<Buffer> {
    return this.#queue.run(() => {
      if (hasPassed(deadline)) throw new KeyspanError('HsmDeadlineExceeded');
      return new Promise<Buffer>((resolve, reject) => {
        scrypt(password, salt, HASH_BYTES, SCRYPT, (error, key) =>
          error ? reject(error) : resolve(key),
        );
      });
    });
  }
}
