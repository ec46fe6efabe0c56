import type * as sdk from '@aws-sdk/client-kms';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import { SEAL_START } from '../../src/core/audit-seal.js';
import type { Call } from '../../src/core/call.js';
import type { Clock } from '../../src/core/clock.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newRequestId } from '../../src/core/ids.js';
import { silentLog } from '../../src/core/log.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import { Kms, type KmsCaller, type KmsDependencies } from '../../src/kms/kms.js';
import type { KmsAction } from '../../src/protocol/kms.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import type { Store } from '../../src/store/store.js';
import { SoftwareVault, SoftwareVaults } from './software-vault.js';
import { temporaryDirectory } from './temporary-directory.js';

export const ACCOUNT = '111122223333';
export const OTHER_ACCOUNT = '444455556666';
export const REGION = 'eu-central-1';

export const callerOf = (arn: string, region = REGION): KmsCaller => ({
  principal: parsePrincipal(arn),
  region,
});
export const ROOT = callerOf(`arn:aws:iam::${ACCOUNT}:root`);
export const OTHER_ROOT = callerOf(`arn:aws:iam::${OTHER_ACCOUNT}:root`);
export const ALICE = callerOf(`arn:aws:iam::${ACCOUNT}:user/alice`);

/** What AWS's SDK says that an action answers; actions that answer nothing are not named. */
interface SdkAnswers {
  CancelKeyDeletion: sdk.CancelKeyDeletionResponse;
  CreateGrant: sdk.CreateGrantResponse;
  CreateKey: sdk.CreateKeyResponse;
  Decrypt: sdk.DecryptResponse;
  DescribeKey: sdk.DescribeKeyResponse;
  Encrypt: sdk.EncryptResponse;
  GenerateDataKey: sdk.GenerateDataKeyResponse;
  GenerateDataKeyWithoutPlaintext: sdk.GenerateDataKeyWithoutPlaintextResponse;
  GenerateRandom: sdk.GenerateRandomResponse;
  GetKeyLastUsage: sdk.GetKeyLastUsageResponse;
  GetKeyPolicy: sdk.GetKeyPolicyResponse;
  GetKeyRotationStatus: sdk.GetKeyRotationStatusResponse;
  ListAliases: sdk.ListAliasesResponse;
  ListGrants: sdk.ListGrantsResponse;
  ListKeyPolicies: sdk.ListKeyPoliciesResponse;
  ListKeyRotations: sdk.ListKeyRotationsResponse;
  ListKeys: sdk.ListKeysResponse;
  ListResourceTags: sdk.ListResourceTagsResponse;
  ListRetirableGrants: sdk.ListGrantsResponse;
  ReEncrypt: sdk.ReEncryptResponse;
  RotateKeyOnDemand: sdk.RotateKeyOnDemandResponse;
  ScheduleKeyDeletion: sdk.ScheduleKeyDeletionResponse;
}

/** The SDK's type with all members there and timestamps as on the wire. */
type Answered<T> = T extends Date
  ? number
  : T extends Uint8Array | string | number | boolean
    ? T
    : T extends readonly (infer U)[]
      ? Answered<U>[]
      : { [K in keyof T]-?: Answered<NonNullable<T[K]>> };
type Answers = {
  [A in KmsAction]: A extends keyof SdkAnswers ? Answered<SdkAnswers[A]> : object;
};
type KeyMetadata = Answers['CreateKey']['KeyMetadata'];

/** What two daemons on one store have in common. */
const SEALED = { sealer: new Sealer(new InstallationKey(randomBytes(32))), log: silentLog() };

type KmsOptions = Pick<Partial<KmsDependencies>, 'identities' | 'grantDelayMs'>;

/** KMS on a store in memory and on software vaults, with a civil clock that a test moves. */
export class KmsFixture implements AsyncDisposable {
  readonly store: Store;
  readonly vault: SoftwareVault;
  readonly vaults: SoftwareVaults;
  readonly kms: Kms;
  readonly #audit: AuditLog;
  readonly #directory: string;
  /** civil time in milliseconds */
  readonly time: { civil: number };

  private constructor(parts: {
    store: Store;
    vaults: SoftwareVaults;
    kms: Kms;
    audit: AuditLog;
    directory: string;
    time: { civil: number };
  }) {
    this.store = parts.store;
    this.vaults = parts.vaults;
    this.vault = parts.vaults.own();
    this.kms = parts.kms;
    this.#audit = parts.audit;
    this.#directory = parts.directory;
    this.time = parts.time;
  }

  static async open(
    vaults = new SoftwareVaults(new SoftwareVault()),
    between: (store: Store) => Store = (store) => store,
    options: KmsOptions = {},
  ): Promise<KmsFixture> {
    const directory = temporaryDirectory();
    const store = between(await MemoryStore.open());
    const time = { civil: 1_800_000_000_123 };
    const clock: Clock = {
      civil: () => time.civil,
      wire: Date.now,
      monotonic: () => performance.now(),
    };
    const audit = await AuditLog.open(directory);
    const events = new Events(audit, clock);
    const kms = await Kms.open({ store, vaults, clock, events, ...SEALED, ...options });
    return new KmsFixture({ store, vaults, kms, audit, directory, time });
  }

  /** A second daemon's KMS on the same store. */
  async another(others: Pick<KmsDependencies, 'jobs'> = {}): Promise<Kms> {
    const clock: Clock = {
      civil: () => this.time.civil,
      wire: Date.now,
      monotonic: () => performance.now(),
    };
    const events = new Events(this.#audit, clock);
    const { store, vaults } = this;
    return Kms.open({ store, vaults, clock, events, ...SEALED, ...others });
  }

  /** Performs one request; blobs are bytes. */
  async call<A extends KmsAction>(
    action: A,
    params: object = {},
    caller = ROOT,
    kms = this.kms,
  ): Promise<Answers[A]> {
    const answer = await kms.perform(action, params, 'cbor', caller, newCall(), 'test');
    return answer as Answers[A];
  }

  /** Performs a request that must be refused. @returns `code: sentence` */
  async refused(action: string, params: object = {}, caller = ROOT): Promise<string> {
    try {
      await this.kms.perform(action, params, 'cbor', caller, newCall(), 'test');
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      return `${code ?? 'no code'}: ${message}`;
    }
    throw new Error(`${action} was not refused`);
  }

  /** Makes a key. @returns its metadata */
  async createKey(params: object = {}, caller = ROOT): Promise<KeyMetadata> {
    const { KeyMetadata } = await this.call('CreateKey', params, caller);
    return KeyMetadata;
  }

  /** Ends KMS. @returns the audit lines but for their seals */
  async auditLines(): Promise<Record<string, unknown>[]> {
    await this.kms[Symbol.asyncDispose]();
    await this.#audit[Symbol.asyncDispose]();
    const text = readFileSync(join(this.#directory, 'audit.jsonl'), 'utf8');
    return text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith(SEAL_START))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kms[Symbol.asyncDispose]();
    await this.#audit[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
  }
}

export const newCall = (): Call => ({ requestId: newRequestId(), deadline: deadlineIn(30_000) });

/** A policy of the given statements. */
export const policyOf = (...statements: object[]): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: statements });

export const allow = (arn: string, Action: string | string[] = 'kms:*'): object => ({
  Effect: 'Allow',
  Principal: { AWS: arn },
  Action,
  Resource: '*',
});

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
