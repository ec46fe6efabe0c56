import type { CredentialFacts } from '../audit/api-call.js';
import type { Call } from '../core/call.js';
import type { Clock } from '../core/clock.js';
import type { VaultDirectory } from '../core/vault.js';
import type { Identities } from '../iam/identities.js';
import type { Principal } from '../iam/principal.js';
import type { RequestOrigin } from '../iam/request-origin.js';
import type { KmsAction, KmsParams } from '../protocol/kms.js';
import type { Facts } from './facts.js';
import type { GrantTokens } from './grant-tokens.js';

/** Who asks, and in which region. The principal's account owns what the request makes. */
export interface KmsCaller {
  readonly principal: Principal;
  readonly region: string;
  /** how the request came */
  readonly origin?: RequestOrigin | undefined;
  /** for the audit log */
  readonly credentials?: CredentialFacts | undefined;
}

/** What every operation works with. */
export interface KmsParts {
  readonly facts: Facts;
  readonly vaults: VaultDirectory;
  readonly clock: Clock;
  /** what accounts say about their principals */
  readonly identities: Identities;
  readonly grantTokens: GrantTokens;
  /** milliseconds of civil time until what becomes of a grant shows; its tokens do not wait */
  readonly grantDelayMs: number;
}

/** One request whose form was checked. */
export interface KmsRequest<A extends KmsAction = KmsAction> {
  readonly action: A;
  readonly params: KmsParams<A>;
  readonly caller: KmsCaller;
  readonly call: Call;
  /** the ARN that the audit line names, set as soon as it is known */
  resource: string | undefined;
  /** the ARN of the key that was decided about, also where the resource is an alias */
  key?: string | undefined;
}

/** Members with AWS's names; blobs are bytes, timestamps seconds since 1970. */
export type Answer = Record<string, unknown>;

/**
 * One action: resolve, authorise, check state and usage, run. It may be called again with the
 * same request when a commit met a conflict.
 */
export type Operation<A extends KmsAction> = (
  kms: KmsParts,
  request: KmsRequest<A>,
) => Promise<Answer>;
