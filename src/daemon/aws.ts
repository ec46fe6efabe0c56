import type { Events } from '../audit/events.js';
import type { ClusterView } from '../cluster/description.js';
import { viewOf } from '../cluster/clusters.js';
import type { BackupRequests } from '../cluster/backup-requests.js';
import type { ControlPlane } from '../cluster/control-plane.js';
import type { Clock } from '../core/clock.js';
import { isKeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import type { Logger } from '../core/log.js';
import type { Kms } from '../kms/kms.js';
import { AwsDoor } from '../front/aws-json.js';
import type { AwsOperations, AwsQueryService, AwsService } from '../front/aws-service.js';
import { int, object, oneOf } from '../protocol/form.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';
import type { AccessKeyPair } from '../iam/access-keys.js';
import type { Callers } from './callers.js';

/** Where clients of emulators look first; another installation may have it. */
const DEFAULT_PORT = 4_599;

export interface AwsOptions {
  readonly home: Home;
  readonly store: Store;
  readonly callers: Callers;
  readonly control: ControlPlane;
  readonly backups: BackupRequests;
  readonly kms: Kms;
  readonly clock: Clock;
  readonly events: Events;
  readonly log: Logger;
  /** undefined: the default one, or any other when that is taken */
  readonly port?: number | undefined;
  /** see AwsDoorOptions */
  readonly trustServiceHeader: boolean;
}

/** The AWS door of this installation. */
export class AwsEndpoint implements AsyncDisposable {
  readonly url: string;
  readonly #callers: Callers;
  readonly #door: AwsDoor;

  private constructor(parts: { url: string; callers: Callers; door: AwsDoor }) {
    this.url = parts.url;
    this.#callers = parts.callers;
    this.#door = parts.door;
  }

  /** @throws KeyspanError KeyspanConfig when a port that was asked for cannot be had */
  static async open(options: AwsOptions): Promise<AwsEndpoint> {
    const { store, callers, home, clock, events, log, port, trustServiceHeader } = options;
    if (callers.takesAny) {
      log.warn('auth is any: whoever reaches the AWS door is root of any account');
    }
    const door = new AwsDoor({
      services: [kmsOf(options.kms), cloudHsmOf(options)],
      queryServices: [stsOf(options), iamOf(options)],
      keys: callers.keys,
      trustServiceHeader,
      publicDirectory: home.public,
      clock,
      events,
      log,
    });
    const somewhere = (): Promise<string> => listenSomewhere(door, store, log);
    const url = port === undefined ? await somewhere() : await door.listen(port);
    return new AwsEndpoint({ url, callers, door });
  }

  /** requests that wait for their answers */
  get inflight(): number {
    return this.#door.inflight;
  }

  rootAccessKey(): AccessKeyPair {
    return this.#callers.rootAccessKey();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#door[Symbol.asyncDispose]();
  }
}

const portForm = object({ v: oneOf(1), port: int({ min: 1, max: 65_535 }) });

/**
 * Installations run side by side: who comes second gets another port, keeps it, and `env` says
 * which.
 */
async function listenSomewhere(door: AwsDoor, store: Store, log: Logger): Promise<string> {
  const kept = await store.get(KEYSPACE.awsPort);
  const port = kept ? decodeValue(kept.value, portForm).port : DEFAULT_PORT;
  try {
    return await door.listen(port);
  } catch (error) {
    if (!isKeyspanError(error, 'KeyspanConfig')) throw error;
    log.warn({ port }, 'the port is taken: the AWS door listens on another');
  }
  const url = await door.listen(0);
  const value = encodeValue(1, { port: Number(new URL(url).port) });
  await store.commit({ compares: [], writes: [{ op: 'put', key: KEYSPACE.awsPort, value }] });
  return url;
}

function kmsOf(kms: Kms): AwsService {
  const operations: AwsOperations = {
    perform: (action, params, caller, call) =>
      kms.perform(action, params, 'json', caller, call, 'aws'),
  };
  return {
    target: 'TrentService',
    signingName: 'kms',
    keepsDeadlines: true,
    load: async () => operations,
  };
}

function cloudHsmOf({
  store,
  callers,
  control,
  backups,
  clock,
  events,
  log,
}: AwsOptions): AwsService {
  const open = async (): Promise<AwsOperations> => {
    const [{ CloudHsm }, { ResourceTags }] = await Promise.all([
      import('../front/cloudhsm.js'),
      import('../cluster/resource-tags.js'),
    ]);
    const clusters = (): ClusterView[] => control.present().map((cluster) => viewOf(cluster));
    const civil = (): number => clock.civil();
    const tags = new ResourceTags(store);
    const identities = callers.directory;
    return new CloudHsm({ clusters, control, backups, civil, tags, identities, events, log });
  };
  return { target: 'BaldrApiService', signingName: 'cloudhsm', load: once(open) };
}

function stsOf({ callers, clock, events, log }: AwsOptions): AwsQueryService {
  const open = async (): Promise<AwsOperations> => {
    const { stsService } = await import('../front/sts.js');
    const { directory, sessions, takesAny: rootMayAssume } = callers;
    const civil = (): number => clock.civil();
    return stsService({ directory, sessions, civil, rootMayAssume }, { events, log });
  };
  return {
    version: '2011-06-15',
    namespace: 'https://sts.amazonaws.com/doc/2011-06-15/',
    signingName: 'sts',
    load: once(open),
  };
}

function iamOf({ callers: { directory }, clock, events, log }: AwsOptions): AwsQueryService {
  const open = async (): Promise<AwsOperations> => {
    const { iamService } = await import('../front/iam.js');
    return iamService({ directory, civil: () => clock.civil() }, { events, log });
  };
  return {
    version: '2010-05-08',
    namespace: 'https://iam.amazonaws.com/doc/2010-05-08/',
    signingName: 'iam',
    load: once(open),
  };
}

function once(open: () => Promise<AwsOperations>): AwsService['load'] {
  let loaded: Promise<AwsOperations> | undefined;
  return () => (loaded ??= open());
}
