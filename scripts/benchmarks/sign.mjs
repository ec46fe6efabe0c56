// RSA-2048 signatures through one session of one client, beside two bare processes that sign with
// the module, one for each core.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const BARE = new URL('./bare.mjs', import.meta.url).pathname;
const BARE_PROCESSES = 2;
const IN_FLIGHT = 32;
const WARM_UP_MS = 6_000;
const ROUND_MS = 3_000;
const ROUNDS = 7;

const run = promisify(execFile);
const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];

/** Signatures a second of all bare processes, while all of them sign. */
async function bareRate(root, round) {
  const rates = Array.from({ length: BARE_PROCESSES }, async (_, index) => {
    const directory = join(root, `sign-${round}-${index}`);
    const { stdout } = await run(process.execPath, [BARE, 'sign', directory, String(ROUND_MS)]);
    return JSON.parse(stdout).perSecond;
  });
  return (await Promise.all(rates)).reduce((sum, rate) => sum + rate, 0);
}

async function rate(session, key, milliseconds) {
  const request = {
    key,
    mechanism: { name: 'rsa-pkcs', hash: 'sha256' },
    data: Buffer.alloc(32, 7),
  };
  const begin = performance.now();
  let count = 0;
  const lane = async () => {
    while (performance.now() - begin < milliseconds) {
      await session.sign(request);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return (count * 1_000) / (performance.now() - begin);
}

/** @param context `root`; `connect()`; `credentials()` */
export async function signatures({ root, connect, credentials }) {
  const client = await connect();
  const session = await client.session(credentials().cryptoUser);
  const { privateKey } = await session.generateKeyPair({
    spec: { type: 'rsa', bits: 2_048 },
    publicKey: { label: 'bench', attributes: { verify: true } },
    privateKey: { label: 'bench', attributes: { sign: true } },
  });
  const key = privateKey['key-reference'];
  await rate(session, key, WARM_UP_MS);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const reference = await bareRate(root, round);
    const value = await rate(session, key, ROUND_MS);
    rounds.push({ value, reference, ratio: value / reference });
  }
  await session.logout();
  await client[Symbol.asyncDispose]();
  const ratio = median(rounds.map((one) => one.ratio));
  return { name: 'sign', unit: 'signatures/s', ...rounds.find((one) => one.ratio === ratio) };
}
