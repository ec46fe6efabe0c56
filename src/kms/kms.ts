import type { Events } from '../audit/events.js';
import { AssertionError } from '../core/assert.js';
import type { Call } from '../core/call.js';
import { rootArn } from '../core/arn.js';
import type { Clock } from '../core/clock.js';
import { pause } from '../core/deadline.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { VaultDirectory } from '../core/vault.js';
import { isKmsAction, isMutating, parseKmsRequest, type KmsAction } from '../protocol/kms.js';
import type { Encoding } from '../protocol/aws-parser.js';
import type { PolicyExplanation, PolicyQuestion } from '../protocol/policy-explanation.js';
import { parsePrincipal } from '../iam/principal.js';
import type { Identities } from '../iam/identities.js';
import type { Sealer } from '../store/sealed.js';
import type { Entry, Store } from '../store/store.js';
import { ConsistencyDelay } from './consistency.js';
import { createAlias, deleteAlias, listAliases, updateAlias } from './aliases.js';
import { generateDataKey, generateDataKeyWithoutPlaintext } from './data-keys.js';
import { decrypt, encrypt, reEncrypt } from './encrypt.js';
import { explainAccess } from './explanation.js';
import { cancelKeyDeletion, scheduleKeyDeletion } from './deletion.js';
import { Facts } from './facts.js';
import { listGrants, listRetirableGrants } from './grant-lists.js';
import { GrantTokens } from './grant-tokens.js';
import { createGrant, retireGrant, revokeGrant } from './grants.js';
import { KeyJobs, type KeyJobsOptions } from './key-jobs.js';
import {
  createKey,
  describeKey,
  disableKey,
  enableKey,
  listKeys,
  updateKeyDescription,
} from './keys.js';
import { makeManagedKeys, mayNeedManagedKey } from './managed-keys.js';
import { getKeyPolicy, listKeyPolicies, putKeyPolicy } from './policies.js';
import { generateRandom } from './random.js';
import type {
  Answer,
  KmsCaller as Caller,
  KmsParts,
  KmsRequest,
  KmsSettings,
  Operation,
} from './request.js';
import { RequestQuotas } from './request-quotas.js';
import {
  disableKeyRotation,
  enableKeyRotation,
  getKeyRotationStatus,
  listKeyRotations,
  rotateKeyOnDemand,
} from './rotation.js';
import { listResourceTags, tagResource, untagResource } from './tags.js';
import { isSeeded, seedKey, type KeySeed } from './seeding.js';
import { toKmsError } from './vault-errors.js';

/** Who asks, and in which region: what a door hands over with a request. */
export type KmsCaller = Caller;

export interface KmsDependencies {
  readonly store: Store;
  readonly vaults: VaultDirectory;
  readonly clock: Clock;
  readonly events: Events;
  readonly log: Logger;
  /** makes grant tokens */
  readonly sealer: Sealer;
  /** milliseconds of civil time until what becomes of a grant shows; absent: none */
  readonly grantDelayMs?: number | undefined;
  /** absent: there are the accounts' roots alone */
  readonly identities?: Identities | undefined;
  readonly settings?: KmsSettings | undefined;
  /** when jobs wait, and the steps of theirs that faults strike at */
  readonly jobs?: Pick<KeyJobsOptions, 'isHeld' | 'step'> | undefined;
}

/** An installation in which no principals but the accounts' roots were made. */
const NO_IDENTITIES: Identities = { of: () => ({ policies: [], tags: new Map() }) };

/** The actions that are built. */
const OPERATIONS: { readonly [A in KmsAction]?: Operation<A> } = {
  CancelKeyDeletion: cancelKeyDeletion,
  CreateAlias: createAlias,
  CreateGrant: createGrant,
  CreateKey: createKey,
  Decrypt: decrypt,
  DeleteAlias: deleteAlias,
  DescribeKey: describeKey,
  DisableKey: disableKey,
  DisableKeyRotation: disableKeyRotation,
  EnableKey: enableKey,
  EnableKeyRotation: enableKeyRotation,
  Encrypt: encrypt,
  GenerateDataKey: generateDataKey,
  GenerateDataKeyWithoutPlaintext: generateDataKeyWithoutPlaintext,
  GenerateRandom: generateRandom,
  GetKeyPolicy: getKeyPolicy,
  GetKeyRotationStatus: getKeyRotationStatus,
  ListAliases: listAliases,
  ListGrants: listGrants,
  ListKeyPolicies: listKeyPolicies,
  ListKeyRotations: listKeyRotations,
  ListKeys: listKeys,
  ListResourceTags: listResourceTags,
  ListRetirableGrants: listRetirableGrants,
  PutKeyPolicy: putKeyPolicy,
  ReEncrypt: reEncrypt,
  RetireGrant: retireGrant,
  RevokeGrant: revokeGrant,
  RotateKeyOnDemand: rotateKeyOnDemand,
  ScheduleKeyDeletion: scheduleKeyDeletion,
  TagResource: tagResource,
  UntagResource: untagResource,
  UpdateAlias: updateAlias,
  UpdateKeyDescription: updateKeyDescription,
};

/** What the audit line says of one request. */
interface Line {
  readonly action: string;
  readonly caller: KmsCaller;
  readonly call: Call;
  readonly door: string;
  readonly begin: number;
  /** set when the request's form was found good */
  request: KmsRequest | undefined;
}

/**
 * The AWS KMS API behind every door: one request in, its answer or AWS's own error out, and one
 * audit line either way.
 */
export class Kms implements AsyncDisposable {
  readonly #parts: KmsParts;
  readonly #events: Events;
  readonly #log: Logger;
  readonly #traced: boolean;
  readonly #quotas: RequestQuotas | undefined;

  /** what is done with keys by itself, once it was started */
  readonly jobs: KeyJobs;

  private constructor(
    { events, log, clock, settings }: KmsDependencies,
    parts: KmsParts,
    jobs: KeyJobs,
  ) {
    this.#parts = parts;
    this.jobs = jobs;
    this.#events = events;
    this.#log = log;
    this.#traced = log.isLevelEnabled('debug');
    const quotas = settings?.requestQuotas ?? false;
    this.#quotas = quotas ? new RequestQuotas(quotas, () => clock.monotonic()) : undefined;
  }

  /** Reads what KMS knows from the store and follows it. @throws StoreClosed, StoreFailed */
  static async open(dependencies: KmsDependencies): Promise<Kms> {
    const { store, vaults, clock, events, log, settings } = dependencies;
    const { identities = NO_IDENTITIES } = dependencies;
    const delayMs = settings?.consistencyDelayMs ?? 0;
    const monotonic = (): number => clock.monotonic();
    const delay = delayMs > 0 ? new ConsistencyDelay<Entry>({ delayMs, monotonic }) : undefined;
    const facts = await Facts.open(store, clock, delay);
    const { sealer, grantDelayMs = 0 } = dependencies;
    const grantTokens = new GrantTokens(sealer);
    const parts = { facts, vaults, clock, identities, grantTokens, grantDelayMs };
    const jobs = await KeyJobs.open({ kms: parts, store, events, log, ...dependencies.jobs });
    return new Kms(dependencies, parts, jobs);
  }

  /**
   * Runs one request. What the answer or the request holds as blobs belongs to the caller again
   * afterwards, but an Encrypt request's plaintext is wiped.
   * @param params as the wire has them; their form is checked here
   * @param door the interface, for the audit line
   * @throws KeyspanError with an AWS code; AssertionError when an invariant is broken
   */
  async perform(
    action: string,
    params: unknown,
    encoding: Encoding,
    caller: KmsCaller,
    call: Call,
    door: string,
  ): Promise<Answer> {
    const begin = this.#parts.clock.monotonic();
    const line: Line = { action, caller, call, door, begin, request: undefined };
    try {
      if (this.#quotas && isKmsAction(action)) {
        this.#quotas.take({ account: caller.principal.account, region: caller.region }, action);
      }
      const parsed = parseKmsRequest(action, params, encoding);
      const { action: known, params: members } = parsed;
      const request: KmsRequest = {
        action: known,
        params: members,
        caller,
        call,
        resource: undefined,
        key: undefined,
      };
      line.request = request;
      if (mayNeedManagedKey(request)) await makeManagedKeys(this.#parts, request);
      const run = (): Promise<Answer> => this.#run(request);
      const answer = await (isMutating(action) ? this.#change(call, run) : run());
      this.#audit(line, answer);
      return answer;
    } catch (error) {
      const answered = toKmsError(error, { action, resource: line.request?.resource });
      this.#audit(line, undefined, answered);
      throw answered;
    }
  }

  /** Tells the operator whether a principal may do something, and why. @throws as explainAccess */
  explain(question: PolicyQuestion, region: string): PolicyExplanation {
    return explainAccess(this.#parts, question, region);
  }

  /**
   * Makes a key that a seed wants, in the name of its account's root; one that is there stays as
   * it is, and leaves no audit line.
   * @throws KeyspanError with an AWS code, KeyspanConfig when the key is there and is another one
   */
  async seedKey(seed: KeySeed, call: Call): Promise<'made' | 'present'> {
    const parts = this.#parts;
    if (isSeeded(parts, seed)) return 'present';
    const action = 'CreateKey';
    const caller = { principal: parsePrincipal(rootArn(seed.account)), region: seed.region };
    const params = { ...seed.params, BypassPolicyLockoutSafetyCheck: true };
    const request: KmsRequest<'CreateKey'> = { action, params, caller, call, resource: undefined };
    const begin = parts.clock.monotonic();
    const line: Line = { action, caller, call, door: 'seed', begin, request };
    try {
      // who was faster, if somebody was, may have had the same seed
      const answer = await this.#change(call, async () =>
        isSeeded(parts, seed) ? undefined : await seedKey(parts, request, seed),
      );
      if (!answer) return 'present';
      this.#audit(line, answer);
      return 'made';
    } catch (error) {
      const isOurs = isKeyspanError(error, 'KeyspanConfig');
      const answered = isOurs ? error : toKmsError(error, { action, resource: request.resource });
      this.#audit(line, undefined, answered);
      throw answered;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.jobs[Symbol.asyncDispose]();
    await this.#parts.facts[Symbol.asyncDispose]();
  }

  #run(request: KmsRequest): Promise<Answer> {
    const { action } = request;
    // action and params were parsed together: the table and the union agree
    const operation = OPERATIONS[action] as unknown as Operation<KmsAction> | undefined;
    if (operation) return operation(this.#parts, request);
    const sentence = `Keyspan does not support the ${action} operation.`;
    throw new KeyspanError('UnsupportedOperationException', sentence);
  }

  /** A change whose facts moved meanwhile is decided anew, from the key's policy onwards. */
  async #change<T>({ deadline }: Call, run: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await run();
      } catch (error) {
        const isConflict = isKeyspanError(error, 'StoreConflict');
        if (!isConflict || attempt >= LIMITS.kms_change_attempts_max) throw error;
        // of many that change one key at once one comes through each time: the others spread out
        if (attempt > 1) await pause(Math.random() * LIMITS.kms_conflict_pause_ms);
        await this.#parts.facts.catchUp(deadline);
      }
    }
  }

  #audit(line: Line, answer: Answer | undefined, error?: Error): void {
    const { action, caller, call, door, request } = line;
    const code = isKeyspanError(error) ? error.code : error && 'InternalFailure';
    const known = isKmsAction(action) ? action : 'Unknown';
    if (error instanceof AssertionError || code === 'KMSInternalException') {
      this.#log.error({ err: error, requestId: call.requestId, action }, 'a request failed');
    }
    const now = this.#parts.clock.monotonic();
    const { requestId, vaultAskedAt } = call;
    this.#events.apiCallEvent({
      requestId,
      service: 'kms',
      door,
      caller,
      action: known,
      isReadOnly: !isMutating(action),
      params: request?.params,
      answer,
      resource: request?.resource,
      key: request?.key,
      code,
      message: isKeyspanError(error) ? error.message : undefined,
      hsm: call.servedBy,
      entry: call.entry,
      latencyMs: now - line.begin,
      decideMs: vaultAskedAt === undefined ? undefined : vaultAskedAt - line.begin,
      hsmMs: call.hsmMs,
    });
    if (!this.#traced) return;
    const ms = Math.round((now - line.begin) * 1_000) / 1_000;
    this.#log.debug({ requestId, action: known, code, ms, hsm: call.servedBy }, 'a request');
  }
}
