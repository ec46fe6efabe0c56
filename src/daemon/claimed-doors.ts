import type { Events } from '../audit/events.js';
import type { Clusters } from '../cluster/clusters.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { Secrets } from '../cluster/secrets.js';
import type { ClusterId, HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { DataPlane } from '../front/hsm-session.js';
import type { P11Door } from '../front/p11-rpc/door.js';
import type { HsmState } from '../protocol/admin.js';
import { Doors } from './doors.js';
import type { Served } from './kms-parts.js';
import { tlsOf } from './tls.js';

export interface ClaimedDoorsOptions {
  readonly clusters: Clusters;
  readonly secrets: Secrets;
  readonly served: Served;
  readonly dataPlane: DataPlane;
  readonly pkcs11: P11Door;
  readonly events: Events;
  readonly log: Logger;
}

/**
 * The ENIs of callers' clusters. They listen with the certificate that the operator signed, so from
 * the moment that there is one.
 */
export class ClaimedDoors implements AsyncDisposable {
  readonly #options: ClaimedDoorsOptions;
  readonly #doors = new Map<ClusterId, Promise<Doors | undefined>>();
  readonly #opened = new Set<Doors>();
  #isClosing = false;

  constructor(options: ClaimedDoorsOptions) {
    this.#options = options;
    for (const { id } of options.clusters.all) this.#follow(id);
  }

  /** requests that wait for their answers */
  get inflight(): number {
    return [...this.#opened].reduce((sum, { inflight }) => sum + inflight, 0);
  }

  /** A cluster was claimed. */
  claimed(id: ClusterId): void {
    this.#follow(id);
  }

  /** An HSM's state changed: its ENI follows. */
  changed(id: ClusterId, hsm: HsmId, state: HsmState | undefined): void {
    this.#follow(id);
    void this.#doors.get(id)?.then((doors) => doors?.changed(hsm, state));
  }

  #follow(id: ClusterId): void {
    const cluster = this.#options.clusters.get(id);
    if (!cluster) return this.#forget(id);
    const { origin, certificate } = cluster.record;
    const isClaimed = origin === 'caller' && certificate !== null;
    if (!isClaimed) return this.#forget(id);
    const serves = cluster.members.some(({ channel }) => channel);
    if (!serves || this.#doors.has(id)) return;
    this.#doors.set(id, this.#open(cluster));
  }

  /** The cluster is gone, or its key with its only HSM. */
  #forget(id: ClusterId): void {
    const doors = this.#doors.get(id);
    this.#doors.delete(id);
    void doors?.then((opened) => this.#close(opened));
  }

  async #open(cluster: RunningCluster): Promise<Doors | undefined> {
    const { secrets, served, dataPlane, pkcs11, events, log } = this.#options;
    let doors: Doors | undefined;
    try {
      const tls = await tlsOf(cluster, secrets, []);
      doors = new Doors({ cluster, served, dataPlane, pkcs11, events, tls, log });
      this.#opened.add(doors);
      await doors.open();
      return doors;
    } catch (error) {
      await this.#close(doors);
      log.error({ err: error, cluster: cluster.id }, 'the ENIs of a cluster could not be opened');
      this.#doors.delete(cluster.id);
      // who holds the address may let it go, or the HSM come back
      setTimeout(() => this.#again(cluster.id), LIMITS.eni_retry_ms).unref();
      return undefined;
    }
  }

  async #close(doors: Doors | undefined): Promise<void> {
    if (!doors) return;
    this.#opened.delete(doors);
    await doors[Symbol.asyncDispose]();
  }

  #again(id: ClusterId): void {
    if (!this.#isClosing) this.#follow(id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosing = true;
    const opened = await Promise.all(this.#doors.values());
    await Promise.all(opened.map((doors) => this.#close(doors)));
  }
}
