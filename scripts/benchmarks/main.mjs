// scripts/bench: every figure is a ratio against a reference that is taken in the same run.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeyspanClient } from '../../dist/client/client.js';
import { ceremonies } from './ceremony.mjs';
import { cliCommands } from './cli.mjs';
import { clusters } from './clusters.mjs';
import { failover } from './failover.mjs';
import { http, manyKeys, policies } from './kms.mjs';
import { pkcs11 } from './pkcs11.mjs';
import { scale } from './scale.mjs';
import { signatures } from './sign.mjs';
import { soak } from './soak.mjs';
import { users } from './users.mjs';

const CLI = new URL('../../dist/cli/keyspan.cjs', import.meta.url).pathname;
const BARE = new URL('./bare.mjs', import.meta.url).pathname;
const root = mkdtempSync(join(tmpdir(), 'keyspan-bench-'));
const home = join(root, 'home');
let bareCount = 0;

const cliAt = (at, ...words) =>
  execFileSync(process.execPath, [CLI, ...words, '--home', at], { encoding: 'utf8' });
const cli = (...words) => cliAt(home, ...words);

function bare(mode, amount) {
  bareCount += 1;
  const directory = join(root, `bare-${bareCount}`);
  const words = [BARE, mode, directory, String(amount)];
  return JSON.parse(execFileSync(process.execPath, words, { encoding: 'utf8' }));
}

async function connect(entry, at = home) {
  const status = JSON.parse(cliAt(at, 'status', '--json'));
  const endpoints = status.endpoints.websocket;
  return await KeyspanClient.connect({
    endpoints: entry === undefined ? endpoints : [entry].flat().map((index) => endpoints[index]),
    ca: readFileSync(join(at, 'public', 'customerCA.crt'), 'utf8'),
    certificate: readFileSync(join(at, 'public', 'root.crt'), 'utf8'),
    privateKey: readFileSync(join(at, 'secrets', 'root.key'), 'utf8'),
  });
}

const newKey = async (client) => (await client.call('CreateKey', {})).result.KeyMetadata.KeyId;
const median = (samples) => samples.sort((a, b) => a - b)[samples.length >> 1];

/** Requests a second with `inflight` of them in flight. */
async function rate(client, KeyId, { inflight, milliseconds }) {
  const Plaintext = Buffer.alloc(32, 7);
  const end = performance.now() + milliseconds;
  let count = 0;
  const run = async () => {
    while (performance.now() < end) {
      await client.call('Encrypt', { KeyId, Plaintext });
      count += 1;
    }
  };
  const start = performance.now();
  await Promise.all(Array.from({ length: inflight }, run));
  return (count * 1000) / (performance.now() - start);
}

const login = (directory) =>
  new Promise((resolve) => {
    spawn(process.execPath, [BARE, 'login', directory]).once('exit', resolve);
  });

/** Starts so many bare processes at once, each on a token of its own; milliseconds. */
async function bareLogins(count) {
  const directories = Array.from({ length: count }, (_, n) => join(root, `login-${n}`));
  for (const directory of directories) {
    if (!existsSync(directory)) execFileSync(process.execPath, [BARE, 'make', directory]);
  }
  const begin = performance.now();
  await Promise.all(directories.map(login));
  return performance.now() - begin;
}

const BENCHMARKS = {
  /** Encrypt of 32 bytes over WSS, 64 in flight, to a bare loop on one core. */
  async encrypt() {
    const client = await connect();
    const KeyId = await newKey(client);
    await rate(client, KeyId, { inflight: 64, milliseconds: 2000 });
    const rounds = [];
    for (let i = 0; i < 5; i += 1) {
      const reference = bare('encrypt', 1500).perSecond;
      const value = await rate(client, KeyId, { inflight: 64, milliseconds: 3000 });
      rounds.push({ value, reference, ratio: value / reference });
    }
    await client[Symbol.asyncDispose]();
    const ratio = median(rounds.map((round) => round.ratio));
    const round = rounds.find((one) => one.ratio === ratio);
    return { name: 'encrypt', unit: 'operations/s', ...round };
  },

  /** One Encrypt in flight: what it takes above the bare call, in milliseconds. */
  async latency() {
    const client = await connect();
    const KeyId = await newKey(client);
    const Plaintext = Buffer.alloc(32, 7);
    const reference = bare('encrypt', 1000).medianUs / 1000;
    const samples = [];
    for (let i = 0; i < 3000; i += 1) {
      const before = performance.now();
      await client.call('Encrypt', { KeyId, Plaintext });
      if (i >= 500) samples.push(performance.now() - before);
    }
    await client[Symbol.asyncDispose]();
    const value = median(samples);
    const above = value - reference;
    return { name: 'latency', unit: 'ms', value, reference, ratio: value / reference, above };
  },

  /** CreateKey on three HSMs to one bare C_GenerateKey of a token key. */
  async create() {
    const client = await connect();
    const rounds = [];
    for (let round = 0; round < 3; round += 1) {
      const reference = bare('create', 60).medianMs;
      const samples = [];
      for (let i = 0; i < 60; i += 1) {
        const before = performance.now();
        await newKey(client);
        samples.push(performance.now() - before);
      }
      const value = median(samples);
      rounds.push({ value, reference, ratio: value / reference });
    }
    await client[Symbol.asyncDispose]();
    const ratio = median(rounds.map((round) => round.ratio));
    return { name: 'create', unit: 'ms', ...rounds.find((one) => one.ratio === ratio) };
  },

  /** `up --detach` on an existing home to three bare processes that load the module and log in. */
  async start() {
    const rounds = [];
    for (let i = 0; i < 5; i += 1) {
      const reference = await bareLogins(3);
      cli('down');
      const start = performance.now();
      cli('up', '--detach');
      const value = performance.now() - start;
      rounds.push({ value, reference, ratio: value / reference });
    }
    const ratio = median(rounds.map((round) => round.ratio));
    return { name: 'start', unit: 'ms', ...rounds.find((one) => one.ratio === ratio) };
  },
};

BENCHMARKS.ceremony = () => ceremonies({ root, cli: cliAt, bareLogins });
BENCHMARKS.clusters = () => clusters({ root, cli: cliAt, bareLogins });
BENCHMARKS.failover = () => failover({ root: home, connect, newKey });

const credentials = () => JSON.parse(cli('credentials', '--json'));
BENCHMARKS.cli = () => cliCommands({ home, connect, credentials });
const status = () => JSON.parse(cli('status', '--json'));
const env = () => JSON.parse(cli('env', '--json'));
BENCHMARKS.http = () => http({ env });
BENCHMARKS.policies = () => policies({ root, cli, env });
BENCHMARKS.pkcs11 = () => pkcs11({ root, status, credentials });
BENCHMARKS.sign = () => signatures({ root, connect, credentials });

/** Takes minutes: only when it is named. */
const LONG = {
  keys: () => manyKeys({ root, cli: cliAt }),
  scale: () => scale({ root, cli: cliAt, connect: (at) => connect(undefined, at) }),
  users: () => users({ root, cli: cliAt, connect: (at) => connect(undefined, at) }),
  soak: () => soak({ root: home, connect, status }),
};
const ALL = { ...BENCHMARKS, ...LONG };

const words = process.argv.slice(2);
const json = words.includes('--json');
const names = words.filter((word) => !word.startsWith('--'));
const unknown = names.filter((name) => !(name in ALL));
if (unknown.length > 0) {
  process.stderr.write(
    `There is no benchmark ${unknown.join(', ')}: ${Object.keys(ALL).join(', ')}.\n`,
  );
  process.exit(252);
}

const text = ({ name, unit, value, reference, ratio, above, undisturbed, failed }) =>
  `${name.padEnd(13)} ${value.toFixed(2).padStart(10)} ${unit.padEnd(12)} ` +
  `reference ${reference.toFixed(3).padStart(10)}   ratio ${ratio.toFixed(3)}` +
  (above === undefined ? '' : `   above ${above.toFixed(3)} ms`) +
  (failed === undefined ? '' : `   undisturbed ${undisturbed.toFixed(0)} ms, ${failed} failed`);

try {
  cli('up', '--detach');
  for (const name of names.length > 0 ? names : Object.keys(BENCHMARKS)) {
    for (const figure of [await ALL[name]()].flat()) {
      process.stdout.write(
        `${json ? JSON.stringify(figure) : (figure.lines?.join('\n') ?? text(figure))}\n`,
      );
      if (figure.problems?.length > 0) process.exitCode = 1;
    }
  }
} finally {
  cli('down', '--delete');
  rmSync(root, { recursive: true, force: true });
}
