import { expect } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { KeyspanClient } from '../../src/client/client.js';
import { LIMITS } from '../../src/core/limits.js';
import { monotonic } from '../../src/core/clock.js';
import { pause } from '../../src/core/deadline.js';
import type { ClusterCheck, HsmStatus } from '../../src/protocol/admin.js';
import { DaemonFixture, eventually, type FixtureOptions } from './daemon-fixture.js';

/** What an acknowledged key has to open, for ever. */
export interface Kept {
  readonly KeyId: string;
  readonly CiphertextBlob: Uint8Array;
}

export const PLAINTEXT = Buffer.from('what must not be lost');
/** the deadline of the client that may not try again */
const STRICT_TIMEOUT_MS = 3_000;

/** lines of the daemon's log that are shown when a request failed */
const LOG_LINES = 40;

/** Encrypts, decrypts and makes keys without a pause until told to end; notes every failure. */
export class SteadyLoad {
  readonly failures: unknown[] = [];
  longestMs = 0;
  requests = 0;
  readonly #client: KeyspanClient;
  readonly #kept: Kept[];
  readonly #options: { retries?: boolean; timeoutMs?: number };
  readonly #workers: Promise<void>[];
  #ending = false;

  /** @param kept keys to work with; acknowledged ones are added */
  constructor(
    client: KeyspanClient,
    kept: Kept[],
    options: { retries?: boolean; timeoutMs?: number } = {},
  ) {
    this.#client = client;
    this.#kept = kept;
    this.#options = options;
    const crypto = Array.from({ length: 8 }, (_, index) =>
      this.#work(() => this.#roundTrip(index)),
    );
    this.#workers = [...crypto, this.#work(() => this.#create())];
  }

  async end(): Promise<void> {
    this.#ending = true;
    await Promise.all(this.#workers);
  }

  async #work(step: () => Promise<void>): Promise<void> {
    while (!this.#ending) {
      try {
        await step();
      } catch (error) {
        this.failures.push(error);
        // one who fails at once must not fail a million times
        await pause(100);
      }
    }
  }

  async #timed<T>(request: Promise<T>): Promise<T> {
    const begin = monotonic();
    try {
      return await request;
    } finally {
      this.longestMs = Math.max(this.longestMs, monotonic() - begin);
      this.requests += 1;
    }
  }

  async #roundTrip(index: number): Promise<void> {
    const { KeyId } = this.#kept[index % this.#kept.length] ?? { KeyId: '' };
    const context = { EncryptionContext: { worker: String(index) } };
    const { kms } = this.#client;
    const request = { KeyId, Plaintext: PLAINTEXT, ...context };
    const { CiphertextBlob } = await this.#timed(kms.encrypt(request, this.#options));
    const sealed = { CiphertextBlob, ...context };
    const opened = await this.#timed(kms.decrypt(sealed, this.#options));
    if (!PLAINTEXT.equals(opened.Plaintext)) throw new Error('another plaintext came back');
  }

  async #create(): Promise<void> {
    const { kms } = this.#client;
    const { KeyId } = await this.#timed(kms.createKey({}, this.#options));
    const request = { KeyId, Plaintext: PLAINTEXT };
    const { CiphertextBlob } = await this.#timed(kms.encrypt(request, this.#options));
    this.#kept.push({ KeyId, CiphertextBlob });
    await pause(20);
  }
}

/** A cluster that faults happen to, with the keys that it acknowledged. */
export class FaultScene implements AsyncDisposable {
  readonly daemon: DaemonFixture;
  readonly kept: Kept[] = [];
  /** how the daemon is started, each time */
  readonly options: FixtureOptions;
  /** the longest request of each fault */
  readonly #longest: string[] = [];

  private constructor(daemon: DaemonFixture, options: FixtureOptions) {
    this.daemon = daemon;
    this.options = options;
  }

  /** @param keys that there are from the beginning */
  static async start(keys: number, options: FixtureOptions = {}): Promise<FaultScene> {
    const scene = new FaultScene(await DaemonFixture.start(options), options);
    await using client = await scene.daemon.client();
    for (let count = 0; count < keys; count += 1) await scene.keep(client);
    return scene;
  }

  /** Makes a key through a client. */
  async keep(client: KeyspanClient): Promise<void> {
    const { KeyId } = await client.kms.createKey();
    const request = { KeyId, Plaintext: PLAINTEXT };
    const { CiphertextBlob } = await client.kms.encrypt(request);
    this.kept.push({ KeyId, CiphertextBlob });
  }

  async hsm(index: number): Promise<HsmStatus> {
    return (await this.daemon.hsms())[index] ?? expect.unreachable();
  }

  /**
   * Two loads while `fault` happens to an HSM: no request fails. One is on another ENI and may not
   * try again, the other prefers the ENI of the HSM.
   * @param name what it is called in the list of the longest requests
   */
  async survive(name: string, hsm: HsmStatus, fault: () => Promise<void>): Promise<void> {
    const { daemon } = this;
    const others = (await daemon.hsms()).filter(({ id }) => id !== hsm.id);
    const other = others.find(({ state }) => state === 'ACTIVE');
    const endpoints = [await daemon.endpoint(other?.id ?? '')];
    const [strict, anywhere] = await Promise.all([
      daemon.client({ endpoints }),
      daemon.client({ endpoints: [await daemon.endpoint(hsm.id), ...endpoints] }),
    ]);
    const options = { retries: false, timeoutMs: STRICT_TIMEOUT_MS };
    const loads = [
      new SteadyLoad(strict, this.kept, options),
      new SteadyLoad(anywhere, this.kept),
    ] as const;
    try {
      await pause(300);
      await fault();
      await pause(200);
    } finally {
      await Promise.all(loads.map((load) => load.end()));
      await Promise.all([strict.close(), anywhere.close()]);
    }
    this.#note(name, loads);
    for (const load of loads) {
      expect(load.failures, this.#lastWords()).toEqual([]);
      expect(load.requests).toBeGreaterThan(20);
    }
  }

  #note(name: string, loads: readonly [SteadyLoad, SteadyLoad]): void {
    const [byAnother, byItsOwn] = loads.map(({ longestMs }) => longestMs.toFixed(0));
    const requests = loads[0].requests + loads[1].requests;
    this.#longest.push(
      `${name}: ${byAnother} ms through another ENI, ${byItsOwn} ms through its own of ${requests}`,
    );
  }

  /** The end of the daemon's log: what it was busy with when a request failed. */
  #lastWords(): string {
    const lines = this.daemon.log().trimEnd().split('\n');
    return `no request fails; the log ends with\n${lines.slice(-LOG_LINES).join('\n')}\n`;
  }

  /** Waits until the daemon noticed that an HSM is not what it was. */
  async noticed({ id, pid }: HsmStatus): Promise<void> {
    await eventually(async () => {
      const now = (await this.daemon.hsms()).find((hsm) => hsm.id === id);
      return now?.state === 'ACTIVE' && now.pid === pid ? undefined : true;
    }, `${id} is seen to fail`);
  }

  /** Ends an HSM, does something to what it left, and starts it again. */
  async whileStopped({ id }: { id: string }, work: () => void): Promise<void> {
    await callAdmin(this.daemon.home, 'HsmStop', { id });
    await eventually(async () => {
      const now = (await this.daemon.hsms()).find((hsm) => hsm.id === id);
      return now?.state === 'STOPPED' && now.pid === null ? true : undefined;
    }, `${id} has ended`);
    work();
    await callAdmin(this.daemon.home, 'HsmStart', { id });
  }

  /** Brings all up to date; what is then to be said of it. */
  async repaired(): Promise<ClusterCheck> {
    const params = { repair: true };
    return await callAdmin(this.daemon.home, 'ClusterCheck', params, LIMITS.join_timeout_ms);
  }

  /** Each ACTIVE HSM itself opens what every acknowledged key has to open, and all is in order. */
  async allIsWell(kept: readonly Kept[] = this.kept): Promise<void> {
    await eventually(async () => {
      const { clean, intents } = await this.repaired();
      return clean && intents === 0 ? true : undefined;
    }, 'a clean check after the repair');
    await this.opensEverywhere(kept);
  }

  /** Each ACTIVE HSM itself opens what every acknowledged key has to open. */
  async opensEverywhere(kept: readonly Kept[] = this.kept): Promise<void> {
    const active = (await this.daemon.hsms()).filter(({ state }) => state === 'ACTIVE');
    expect(active.length).toBeGreaterThan(0);
    for (const { id } of active) expect(await this.#closedTo(id, kept)).toEqual([]);
  }

  /** The keys that an HSM does not open itself, with what happened instead. */
  async #closedTo(id: string, kept: readonly Kept[]): Promise<unknown[]> {
    const client = await this.daemon.client({ endpoints: [await this.daemon.endpoint(id)] });
    const open = async ({ KeyId, CiphertextBlob }: Kept): Promise<unknown[]> => {
      const { result, hsm } = await client.call('Decrypt', { CiphertextBlob });
      const isRight = PLAINTEXT.equals(result['Plaintext'] as Uint8Array);
      return isRight && hsm === id ? [] : [{ KeyId, hsm, isRight }];
    };
    try {
      return (await Promise.all(kept.map((one) => open(one)))).flat();
    } finally {
      await client.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#longest.length > 0) {
      process.stdout.write(`the longest request while\n  ${this.#longest.join('\n  ')}\n`);
    }
    await this.daemon[Symbol.asyncDispose]();
  }
}
