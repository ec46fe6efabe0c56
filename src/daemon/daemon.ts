import { Events } from '../audit/events.js';
import { USERS } from '../cluster/lifecycle.js';
import type { Clusters } from '../cluster/clusters.js';
import type { ControlPlane } from '../cluster/control-plane.js';
import { allEnis, type Block } from '../cluster/network.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { Secrets } from '../cluster/secrets.js';
import type { Clock } from '../core/clock.js';
import { packageFile } from '../core/entry.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId, HsmId, HsmKeyId } from '../core/ids.js';
import type { Logger } from '../core/log.js';
import type { Vault } from '../core/vault.js';
import { AdminDoor, type AdminHandlers } from '../front/admin.js';
import { policyHandlers } from '../front/policy-actions.js';
import { backupHandlers } from '../front/backup-actions.js';
import { clockHandlers } from '../front/clock-actions.js';
import { DataPlane } from '../front/hsm-session.js';
import type { TlsIdentity } from '../front/eni-listener.js';
import { MetricsDoor } from '../front/metrics.js';
import type { P11Door } from '../front/p11-rpc/door.js';
import type { Intent } from '../hsm/hsm.js';
import type {
  CredentialsDocument,
  DiscardedCopies,
  HsmState,
  HsmStatus,
  InstallationStatus,
} from '../protocol/admin.js';
import { Sealer } from '../store/sealed.js';
import type { Store } from '../store/store.js';
import { openAudit } from './audit-anchor.js';
import type { AwsEndpoint } from './aws.js';
import { ClaimedDoors } from './claimed-doors.js';
import { openClusterParts, type ClusterParts } from './cluster-parts.js';
import type { DaemonConfig } from './config.js';
import { issueCertificate } from './client-certificates.js';
import { Doors } from './doors.js';
import { faultHandlers } from './fault-handlers.js';
import { readVersion } from './installation.js';
import { openKmsParts, type Served } from './kms-parts.js';
import { OperatorClock } from './operator-clock.js';
import { openHome, type OpenedHome } from './opening.js';
import { openPkcs11 } from './pkcs11.js';
import { clusterReadings } from './readings.js';
import { seedHandlers, sow, type SeedBed } from './seeding.js';
import { statusOf } from './status.js';
import { tlsOf } from './tls.js';

/** After enough HSMs serve, the others get this long before `up` returns without them. */
const SETTLE_MS = 5_000;

/** The daemon: the one place where all parts meet. */
export class Daemon implements AsyncDisposable {
  readonly #config: DaemonConfig;
  readonly #log: Logger;
  readonly #version = readVersion(packageFile('package.json'));
  readonly #cleanup: (() => PromiseLike<void> | void)[] = [];
  /** aborted when the operator asks for the end */
  readonly #ending: AbortController;
  #parts!: ClusterParts;
  #clusters!: Clusters;
  #control!: ControlPlane;
  #clock!: OperatorClock;
  #block!: Block;
  #secrets!: Secrets;
  #events!: Events;
  #dataPlane!: DataPlane;
  #served: Served | undefined;
  #doors: Doors | undefined;
  #claimed: ClaimedDoors | undefined;
  #aws!: AwsEndpoint;
  #pkcs11!: P11Door;
  #metricsUrl: string | undefined;
  #opening: Promise<void> | undefined;
  /** what the ENIs will listen with, where it was asked for early */
  #tls: Promise<TlsIdentity | undefined> | undefined;
  #state: 'STARTING' | 'READY' | 'STOPPING' = 'STARTING';

  private constructor(config: DaemonConfig, log: Logger, ending: AbortController) {
    this.#config = config;
    this.#log = log;
    this.#ending = ending;
  }

  /**
   * Starts everything; when it returns, requests are served.
   * @param ending aborted by the daemon when the operator asks it to end, by others to end it
   * @param opening where the home is being opened already
   */
  static async start(
    config: DaemonConfig,
    log: Logger,
    ending: AbortController,
    opening: Promise<OpenedHome> = openHome(config),
  ): Promise<Daemon> {
    const daemon = new Daemon(config, log, ending);
    try {
      await daemon.#start(opening);
      return daemon;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #start(opening: Promise<OpenedHome>): Promise<void> {
    const config = this.#config;
    const { home } = config;
    const { parts, cleanup } = await opening;
    this.#cleanup.push(...cleanup);
    if ('error' in parts) throw parts.error;
    const { key, store, seed } = parts;
    if (config.eniMode === 'ports' && !isLoopback(config.bind)) {
      this.#log.warn({ bind: config.bind }, 'the HSMs listen beyond this machine');
    }
    const sealer = new Sealer(key);
    this.#secrets = new Secrets(store, sealer);
    const clock = await OperatorClock.open(store);
    this.#cleanup.push(() => clock[Symbol.asyncDispose]());
    this.#clock = clock;
    const audit = await openAudit({ home, store, sealer, log: this.#log });
    this.#cleanup.push(() => audit[Symbol.asyncDispose]());
    this.#events = new Events(audit, clock);
    await this.#openClusters(store, sealer);
    await Promise.all(this.#clusters.all.map((cluster) => cluster.start()));
    await this.#openAdmin();
    await this.#openPkcs11();
    const served = await this.#openKms({ store, sealer, clock });
    await this.#clustersReady();
    if (seed) await sow(seed, this.#bed(served));
    this.#served = served;
    const { own } = this.#clusters;
    if (own?.members.some(({ channel }) => channel)) await this.#openDoors(served);
    this.#followClaims(served);
    this.#state = 'READY';
    this.#parts.jobs.start();
    served.kms.jobs.start();
    clock.onMove(() => {
      this.#parts.jobs.wake();
      served.kms.jobs.wake();
    });
    this.#events.daemonEvent({ step: 'started', version: this.#version, pid: process.pid });
  }

  async #openClusters(store: Store, sealer: Sealer): Promise<void> {
    const parts = await openClusterParts(
      {
        config: this.#config,
        store,
        sealer,
        secrets: this.#secrets,
        log: this.#log,
        civil: () => this.#clock.civil(),
        claimed: (cluster) => this.#claimed?.claimed(cluster),
        changed: (cluster, hsm, state) => this.#hsmChanged(cluster, hsm, state),
        repaired: (cluster, hsm, repair) => this.#events.repairEvent({ cluster, hsm, ...repair }),
      },
      this.#cleanup,
    );
    this.#parts = parts;
    this.#clusters = parts.clusters;
    this.#control = parts.control;
    this.#block = parts.block;
    this.#dataPlane = new DataPlane({
      clusterOf: (id) => this.#control.named(id),
      activated: (id) => this.#control.activated(id),
      secrets: this.#secrets,
      events: this.#events,
    });
  }

  #followClaims(served: Served): void {
    const claimed = new ClaimedDoors({
      clusters: this.#clusters,
      secrets: this.#secrets,
      served,
      dataPlane: this.#dataPlane,
      pkcs11: this.#pkcs11,
      events: this.#events,
      log: this.#log,
    });
    this.#claimed = claimed;
    this.#cleanup.push(() => claimed[Symbol.asyncDispose]());
  }

  /** The installation's own must serve; what is wrong with others is theirs. */
  async #clustersReady(): Promise<void> {
    const { startTimeoutMs: timeoutMs } = this.#config;
    const options = { timeoutMs, settleMs: SETTLE_MS, signal: this.#ending.signal };
    const { own } = this.#clusters;
    const ready = async (cluster: RunningCluster): Promise<void> => {
      await cluster.ready(options);
      await cluster.abandonLeftIntents();
    };
    const others = this.#clusters.all.filter((cluster) => cluster !== own);
    const outcomes = Promise.allSettled(others.map(ready));
    if (own) await ready(own);
    for (const outcome of await outcomes) {
      if (outcome.status === 'fulfilled') continue;
      this.#log.warn({ err: outcome.reason as unknown }, 'a cluster does not serve yet');
    }
  }

  #bed(served = this.#served): SeedBed {
    const parts = { served, own: this.#clusters.own?.record, config: this.#config };
    return { ...parts, clock: this.#clock, signal: this.#ending.signal, log: this.#log };
  }

  /** The cluster that backs KMS. @throws KeyspanError KeyspanRefused where there is none */
  get #cluster(): RunningCluster {
    const { own } = this.#clusters;
    if (own) return own;
    throw new KeyspanError('KeyspanRefused', 'This installation has no cluster of its own.');
  }

  /** @throws KeyspanError KeyspanUsage when no cluster has this HSM */
  #holding(hsm: string): RunningCluster {
    const cluster = this.#clusters.holding(hsm);
    if (cluster) return cluster;
    throw new KeyspanError('KeyspanUsage', `there is no HSM ${hsm}`);
  }

  #ownVault(): Vault {
    const { own } = this.#clusters;
    if (own) return own.vault;
    throw new KeyspanError('VaultUnavailable', 'this installation has no cluster of its own');
  }

  #vault(id: string): Vault {
    const { own } = this.#clusters;
    if (own?.id === id) return own.vault;
    throw new KeyspanError('VaultUnavailable', `there is no vault ${id}`);
  }

  #hsmChanged(cluster: ClusterId, hsm: HsmId, state: HsmState | undefined): void {
    const to = state ?? 'REMOVED';
    this.#events.hsmStateEvent({ cluster, hsm, from: this.#shown.get(hsm) ?? '', to });
    if (state) this.#shown.set(hsm, state);
    else this.#shown.delete(hsm);
    if (state === 'ACTIVE') this.#control.hsmServes(cluster);
    this.#claimed?.changed(cluster, hsm, state);
    if (cluster !== this.#clusters.own?.id) return;
    this.#doors?.changed(hsm, state);
    if (state !== 'ACTIVE') return;
    if (this.#state === 'READY' && !this.#doors) this.#openDoorsLate();
    if (this.#state === 'STARTING') this.#prepareTls();
  }

  /**
   * The first HSM that serves can hand out the cluster's key, while the others come up. A cluster
   * without a key makes one when enough of them do.
   */
  #prepareTls(): void {
    if (this.#cluster.record.clusterKey === null) return;
    this.#tls ??= this.#tlsOf().catch((error: unknown) => {
      this.#log.warn({ err: error }, 'the key of the ENIs is asked for once more');
      return undefined;
    });
  }

  #tlsOf(): Promise<TlsIdentity> {
    return tlsOf(this.#cluster, this.#secrets, allEnis(this.#block));
  }

  /** The operator may have stopped every HSM before this start: then the first to serve opens. */
  #openDoorsLate(): void {
    if (this.#opening || !this.#served) return;
    this.#opening = this.#openDoors(this.#served)
      .catch((error: unknown) => this.#log.error({ err: error }, 'the ENIs could not be opened'))
      .finally(() => {
        this.#opening = undefined;
      });
  }

  /** the state of each HSM that was last told */
  readonly #shown = new Map<HsmId, HsmState>();

  async #openDoors(served: Served): Promise<void> {
    const tls = (await this.#tls) ?? (await this.#tlsOf());
    this.#tls = undefined;
    const doors = new Doors({
      cluster: this.#cluster,
      served,
      dataPlane: this.#dataPlane,
      pkcs11: this.#pkcs11,
      events: this.#events,
      tls,
      log: this.#log,
    });
    this.#cleanup.push(() => doors[Symbol.asyncDispose]());
    await doors.open();
    this.#doors = doors;
    // a state that changed while they opened
    await doors.open();
  }

  /** While the HSM processes come up: it costs a start no time. */
  async #openKms(parts: { store: Store; sealer: Sealer; clock: Clock }): Promise<Served> {
    const { aws, ...served } = await openKmsParts(
      {
        ...this.#config,
        ...parts,
        control: this.#control,
        backups: this.#parts.backups,
        vaults: { own: () => this.#ownVault(), byId: (id) => this.#vault(id) },
        account: this.#clusters.own?.record.account ?? this.#config.account,
        jobs: {
          isHeld: () => this.#clusters.own?.isStoreBehind === true,
          step: async (name) => await this.#clusters.own?.faults?.step(name),
        },
        events: this.#events,
        log: this.#log,
      },
      this.#cleanup,
    );
    this.#aws = aws;
    return served;
  }

  async #openPkcs11(): Promise<void> {
    const door = await openPkcs11({
      config: this.#config,
      clusters: () => this.#clusters.all,
      secrets: this.#secrets,
      events: this.#events,
      log: this.#log,
      version: this.#version,
      civil: () => this.#clock.civil(),
    });
    this.#cleanup.push(() => door[Symbol.asyncDispose]());
    this.#pkcs11 = door;
  }

  async #openAdmin(): Promise<void> {
    const { metrics } = this.#events;
    metrics.watch(() => clusterReadings(this.#clusters.all));
    const inflight = (): number =>
      [this.#doors, this.#claimed, this.#aws].reduce((sum, door) => sum + (door?.inflight ?? 0), 0);
    metrics.watch(() => [{ name: 'keyspan_inflight_requests', value: inflight() }]);
    const door = new AdminDoor({ handlers: this.#handlers(), metrics, log: this.#log });
    await door.listen(this.#config.home.adminSocket);
    this.#cleanup.push(() => door[Symbol.asyncDispose]());
    const { metricsPort } = this.#config;
    if (metricsPort === undefined) return;
    const metricsDoor = new MetricsDoor(metrics, this.#log);
    this.#metricsUrl = await metricsDoor.listen(metricsPort);
    this.#cleanup.push(() => metricsDoor[Symbol.asyncDispose]());
  }

  #handlers(): AdminHandlers {
    const { home } = this.#config;
    const want = (intent: Intent) => (params: { id: string }) => this.#want(params.id, intent);
    return {
      ...this.#dataPlane.operator(),
      ...backupHandlers({
        backups: this.#parts.backups,
        events: this.#events,
        civil: () => this.#clock.civil(),
        account: this.#clusters.own?.record.account ?? this.#config.account,
        region: this.#config.region,
      }),
      ...policyHandlers(() => this.#served?.kms, this.#config.region),
      ...clockHandlers(this.#clock, this.#events),
      ...seedHandlers(() => this.#bed()),
      Status: () => this.status(),
      Credentials: () => this.#credentials(),
      AuditHead: async () => this.#events.auditHead,
      Shutdown: async () => {
        setImmediate(() => this.#ending.abort());
        return { pid: process.pid };
      },
      HsmStart: want('run'),
      HsmResume: want('run'),
      HsmStop: want('stop'),
      HsmKill: want('kill'),
      HsmPause: want('pause'),
      HsmCrash: async ({ id }) => {
        this.#holding(id).crash(id);
        return await this.#hsmStatus(id);
      },
      HsmAdd: async ({ az }) => {
        const member = await this.#cluster.membership.add(az);
        return await this.#changed('hsm add', member.id);
      },
      HsmRemove: async ({ id }) => {
        await this.#holding(id).membership.remove(id as HsmId);
        this.#events.operatorEvent({ action: 'hsm remove', target: id });
        return { id };
      },
      HsmReplace: async ({ id }) => {
        const member = await this.#holding(id).membership.replace(id as HsmId);
        return await this.#changed('hsm replace', member.id);
      },
      HsmWipe: async ({ id }) => {
        const member = await this.#holding(id).membership.wipe(id as HsmId);
        return await this.#changed('hsm wipe', member.id);
      },
      ...faultHandlers(() => this.#cluster),
      StoreAdopt: async () => {
        await this.#cluster.adoptStore();
        this.#events.operatorEvent({ action: 'store adopt' });
        return await this.status();
      },
      ClusterCheck: ({ repair }) => this.#cluster.check(repair),
      ClusterDiscardUnknown: ({ keys }) => this.#discardUnknown(keys),
      IssueCertificate: (params) =>
        issueCertificate({ home, secrets: this.#secrets, events: this.#events }, params),
    };
  }

  async #want(id: string, intent: Intent): Promise<HsmStatus> {
    await this.#holding(id).want(id, intent);
    return await this.#changed(`hsm ${intent}`, id);
  }

  async #discardUnknown(keys?: readonly HsmKeyId[]): Promise<DiscardedCopies> {
    const outcome = await this.#cluster.unknown.discard(keys);
    const cluster = this.#cluster.id;
    for (const { hsm, key } of outcome.discarded) {
      this.#events.keyEvent({ cluster, key, hsm, step: 'discarded' });
    }
    const target = keys?.length === 1 ? keys[0] : undefined;
    this.#events.operatorEvent({ action: 'cluster discard-unknown', target });
    return outcome;
  }

  async #changed(action: string, id: string): Promise<HsmStatus> {
    this.#events.operatorEvent({ action, target: id });
    return await this.#hsmStatus(id);
  }

  async #hsmStatus(id: string): Promise<HsmStatus> {
    const status = (await this.#holding(id).status()).find((hsm) => hsm.id === id);
    if (!status) throw new KeyspanError('KeyspanUsage', `there is no HSM ${id}`);
    return status;
  }

  async status(): Promise<InstallationStatus> {
    return await statusOf({
      config: this.#config,
      version: this.#version,
      state: this.#state,
      own: this.#clusters.own,
      clusters: this.#control.present(),
      nowMs: this.#clock.civil(),
      endpoints: {
        websocket: this.#doors?.urls() ?? [],
        aws: this.#aws.url,
        pkcs11: this.#config.home.pkcs11Socket,
        ...(this.#metricsUrl !== undefined && { metrics: this.#metricsUrl }),
      },
    });
  }

  async #credentials(): Promise<CredentialsDocument> {
    const { own } = this.#clusters;
    const rootAccessKey = this.#aws.rootAccessKey();
    if (!own) return { rootAccessKey };
    const of = async (username: string): Promise<{ username: string; password: string }> => ({
      username,
      password: await this.#secrets.passwordOf(own.id, username),
    });
    return {
      admin: await of(USERS.admin),
      cryptoUser: await of(USERS.cryptoUser),
      rootAccessKey,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = 'STOPPING';
    await this.#opening;
    for (const step of this.#cleanup.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        this.#log.error({ err: error }, 'a part could not be ended in good order');
      }
    }
  }
}

const isLoopback = (address: string): boolean =>
  address === 'localhost' || address === '::1' || address.startsWith('127.');
