// One command of cloudhsm-cli from its start to its end, with a login, beside the start and end of
// Node itself.
import { spawnSync } from 'node:child_process';

const CLI = new URL('../../dist/cli/cloudhsm-cli.cjs', import.meta.url).pathname;
const TIMES = 41;

const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];

function timed(words, env) {
  const begin = performance.now();
  const { status, stdout } = spawnSync(process.execPath, words, { env, encoding: 'utf8' });
  const ms = performance.now() - begin;
  if (status !== 0) throw new Error(`${words.join(' ')}: ${stdout}`);
  return ms;
}

/** A user whose password somebody chose: HSMs take their time for it, unlike for our own. */
async function makeUser(connect, credentials) {
  const user = { username: 'bench', role: 'crypto-user', password: 'password-of-bench' };
  const client = await connect();
  const { username, password } = credentials().admin;
  const admin = await client.session({ username, password, role: 'admin' });
  await admin.createUser(user);
  await client[Symbol.asyncDispose]();
  return user;
}

/** @param context `home`; `connect()`; `credentials()` */
export async function cliCommands({ home, connect, credentials }) {
  const made = await makeUser(connect, credentials);
  const figures = [];
  for (const [who, user] of [
    ['chosen password', made],
    ['own password', { ...credentials().cryptoUser, role: 'crypto-user' }],
  ]) {
    const pin = `${user.username}:${user.password}`;
    const env = { ...process.env, KEYSPAN_HOME: home, CLOUDHSM_ROLE: user.role, CLOUDHSM_PIN: pin };
    for (const command of ['user list', 'key list']) {
      const words = [CLI, ...command.split(' ')];
      const rounds = Array.from({ length: TIMES }, () => ({
        reference: timed(['-e', '0'], process.env),
        value: timed(words, env),
      }));
      const reference = median(rounds.map((round) => round.reference));
      const value = median(rounds.map((round) => round.value));
      const name = `${command}, ${who}`;
      figures.push({ name, unit: 'ms', value, reference, ratio: value / reference });
    }
  }
  return figures;
}
