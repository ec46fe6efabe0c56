// What 10,000 keys cost: throughput with keys drawn uniformly, beside 10 keys of the same cluster,
// and the start of their home, beside that of a home with 10. Making them takes minutes.
import { join } from 'node:path';

const KEYS = 10_000;
const FEW = 10;
const IN_FLIGHT = 64;
const WARM_UP_MS = 3_000;
const ROUND_MS = 4_000;
const ROUNDS = 7;
const STARTS = 5;

const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];

/** Runs `step` with so many in flight until `more` says no. */
async function lanes(more, step) {
  const lane = async () => {
    while (more()) await step();
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
}

async function makeKeys(client, count) {
  const keys = [];
  let begun = 0;
  await lanes(
    () => (begun += 1) <= count,
    async () => keys.push((await client.call('CreateKey', {})).result.KeyMetadata.KeyId),
  );
  return keys;
}

/** Encrypts a second, each with a key drawn from these. */
async function rate(client, keys, milliseconds) {
  const Plaintext = Buffer.alloc(32, 7);
  const begin = performance.now();
  let count = 0;
  await lanes(
    () => performance.now() - begin < milliseconds,
    async () => {
      const KeyId = keys[Math.floor(Math.random() * keys.length)];
      await client.call('Encrypt', { KeyId, Plaintext });
      count += 1;
    },
  );
  return (count * 1_000) / (performance.now() - begin);
}

async function throughput(client, keys) {
  const few = keys.slice(0, FEW);
  let at = 0;
  const Plaintext = Buffer.alloc(32, 7);
  await lanes(
    () => at < keys.length,
    async () => client.call('Encrypt', { KeyId: keys[at++], Plaintext }),
  );
  await rate(client, keys, WARM_UP_MS);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const reference = await rate(client, few, ROUND_MS);
    const value = await rate(client, keys, ROUND_MS);
    rounds.push({ value, reference, ratio: value / reference });
  }
  const ratio = median(rounds.map((round) => round.ratio));
  const round = rounds.find((one) => one.ratio === ratio);
  return { name: `${KEYS} keys`, unit: 'operations/s', ...round };
}

/** Starts the two homes in turn, each alone. */
function starts(cli, { many, few }) {
  const startOf = (home) => {
    const begin = performance.now();
    cli(home, 'up', '--detach');
    const ms = performance.now() - begin;
    cli(home, 'down');
    return ms;
  };
  const rounds = Array.from({ length: STARTS }, () => {
    const reference = startOf(few);
    const value = startOf(many);
    return { value, reference, ratio: value / reference, above: value - reference };
  });
  const above = median(rounds.map((round) => round.above));
  const round = rounds.find((one) => one.above === above);
  return { name: `up, ${KEYS}`, unit: 'ms', ...round };
}

/** @param context `root`; `cli(home, …words)`; `connect(home)` */
export async function scale({ root, cli, connect }) {
  const homes = { many: join(root, 'many'), few: join(root, 'few') };
  try {
    cli(homes.few, 'up', '--detach');
    const small = await connect(homes.few);
    await makeKeys(small, FEW);
    await small[Symbol.asyncDispose]();
    cli(homes.few, 'down');
    cli(homes.many, 'up', '--detach');
    const client = await connect(homes.many);
    const keys = await makeKeys(client, KEYS);
    const figures = [await throughput(client, keys)];
    await client[Symbol.asyncDispose]();
    cli(homes.many, 'down');
    return [...figures, starts(cli, homes)];
  } finally {
    for (const home of Object.values(homes)) cli(home, 'down', '--delete', '--yes');
  }
}
