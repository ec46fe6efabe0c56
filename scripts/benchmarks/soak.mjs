// A long run of mixed operations: what grows by the request, however little, shows in the end.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { deadlineIn } from '../../dist/core/deadline.js';
import { findHome } from '../../dist/core/home.js';
import { Channel } from '../../dist/hsm/channel.js';

const OPERATIONS = 300_000;
/** before them: the daemon's heap begins with room, which has to be full once */
const WARM_UP = 240_000;
const IN_FLIGHT = 64;
const GROWTH_MAX = 1.2;
const KEYS = 10;
/** what waits for a collection or a late answer has this long before anything is measured */
const SETTLE_MS = 5_000;
const PATIENCE_MS = 10_000;

const residentMiB = (pid) =>
  Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;

async function infoOf(home, cluster, { id }) {
  const deadline = deadlineIn(PATIENCE_MS);
  const path = join(home.runtime, `${id}.sock`);
  const channel = await Channel.connect({ path, hsm: id, cluster, deadline });
  const info = await channel.request({ operation: 'info', fields: {}, deadline });
  channel.close();
  return info;
}

/** Memory of the daemon and its HSMs, and what each HSM holds. */
async function measure(home, status) {
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const { pid, cluster } = status();
  const daemon = { name: 'daemon', pid, mib: residentMiB(pid) };
  const hsms = cluster.hsms.map(async (hsm) => {
    const { sessions, hotKeys, keys } = await infoOf(home, cluster.id, hsm);
    return { name: hsm.id, pid: hsm.pid, mib: residentMiB(hsm.pid), sessions, hotKeys, keys };
  });
  return [daemon, ...(await Promise.all(hsms))];
}

/** One operation of the mix: most work with keys, some change something, some must fail. */
async function step(client, keys, count) {
  const KeyId = keys[count % keys.length];
  const EncryptionContext = { count: String(count % 7) };
  const Plaintext = Buffer.alloc(1 + (count % 256), 7);
  const fails = async (code, action, params) => {
    const answered = await client.call(action, params).then(
      () => 'ok',
      (error) => error.code,
    );
    if (answered !== code) throw new Error(`${action}: ${answered} instead of ${code}`);
  };
  const encrypt = async () => {
    const { result } = await client.call('Encrypt', { KeyId, Plaintext, EncryptionContext });
    return result.CiphertextBlob;
  };
  if (count % 10_000 === 5) return void (await client.call('CreateKey', {}));
  if (count % 500 === 1) {
    const AliasName = `alias/soak-${count % 5}`;
    return void (await client.call('UpdateAlias', { AliasName, TargetKeyId: KeyId }));
  }
  switch (count % 8) {
    case 0:
      return void (await client.call('GenerateDataKey', { KeyId, KeySpec: 'AES_256' }));
    case 1:
      return void (await client.call('GenerateRandom', { NumberOfBytes: 1 + (count % 1024) }));
    case 2:
      return void (await client.call('DescribeKey', { KeyId }));
    case 3: {
      const params = {
        CiphertextBlob: keys.sealed,
        SourceEncryptionContext: keys.context,
        DestinationKeyId: KeyId,
      };
      return void (await client.call('ReEncrypt', params));
    }
    case 4: {
      const params = { CiphertextBlob: keys.sealed, EncryptionContext: keys.context };
      return void (await client.call('Decrypt', params));
    }
    case 5:
      if (count % 3 === 0) return await fails('NotFoundException', 'DescribeKey', { KeyId: 'no' });
      if (count % 3 === 1) return await fails('ValidationException', 'Encrypt', { Plaintext });
      return await fails('InvalidCiphertextException', 'Decrypt', {
        CiphertextBlob: keys.sealed,
      });
    default:
      return void (await encrypt());
  }
}

/** The clients take turns: each HSM has its share. */
async function run(clients, keys, from, to) {
  let next = from;
  const lane = async (client) => {
    while (next < to) {
      const count = next;
      next += 1;
      await step(client, keys, count);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, (_, i) => lane(clients[i % clients.length])));
}

async function prepare(client) {
  const keys = [];
  for (let i = 0; i < KEYS; i += 1) {
    keys.push((await client.call('CreateKey', {})).result.KeyMetadata.KeyId);
  }
  for (let i = 0; i < 5; i += 1) {
    await client.call('CreateAlias', { AliasName: `alias/soak-${i}`, TargetKeyId: keys[i] });
  }
  keys.context = { soak: 'yes' };
  const params = {
    KeyId: keys[0],
    Plaintext: Buffer.alloc(64, 1),
    EncryptionContext: keys.context,
  };
  keys.sealed = (await client.call('Encrypt', params)).result.CiphertextBlob;
  return keys;
}

/** What is wrong, in words; none when all is as it was. */
function complaints(before, after) {
  return after.flatMap((now, at) => {
    const then = before[at];
    const growth = now.mib / then.mib;
    const found = [];
    if (now.pid !== then.pid) found.push(`${now.name} is another process`);
    if (growth > GROWTH_MAX) found.push(`${now.name} grew by ${((growth - 1) * 100).toFixed(0)} %`);
    if (now.sessions !== then.sessions) {
      found.push(`${now.name} holds ${now.sessions} sessions, before ${then.sessions}`);
    }
    // a created key is proved, never used: it must not take the place of a hot one
    if (now.hotKeys > then.hotKeys + (now.keys - then.keys)) {
      found.push(`${now.name} keeps ${now.hotKeys} hot keys, before ${then.hotKeys}`);
    }
    return found;
  });
}

/**
 * Runs the soak on a home whose daemon is up.
 * @returns figures, a text of several lines, and whether something grew
 */
export async function soak({ root, connect, status }) {
  const home = findHome(root);
  const entries = status().cluster.hsms.map((_hsm, at) => at);
  const clients = await Promise.all(entries.map((entry) => connect(entry)));
  const keys = await prepare(clients[0]);
  await run(clients, keys, 0, WARM_UP);
  const before = await measure(home, status);
  const begin = performance.now();
  await run(clients, keys, WARM_UP, WARM_UP + OPERATIONS);
  const value = (OPERATIONS * 1000) / (performance.now() - begin);
  const after = await measure(home, status);
  await Promise.all(clients.map((client) => client[Symbol.asyncDispose]()));
  const problems = complaints(before, after);
  const line = (now, at) => {
    const { mib, sessions, hotKeys, keys: held } = before[at];
    const counts =
      sessions === undefined
        ? ''
        : `   sessions ${sessions} → ${now.sessions}   hot keys ${hotKeys} → ${now.hotKeys}` +
          `   keys ${held} → ${now.keys}`;
    return `  ${now.name.padEnd(22)} ${mib.toFixed(0)} → ${now.mib.toFixed(0)} MiB${counts}`;
  };
  const lines = [
    `soak       ${value.toFixed(0)} operations/s, ${OPERATIONS} after ${WARM_UP} of warm-up`,
    ...after.map(line),
    ...problems.map((problem) => `  FAILED: ${problem}`),
  ];
  return { name: 'soak', unit: 'operations/s', value, before, after, problems, lines };
}
