// The PKCS #11 bridge beside what p11-kit itself serves: `p11-kit server` in front of one SoftHSM2
// token. Both are asked by the same applications, through p11-kit-client.so.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { loadModuleProfile } from '../../dist/token/softhsm.js';

const CLIENT = new URL('./pkcs11-client.mjs', import.meta.url).pathname;
const [SO_PIN, USER_PIN] = ['12345678', '87654321'];
const APPLICATIONS = 8;
const ROUND_MS = 2_000;
const WARM_MS = 6_000;
const ROUNDS = 5;
const OBJECTS = { few: 20, many: 2_000 };

const run = promisify(execFile);
const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];

/** p11-kit-client.so of this machine. */
function clientModule() {
  const places = ['/usr/lib64/pkcs11', '/usr/lib/pkcs11'];
  for (const name of readdirSync('/usr/lib')) places.push(`/usr/lib/${name}/pkcs11`);
  const found = places.map((place) => join(place, 'p11-kit-client.so')).find(existsSync);
  if (!found) throw new Error('p11-kit-client.so is missing: install p11-kit-modules');
  return found;
}

/** A server of p11-kit on a token of its own. */
function stockServer(root) {
  const directory = join(root, 'stock');
  mkdirSync(join(directory, 'tokens'), { recursive: true });
  const configuration = join(directory, 'softhsm2.conf');
  writeFileSync(
    configuration,
    `directories.tokendir = ${join(directory, 'tokens')}\nobjectstore.backend = file\n`,
  );
  const env = { ...process.env, SOFTHSM2_CONF: configuration };
  const pins = ['--so-pin', SO_PIN, '--pin', USER_PIN];
  execFileSync('softhsm2-util', ['--init-token', '--free', '--label', 'stock', ...pins], { env });
  const socket = join(directory, 'socket');
  const provider = ['--provider', loadModuleProfile().library];
  const words = ['server', '--foreground', '--name', socket, ...provider, 'pkcs11:'];
  const server = spawn('p11-kit', words, { env, stdio: 'ignore' });
  const isThere = Atomics.wait.bind(Atomics, new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  while (!existsSync(socket)) isThere(20);
  const end = () => server.kill();
  return { address: `unix:path=${socket}`, pin: USER_PIN, isReference: true, end };
}

/**
 * Runs one mode of the application, so often at once. Eight logins at once on one SoftHSM2 token
 * fail now and then (CKR_GENERAL_ERROR): the reference is given another chance.
 */
async function ask(server, mode, amount, count = 1, attempts = 3) {
  try {
    return await askOnce(server, mode, amount, count);
  } catch (error) {
    if (!server.isReference || attempts === 1) throw error;
    return await ask(server, mode, amount, count, attempts - 1);
  }
}

async function askOnce(server, mode, amount, count) {
  const env = { ...process.env, P11_KIT_SERVER_ADDRESS: server.address };
  const words = [CLIENT, clientModule(), server.pin, mode, String(amount)];
  const options = { env, encoding: 'utf8' };
  const all = Array.from({ length: count }, () => run(process.execPath, words, options));
  return (await Promise.all(all)).map(({ stdout }) => JSON.parse(stdout));
}

const sum = (figures) => figures.reduce((all, { perSecond }) => all + perSecond, 0);

/** The median of rounds, in each of which both were asked. */
async function compare({ ours, stock }, about) {
  const { name, unit, mode, count = 1, read } = about;
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const reference = read(await ask(stock, mode, ROUND_MS, count));
    const value = read(await ask(ours, mode, ROUND_MS, count));
    rounds.push({ value, reference, ratio: value / reference });
  }
  const ratio = median(rounds.map((one) => one.ratio));
  return { name, unit, ...rounds.find((one) => one.ratio === ratio) };
}

const microseconds = ([{ medianUs }]) => medianUs;

/** @param context `root`; `status()`; `credentials()` */
export async function pkcs11({ root, status, credentials }) {
  const { username, password } = credentials().cryptoUser;
  const ours = {
    address: `unix:path=${status().endpoints.pkcs11}`,
    pin: `${username}:${password}`,
  };
  const stock = stockServer(root);
  try {
    await Promise.all([ask(ours, 'make', 0), ask(stock, 'make', 0)]);
    // what a daemon that has served for a while knows, ours knows too, and V8 has compiled it
    for (const mode of ['info', 'rsa', 'ec']) await ask(ours, mode, WARM_MS);
    const both = { ours, stock };
    const [perSecond, us] = ['calls/s', 'us'];
    const figures = [
      { name: 'p11 rsa x8', unit: perSecond, mode: 'rsa', count: APPLICATIONS, read: sum },
      { name: 'p11 ecdsa', unit: perSecond, mode: 'ec', read: sum },
      { name: 'p11 info', unit: perSecond, mode: 'info', read: sum },
      { name: 'p11 connect', unit: us, mode: 'connect', read: microseconds },
      { name: 'p11 login', unit: us, mode: 'login', read: microseconds },
    ];
    const results = [];
    for (const figure of figures) results.push(await compare(both, figure));
    await ask(ours, 'fill', OBJECTS.few);
    const few = microseconds(await ask(ours, 'find', ROUND_MS));
    await ask(ours, 'fill', OBJECTS.many);
    const many = microseconds(await ask(ours, 'find', ROUND_MS));
    const find = { value: many, reference: few, ratio: many / few };
    return [...results, { name: 'p11 find', unit: us, ...find }];
  } finally {
    stock.end();
  }
}
