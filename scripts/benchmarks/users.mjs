// What 1,024 users with 5,000 keys cost, beside 10 users with 50: logins, and the search of a key.
// All of it is made on one HSM, which the two others then take over: making it on three would
// stretch each password three times.
import { join } from 'node:path';

const MANY = { home: 'users-many', users: 1_024, keys: 5_000 };
const FEW = { home: 'users-few', users: 10, keys: 50 };
const HSMS = 3;
const IN_FLIGHT = 32;
const LOOK_MS = 100;
const PATIENCE_MS = 120_000;
/** of which one is looked at, by turns on both installations */
const SAMPLES = 61;
const PASSWORD = 'password-of-all';

const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];
const nameOf = (index) => `user_${index}`;
const labelOf = (index) => `key-${index}`;

/** Runs `step` for each number below `count`, many at once. */
async function each(count, step) {
  let begun = 0;
  const lane = async () => {
    while (begun < count) await step(begun++);
  };
  await Promise.all(Array.from({ length: Math.min(count, IN_FLIGHT) }, lane));
}

async function makeUsers(client, credentials, wanted) {
  const { username, password } = credentials.admin;
  const admin = await client.session({ username, password, role: 'admin' });
  const missing = wanted - (await admin.listUsers()).length;
  const options = { timeoutMs: PATIENCE_MS };
  await each(missing, async (index) => {
    const user = { username: nameOf(index), role: 'crypto-user', password: PASSWORD };
    await admin.createUser(user, options);
  });
  await admin.logout();
  return missing;
}

async function makeKeys(client, count) {
  const session = await client.session({ username: nameOf(0), password: PASSWORD });
  const spec = { type: 'aes', length: 32 };
  await each(count, (index) => session.generateKey({ spec, key: { label: labelOf(index) } }));
  await session.logout();
}

async function whole(cli, home) {
  for (;;) {
    const { cluster } = JSON.parse(cli(home, 'status', '--json'));
    const active = cluster.hsms.filter(({ state }) => state === 'ACTIVE').length;
    if (active === HSMS) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

async function install({ root, cli, connect }, { home: name, users, keys }) {
  const home = join(root, name);
  cli(home, 'up', '--detach', '--hsms', '1');
  const client = await connect(home);
  const credentials = JSON.parse(cli(home, 'credentials', '--json'));
  const made = await makeUsers(client, credentials, users);
  await makeKeys(client, keys);
  await client[Symbol.asyncDispose]();
  for (let count = 1; count < HSMS; count += 1) cli(home, 'hsm', 'add');
  await whole(cli, home);
  return { home, made, keys, client: await connect(home) };
}

async function timed(work) {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/** Both installations by turns, so that what the machine does besides is in both. */
async function compare(name, { many, few }, measure) {
  const rounds = [];
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    rounds.push({
      reference: await measure(few, sample),
      value: await measure(many, sample),
    });
  }
  const reference = median(rounds.map((round) => round.reference));
  const value = median(rounds.map((round) => round.value));
  return { name, unit: 'ms', value, reference, ratio: value / reference };
}

const loginOf = async ({ client, made }, sample) => {
  let session;
  const user = { username: nameOf(sample % made), password: PASSWORD };
  const ms = await timed(async () => {
    session = await client.session(user);
  });
  await session.logout();
  return ms;
};

const findOf = async (session, keys, sample, verbose) => {
  const label = labelOf(Math.floor((sample * keys) / SAMPLES));
  return await timed(async () => {
    const found = await session.find({ filter: { attributes: { label } }, verbose });
    if (found.total !== 1) throw new Error(`${found.total} keys are called ${label}`);
  });
};

/** @param context `root`; `cli(home, …words)`; `connect(home)` */
export async function users(context) {
  const { root, cli } = context;
  try {
    const few = await install(context, FEW);
    const many = await install(context, MANY);
    const both = { many, few };
    // the first login after an HSM's start stretches the password; each further one is quick
    for (const one of [few, many]) {
      await each(Math.min(SAMPLES, one.made), (index) => loginOf(one, index));
    }
    const figures = [await compare('login', both, loginOf)];
    for (const one of [few, many]) {
      one.session = await one.client.session({ username: nameOf(0), password: PASSWORD });
    }
    for (const [name, verbose] of [
      ['find', false],
      ['find, verbose', true],
    ]) {
      figures.push(
        await compare(name, both, ({ session, keys }, n) => findOf(session, keys, n, verbose)),
      );
    }
    for (const { client } of [few, many]) await client[Symbol.asyncDispose]();
    return figures;
  } finally {
    for (const { home } of [FEW, MANY]) cli(join(root, home), 'down', '--delete', '--yes');
  }
}
