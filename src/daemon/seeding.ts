import { wipe } from '../core/bytes.js';
import type { Clock } from '../core/clock.js';
import { deadlineIn } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { newRequestId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { AdminHandlers } from '../front/admin.js';
import { seedPrincipals } from '../iam/seed.js';
import type { Kms } from '../kms/kms.js';
import { civilSeconds } from '../kms/records.js';
import type { SownSeed } from '../protocol/admin.js';
import type { Callers } from './callers.js';
import type { Seed } from './seed-file.js';
import type { SeededAccounts } from './seed-accounts.js';
import type { SeededKey } from './seed-keys.js';

/** Where what names no place belongs. */
interface Place {
  readonly account: string;
  readonly region: string;
}

/** What a seed is sown into. */
export interface SeedBed {
  /** undefined: the daemon is not ready */
  readonly served:
    | { readonly kms: Pick<Kms, 'seedKey'>; readonly callers: Pick<Callers, 'directory'> }
    | undefined;
  /** the cluster that holds keys, where there is one */
  readonly own: Place | undefined;
  readonly config: Place;
  readonly clock: Clock;
  /** aborted: what has not begun does not begin */
  readonly signal: AbortSignal;
  readonly log: Logger;
}

/** The operator's way to sow while the daemon runs. */
export const seedHandlers = (bed: () => SeedBed): Pick<AdminHandlers, 'Seed'> => ({
  Seed: async ({ path }) => sow(await (await import('./seed-file.js')).readSeed(path), bed()),
});

/**
 * Makes what a seed says and is not there, many keys at once, and wipes their material. It can be
 * done again, also after an end half-way: each key comes into being with all that it has.
 * @throws KeyspanError of the first key that cannot be had, which it names
 */
export async function sow(seed: Seed, bed: SeedBed): Promise<SownSeed> {
  try {
    if (seed.keys.length > 0 && !bed.own) {
      const sentence = 'The seed has keys, and this installation no cluster of its own.';
      throw new KeyspanError('KeyspanConfig', sentence);
    }
    await sowAccounts(seed.accounts, bed);
    const sown = await sowKeys(seed.keys, bed);
    bed.log.info(sown, 'the seed is sown');
    return sown;
  } finally {
    for (const { materials } of seed.keys) wipe(...materials);
  }
}

async function sowAccounts(accounts: SeededAccounts, { served, clock }: SeedBed): Promise<void> {
  if (Object.values(accounts).every((kind) => kind.length === 0)) return;
  if (!served) throw notReady();
  try {
    await seedPrincipals(served.callers.directory, accounts, civilSeconds(clock));
  } catch (error) {
    throw named(error, 'accounts');
  }
}

async function sowKeys(keys: readonly SeededKey[], bed: SeedBed): Promise<SownSeed> {
  const sown = { made: 0, present: 0 };
  let next = 0;
  let failure: unknown;
  const work = async (): Promise<void> => {
    while (next < keys.length && failure === undefined && !bed.signal.aborted) {
      const at = next;
      next += 1;
      try {
        sown[await sowKey(keys[at] as SeededKey, bed)] += 1;
      } catch (error) {
        failure ??= named(error, `keys[${at}]`);
      }
    }
  };
  await Promise.all(Array.from({ length: LIMITS.seed_keys_concurrent_max }, work));
  if (failure !== undefined) throw failure;
  return sown;
}

function sowKey(key: SeededKey, { served, own, config }: SeedBed): Promise<'made' | 'present'> {
  if (!served) throw notReady();
  const { account, region } = own ?? config;
  const deadline = deadlineIn(LIMITS.request_timeout_ms);
  return served.kms.seedKey({ account, region, ...key }, { requestId: newRequestId(), deadline });
}

const notReady = (): KeyspanError =>
  new KeyspanError('KeyspanRefused', 'The installation is not ready yet.');

function named(error: unknown, at: string): unknown {
  if (!isKeyspanError(error)) return error;
  const sentence = `The seed cannot be used: ${at}: ${error.message}`;
  return new KeyspanError(error.code, sentence, { cause: error });
}
