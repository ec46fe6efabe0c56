import { Kms, type KmsDependencies } from '../kms/kms.js';
import { AwsEndpoint, type AwsOptions } from './aws.js';
import { Callers, type CallersOptions } from './callers.js';

/** What was opened is closed by the owner's clean-up, the last first. */
type Cleanup = (() => PromiseLike<void> | void)[];

/** What the doors of clusters serve, and whom. */
export interface Served {
  readonly kms: Kms;
  readonly callers: Callers;
}

export interface KmsParts extends Served {
  readonly aws: AwsEndpoint;
}

/** Opens KMS and the door that AWS's clients come in by. @throws as AwsEndpoint.open */
export async function openKmsParts(
  options: Omit<AwsOptions, 'kms' | 'callers'> &
    Omit<CallersOptions, 'wire'> &
    Pick<KmsDependencies, 'vaults' | 'jobs' | 'grantDelayMs'>,
  cleanup: Cleanup,
): Promise<KmsParts> {
  const { clock } = options;
  const callers = await Callers.open({ ...options, wire: () => clock.wire() });
  cleanup.push(() => callers[Symbol.asyncDispose]());
  const kms = await Kms.open({ ...options, identities: callers.directory });
  cleanup.push(() => kms[Symbol.asyncDispose]());
  const aws = await AwsEndpoint.open({ ...options, callers, kms });
  cleanup.push(() => aws[Symbol.asyncDispose]());
  return { kms, callers, aws };
}
