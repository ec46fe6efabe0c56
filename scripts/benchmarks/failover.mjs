// The longest request while an HSM is killed, and while one stands still, beside their bounds. One
// client is on the ENI of another HSM and tries nothing twice; one is on its own ENI, and goes
// elsewhere when that closes.
import { callAdmin } from '../../dist/cli/admin-client.js';
import { findHome } from '../../dist/core/home.js';
import { LIMITS } from '../../dist/core/limits.js';

const BOUND_MS = 250;
const WORKERS = 8;
const BEFORE_MS = 1_000;
/** longer than it takes to see that an HSM stands still */
const STILL_MS = 2 * (LIMITS.heartbeat_missed_ms + BOUND_MS);
const TIMEOUT_MS = 10_000;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Steady work: encrypts, decrypts and makes keys, and remembers the longest request. */
class Load {
  longest = { ms: 0, action: '' };
  failed = 0;
  #ending = false;
  #client;
  #options;
  #workers;

  constructor(client, KeyId, retries) {
    this.#client = client;
    this.#options = { retries, timeoutMs: TIMEOUT_MS };
    const Plaintext = Buffer.alloc(32, 7);
    const crypt = async () => {
      const { CiphertextBlob } = await this.#ask('Encrypt', { KeyId, Plaintext });
      if (CiphertextBlob) await this.#ask('Decrypt', { CiphertextBlob });
    };
    const create = async () => {
      await this.#ask('CreateKey', {});
      await pause(20);
    };
    const steps = [...Array.from({ length: WORKERS }, () => crypt), create];
    this.#workers = steps.map((step) => this.#repeat(step));
  }

  async #repeat(step) {
    while (!this.#ending) await step();
  }

  async #ask(action, params) {
    const begin = performance.now();
    try {
      return (await this.#client.call(action, params, this.#options)).result;
    } catch {
      this.failed += 1;
      await pause(20);
      return {};
    } finally {
      const ms = performance.now() - begin;
      if (ms > this.longest.ms) this.longest = { ms, action };
    }
  }

  async end() {
    this.#ending = true;
    await Promise.all(this.#workers);
  }
}

async function allActive(home) {
  for (;;) {
    const { hsms } = (await callAdmin(home, 'Status')).cluster;
    if (hsms.every(({ state }) => state === 'ACTIVE')) return hsms;
    await pause(50);
  }
}

const longer = (a, b) => (b.ms > a.ms ? b : a);

/** The longest request of one fault after another, each HSM in turn. */
async function worst({ home, connect, newKey }, fault) {
  const sum = { longest: { ms: 0, action: '' }, undisturbed: 0, failed: 0 };
  for (let index = 0; index < 3; index += 1) {
    const hsms = await allActive(home);
    const other = (index + 1) % hsms.length;
    const clients = await Promise.all([connect(other), connect([index, other])]);
    const KeyId = await newKey(clients[0]);
    const loads = clients.map((client, at) => new Load(client, KeyId, at === 1));
    await pause(BEFORE_MS);
    for (const load of loads) {
      sum.undisturbed = Math.max(sum.undisturbed, load.longest.ms);
      load.longest = { ms: 0, action: '' };
    }
    await fault(hsms[index].pid);
    await Promise.all(loads.map((load) => load.end()));
    for (const load of loads) {
      sum.longest = longer(sum.longest, load.longest);
      sum.failed += load.failed;
    }
    await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
  }
  return sum;
}

async function killed(pid) {
  process.kill(pid, 'SIGKILL');
  await pause(BEFORE_MS);
}

async function stopped(pid) {
  process.kill(pid, 'SIGSTOP');
  await pause(STILL_MS);
  process.kill(pid, 'SIGCONT');
}

function figure(name, reference, { longest, undisturbed, failed }) {
  const { ms: value, action } = longest;
  const ratio = value / reference;
  return { name, unit: `ms ${action}`, value, reference, ratio, undisturbed, failed };
}

/** @param context `root`, a home that runs; `connect(entry)` to an ENI; `newKey(client)` */
export async function failover({ root, ...parts }) {
  const context = { home: findHome(root), ...parts };
  const healthMs = LIMITS.heartbeat_missed_ms + BOUND_MS;
  return [
    figure('killed', BOUND_MS, await worst(context, killed)),
    figure('stopped', healthMs, await worst(context, stopped)),
  ];
}
