import { Kms, type KmsDependencies } from '../kms/kms.js';
import { AwsEndpoint, type AwsOptions } from './aws.js';

/** What was opened is closed by the owner's clean-up, the last first. */
type Cleanup = (() => PromiseLike<void> | void)[];

export interface KmsParts {
  readonly kms: Kms;
  readonly aws: AwsEndpoint;
}

/** Opens KMS and the door that AWS's clients come in by. @throws as AwsEndpoint.open */
export async function openKmsParts(
  options: Omit<AwsOptions, 'kms'> & Pick<KmsDependencies, 'vaults' | 'jobs' | 'grantDelayMs'>,
  cleanup: Cleanup,
): Promise<KmsParts> {
  const { store, vaults, clock, events, log, jobs, sealer, grantDelayMs } = options;
  const kms = await Kms.open({ store, vaults, clock, events, log, jobs, sealer, grantDelayMs });
  cleanup.push(() => kms[Symbol.asyncDispose]());
  const aws = await AwsEndpoint.open({ ...options, kms });
  cleanup.push(() => aws[Symbol.asyncDispose]());
  return { kms, aws };
}
