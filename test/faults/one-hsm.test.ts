import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { KeyspanClient } from '../../src/client/client.js';
import { monotonic } from '../../src/core/clock.js';
import { pause } from '../../src/core/deadline.js';
import { LIMITS } from '../../src/core/limits.js';
import type { HsmStatus } from '../../src/protocol/admin.js';
import { DaemonFixture, eventually, signal } from '../support/daemon-fixture.js';

/** What an acknowledged key has to open, for ever. */
interface Kept {
  readonly KeyId: string;
  readonly CiphertextBlob: Uint8Array;
}

const PLAINTEXT = Buffer.from('what must not be lost');
/** the deadline of the client that may not try again */
const STRICT_TIMEOUT_MS = 3_000;

let daemon: DaemonFixture;
let hsms: readonly HsmStatus[];
const kept: Kept[] = [];
/** the longest request of each fault */
const longest: string[] = [];

beforeAll(async () => {
  daemon = await DaemonFixture.start();
  hsms = await daemon.hsms();
});
afterAll(async () => {
  process.stdout.write(`the longest request while\n  ${longest.join('\n  ')}\n`);
  await daemon?.[Symbol.asyncDispose]();
});

/** Encrypts, decrypts and makes keys without a pause until told to end; notes every failure. */
class Load {
  readonly failures: unknown[] = [];
  longestMs = 0;
  requests = 0;
  readonly #client: KeyspanClient;
  readonly #options: { retries?: boolean; timeoutMs?: number };
  readonly #workers: Promise<void>[];
  #ending = false;

  constructor(client: KeyspanClient, options: { retries?: boolean; timeoutMs?: number } = {}) {
    this.#client = client;
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
    const { KeyId } = kept[index % kept.length] ?? { KeyId: '' };
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
    kept.push({ KeyId, CiphertextBlob });
    await pause(20);
  }
}

async function keep(client: KeyspanClient): Promise<void> {
  const { KeyId } = await client.kms.createKey();
  const request = { KeyId, Plaintext: PLAINTEXT };
  const { CiphertextBlob } = await client.kms.encrypt(request);
  kept.push({ KeyId, CiphertextBlob });
}

/** Two loads while `fault` happens to an HSM: no request fails, and the HSM comes back. */
async function survive(name: string, hsm: HsmStatus, fault: () => Promise<void>): Promise<void> {
  const others = hsms.filter(({ id }) => id !== hsm.id);
  const endpoints = [await daemon.endpoint(others[0]?.id ?? '')];
  const [strict, anywhere] = await Promise.all([
    daemon.client({ endpoints }),
    // the first ENI is the one that is lost
    daemon.client({ endpoints: [await daemon.endpoint(hsm.id), ...endpoints] }),
  ]);
  const loads = [
    new Load(strict, { retries: false, timeoutMs: STRICT_TIMEOUT_MS }),
    new Load(anywhere),
  ];
  await pause(300);
  await fault();
  await daemon.hsm(hsm.id);
  await pause(200);
  await Promise.all(loads.map((load) => load.end()));
  await Promise.all([strict.close(), anywhere.close()]);
  const [byAnother, byItsOwn] = loads.map(({ longestMs }) => longestMs.toFixed(0));
  const requests = loads.reduce((sum, load) => sum + load.requests, 0);
  longest.push(
    `${name}: ${byAnother} ms through another ENI, ${byItsOwn} ms through its own of ${requests}`,
  );
  for (const load of loads) {
    expect(load.failures).toEqual([]);
    expect(load.requests).toBeGreaterThan(20);
  }
}

/** Waits until the daemon noticed that an HSM is not what it was. */
async function noticed({ id, pid }: HsmStatus): Promise<void> {
  await eventually(async () => {
    const now = (await daemon.hsms()).find((hsm) => hsm.id === id);
    return now?.state === 'ACTIVE' && now.pid === pid ? undefined : true;
  }, `${id} is seen to fail`);
}

const now = async (index: number): Promise<HsmStatus> =>
  (await daemon.hsms())[index] ?? expect.unreachable();

describe('no request fails', () => {
  beforeAll(async () => {
    await using client = await daemon.client();
    for (let count = 0; count < 10; count += 1) await keep(client);
  });

  test.each([0, 1, 2])('while HSM %i is killed', async (index) => {
    const hsm = await now(index);
    await survive(`kill -9 of HSM ${index}`, hsm, async () => {
      signal(hsm.pid, 'SIGKILL');
      await noticed(hsm);
    });
  });

  test('while one crashes by order', async () => {
    const hsm = await now(0);
    await survive('hsm crash', hsm, async () => {
      await callAdmin(daemon.home, 'HsmCrash', { id: hsm.id });
      await noticed(hsm);
    });
  });

  test('while one stands still', async () => {
    const hsm = await now(1);
    await survive('SIGSTOP', hsm, async () => {
      signal(hsm.pid, 'SIGSTOP');
      await noticed(hsm);
      signal(hsm.pid, 'SIGCONT');
    });
  });

  test('while one is stopped and started by its operator', async () => {
    const hsm = await now(2);
    await survive('hsm stop', hsm, async () => {
      await callAdmin(daemon.home, 'HsmStop', { id: hsm.id });
      await daemon.hsm(hsm.id, 'STOPPED');
      await callAdmin(daemon.home, 'HsmStart', { id: hsm.id });
    });
  });
});

test('an HSM that stands still for good is ended and started anew', async () => {
  const hsm = await now(2);
  signal(hsm.pid, 'SIGSTOP');
  await daemon.hsm(hsm.id, 'HUNG');
  const back = await eventually(
    async () => {
      const [seen] = (await daemon.hsms()).filter(
        ({ id, pid }) => id === hsm.id && pid !== hsm.pid,
      );
      return seen?.state === 'ACTIVE' ? seen : undefined;
    },
    'a new process',
    4 * LIMITS.hung_restart_ms,
  );
  expect(back.pid).not.toBe(hsm.pid);
});

test('every acknowledged key is on every HSM, with nothing left over', async () => {
  // attempts that were given up are destroyed in the background; beside ours is the cluster's key
  await eventually(
    async () => {
      const counts = (await daemon.allActive()).map(({ keys }) => keys);
      return counts.every((count) => count === kept.length + 1) ? true : undefined;
    },
    `${kept.length + 1} keys on each HSM`,
  );
  for (const alone of hsms) {
    const others = hsms.filter(({ id }) => id !== alone.id);
    for (const { id } of others) await callAdmin(daemon.home, 'HsmKill', { id });
    const client = await daemon.client({ endpoints: [await daemon.endpoint(alone.id)] });
    for (const { CiphertextBlob } of kept) {
      const { result, hsm } = await client.call('Decrypt', { CiphertextBlob });
      expect(Buffer.from(result['Plaintext'] as Uint8Array)).toEqual(PLAINTEXT);
      expect(hsm).toBe(alone.id);
    }
    // alone it may not promise that a new key survives
    await expect(client.kms.createKey({}, { retries: false })).rejects.toMatchObject({
      code: 'KMSInternalException',
    });
    for (const { id } of others) await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.allActive();
    await client.close();
  }
});

test('keys that are made while an HSM is away are on it when it serves again', async () => {
  const [away, ...others] = await daemon.allActive();
  const id = away?.id ?? '';
  await callAdmin(daemon.home, 'HsmKill', { id });
  const fresh = await daemon.client({ endpoints: [await daemon.endpoint(others[0]?.id ?? '')] });
  const before = kept.length;
  for (let count = 0; count < 5; count += 1) await keep(fresh);
  await callAdmin(daemon.home, 'HsmStart', { id });
  await daemon.hsm(id);
  for (const other of others) await callAdmin(daemon.home, 'HsmKill', { id: other.id });
  const client = await daemon.client({ endpoints: [await daemon.endpoint(id)] });
  for (const { CiphertextBlob } of kept.slice(before)) {
    const { hsm } = await client.call('Decrypt', { CiphertextBlob });
    expect(hsm).toBe(id);
  }
  for (const other of others) await callAdmin(daemon.home, 'HsmStart', { id: other.id });
  await daemon.allActive();
});
