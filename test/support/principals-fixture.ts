import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newRequestId } from '../../src/core/ids.js';
import { silentLog } from '../../src/core/log.js';
import type { AwsCaller } from '../../src/front/aws-service.js';
import { iamService } from '../../src/front/iam.js';
import type { QueryService } from '../../src/front/query-service.js';
import { stsService } from '../../src/front/sts.js';
import { StoredAccessKeys } from '../../src/iam/access-keys.js';
import { Directory } from '../../src/iam/directory.js';
import { parsePrincipal, type Principal } from '../../src/iam/principal.js';
import { Sessions } from '../../src/iam/sessions.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import { temporaryDirectory } from './temporary-directory.js';

export const ACCOUNT = '111122223333';
export const OTHER_ACCOUNT = '444455556666';
export const iamPrincipal = (resource: string, account = ACCOUNT): Principal =>
  parsePrincipal(`arn:aws:iam::${account}:${resource}`);
export const ROOT = iamPrincipal('root');
export const ALICE = iamPrincipal('user/alice');

/** A policy of one statement. */
export const policy = (Action: string | string[], more: object = {}): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action, Resource: '*', ...more }],
  });
export const trusting = (AWS: string | string[], more: object = {}): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS }, Action: 'sts:AssumeRole', ...more }],
  });

/** An answer's members, by any names. */
export interface Members {
  readonly [name: string]: Members & string & readonly (Members & string)[];
}

/** Principals in a store in memory, with IAM and STS in front of them. */
export class PrincipalsFixture implements AsyncDisposable {
  readonly store: MemoryStore;
  readonly sealer: Sealer;
  /** both times in milliseconds since 1970 */
  readonly time = { wire: 1_800_000_000_000, civil: 1_900_000_000_000 };
  readonly keys: StoredAccessKeys;
  readonly directory: Directory;
  readonly sessions: Sessions;
  readonly #iam: QueryService;
  readonly #sts: QueryService;
  readonly #audit: AuditLog;
  readonly #folder: string;

  private constructor(parts: {
    keys: StoredAccessKeys;
    directory: Directory;
    store: MemoryStore;
    sealer: Sealer;
    audit: AuditLog;
    folder: string;
    rootMayAssume: boolean;
  }) {
    this.store = parts.store;
    this.sealer = parts.sealer;
    const { keys, directory } = parts;
    this.keys = keys;
    this.directory = directory;
    this.sessions = new Sessions({
      sealer: this.sealer,
      wire: () => this.time.wire,
      idOf: (principal) => directory.idOf(principal),
    });
    this.#audit = parts.audit;
    this.#folder = parts.folder;
    const civil = (): number => this.time.civil;
    const clock = { civil, wire: () => this.time.wire, monotonic: () => performance.now() };
    const options = { events: new Events(parts.audit, clock), log: silentLog() };
    const { rootMayAssume } = parts;
    this.#iam = iamService({ directory, civil }, options);
    this.#sts = stsService({ directory, civil, sessions: this.sessions, rootMayAssume }, options);
  }

  static async open({ rootMayAssume = false } = {}): Promise<PrincipalsFixture> {
    const store = new MemoryStore();
    const sealer = new Sealer(new InstallationKey(randomBytes(32)));
    const folder = temporaryDirectory();
    const audit = await AuditLog.open(folder);
    const keys = await StoredAccessKeys.open({ store, sealer, account: ACCOUNT });
    const directory = await Directory.open(store, keys);
    return new PrincipalsFixture({ keys, directory, store, sealer, audit, folder, rootMayAssume });
  }

  /** One request to IAM, or to STS where the action is its. */
  async call(action: string, params: object = {}, principal = ROOT): Promise<Members> {
    const isSts = /^(AssumeRole|GetCallerIdentity|GetSessionToken|GetAccessKeyInfo)$/.test(action);
    const caller: AwsCaller = {
      principal,
      region: 'us-east-1',
      origin: { sourceIp: '127.0.0.1', isSecure: false },
    };
    const service = isSts ? this.#sts : this.#iam;
    const call = { requestId: newRequestId(), deadline: deadlineIn(30_000) };
    return (await service.perform(action, parametersOf(params), caller, call)) as Members;
  }

  /** A request that must be refused. @returns `code: sentence` */
  async refused(action: string, params: object = {}, principal = ROOT): Promise<string> {
    try {
      await this.call(action, params, principal);
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      return `${code ?? 'no code'}: ${message}`;
    }
    throw new Error(`${action} was not refused`);
  }

  /** Ends what writes the audit log. @returns its lines */
  async auditLines(): Promise<Record<string, unknown>[]> {
    await this.#audit[Symbol.asyncDispose]();
    const text = readFileSync(join(this.#folder, 'audit.jsonl'), 'utf8');
    return text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.directory[Symbol.asyncDispose]();
    await this.keys[Symbol.asyncDispose]();
    await this.#audit[Symbol.asyncDispose]();
    await this.store[Symbol.asyncDispose]();
  }
}

/** Members as the Query protocol sends them. */
export function parametersOf(value: unknown, name = ''): Map<string, string> {
  if (value === undefined) return new Map();
  if (Array.isArray(value)) {
    return new Map(
      value.flatMap((item, at) => [...parametersOf(item, `${name}.member.${at + 1}`)]),
    );
  }
  if (typeof value !== 'object' || value === null) {
    return new Map([[name, `${value as string | number | boolean}`]]);
  }
  const prefix = name === '' ? '' : `${name}.`;
  return new Map(
    Object.entries(value).flatMap(([key, member]) => [...parametersOf(member, prefix + key)]),
  );
}
