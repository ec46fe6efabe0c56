import type { Events } from '../audit/events.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { HsmId } from '../core/ids.js';
import { monotonic } from '../core/clock.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { Broadcast } from '../front/broadcast.js';
import { EniListener, type TlsIdentity } from '../front/eni-listener.js';
import type { DataPlane } from '../front/hsm-session.js';
import { Idempotency } from '../front/idempotency.js';
import type { P11Door } from '../front/p11-rpc/door.js';
import { WebSocketDoor } from '../front/websocket.js';
import type { HsmState } from '../protocol/admin.js';
import type { Served } from './kms-parts.js';

export interface DoorsOptions {
  readonly cluster: RunningCluster;
  readonly served: Served;
  readonly dataPlane: DataPlane;
  readonly pkcs11: P11Door;
  readonly events: Events;
  readonly tls: TlsIdentity;
  readonly log: Logger;
}

/**
 * The ENIs of a cluster: each listens while its HSM serves, as an ENI of a dead HSM would not
 * answer either.
 */
export class Doors implements AsyncDisposable {
  readonly #options: DoorsOptions;
  readonly #broadcast = new Broadcast();
  readonly #door: WebSocketDoor;
  readonly #listeners = new Map<HsmId, EniListener>();
  readonly #connections = { count: 0 };
  /** opening and closing of one ENI happen one after the other */
  readonly #turns = new Map<HsmId, Promise<void>>();
  #closing = false;

  constructor(options: DoorsOptions) {
    this.#options = options;
    const { served, dataPlane, pkcs11, events, log, cluster } = options;
    this.#door = new WebSocketDoor({
      kms: served.kms,
      callers: served.callers,
      dataPlane,
      cluster: cluster.id,
      events,
      log,
      broadcast: this.#broadcast,
      faults: cluster.faults,
      idempotency: new Idempotency(monotonic),
      region: cluster.record.region,
      pkcs11: (stream) => pkcs11.accept(stream, cluster.id),
    });
  }

  /** requests that wait for their answers */
  get inflight(): number {
    return this.#door.inflight;
  }

  /** Opens the ENIs of the HSMs that serve. */
  async open(): Promise<void> {
    const { members } = this.#options.cluster;
    await Promise.all(members.map((member) => this.#follow(member.id)));
  }

  /** An HSM's state changed: its ENI follows, and subscribers hear of it. */
  changed(hsm: HsmId, state: HsmState | undefined): void {
    this.#broadcast.publish('hsm', { id: hsm, state: state ?? 'REMOVED' });
    this.#follow(hsm).catch((error: unknown) => {
      this.#options.log.error({ err: error, hsm }, 'an ENI could not be opened');
      // who holds the address may let it go
      setTimeout(() => this.#retry(hsm), LIMITS.eni_retry_ms).unref();
    });
  }

  #retry(hsm: HsmId): void {
    this.#follow(hsm).catch(() => {
      if (!this.#closing) setTimeout(() => this.#retry(hsm), LIMITS.eni_retry_ms).unref();
    });
  }

  #follow(hsm: HsmId): Promise<void> {
    const turn = (this.#turns.get(hsm) ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => this.#settle(hsm));
    this.#turns.set(hsm, turn);
    return turn;
  }

  async #settle(hsm: HsmId): Promise<void> {
    const member = this.#options.cluster.members.find(({ id }) => id === hsm);
    const listener = this.#listeners.get(hsm);
    if (member?.channel && !listener && !this.#closing) await this.#openEni(hsm);
    if (member?.channel || !listener) return;
    this.#listeners.delete(hsm);
    listener.close();
    await this.#door.leave(hsm);
    listener.destroy();
  }

  async #openEni(hsm: HsmId): Promise<void> {
    const { cluster, tls, log } = this.#options;
    const { eniIp: ip, eniPort: port } = cluster.member(hsm).record;
    const listener = new EniListener({
      ip,
      port,
      tls,
      log,
      connections: this.#connections,
      upgrade: (request, socket, head) => this.#door.upgrade(hsm, request, socket, head),
    });
    try {
      await listener.listen();
    } catch (cause) {
      const reason = (cause as NodeJS.ErrnoException).code ?? 'unknown';
      const sentence = `The ENI of ${hsm} cannot listen on ${ip}:${port} (${reason}).`;
      throw new KeyspanError('KeyspanConfig', sentence, { cause });
    }
    this.#listeners.set(hsm, listener);
  }

  /** Where clients connect; also the ENIs of HSMs that do not serve just now. */
  urls(): string[] {
    const { members, record } = this.#options.cluster;
    return members.map(
      ({ record: { eniIp, eniPort } }) => `wss://${eniIp}:${eniPort}/v1/${record.region}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    await Promise.allSettled(this.#turns.values());
    for (const listener of this.#listeners.values()) listener.close();
    await this.#door[Symbol.asyncDispose]();
    for (const listener of this.#listeners.values()) listener.destroy();
  }
}
