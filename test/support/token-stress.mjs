/**
 * One process, two threads on one token: the worker unwraps keys to the token while the main thread
 * encrypts and proves each new key. Prints one line of JSON. Arguments: directory, unwraps,
 * encrypts.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { newMaskingKeyId } from '../../dist/core/ids.js';
import { gcmDecrypt, gcmEncrypt } from '../../dist/token/cipher.js';
import { proveKey } from '../../dist/token/mac.js';
import { foundMaskingKeys } from '../../dist/token/masking-keys.js';
import {
  copyToSession,
  createData,
  destroyObject,
  listData,
  listKeys,
} from '../../dist/token/objects.js';
import { loadModuleProfile, prepareTokenDirectory } from '../../dist/token/softhsm.js';
import { Token } from '../../dist/token/token.js';
import { generateSessionKey, unwrapToToken, wrapKey } from '../../dist/token/wrapping.js';

const BATCH = 50;
const profile = loadModuleProfile();

function unwrapAll() {
  const { directory, masking, blob, unwraps } = workerData;
  const token = Token.attach({ profile, directory });
  for (let at = 0; at < unwraps; at += 1) {
    const record = Buffer.from([1, at & 255, at >> 8]);
    // a thread's port has no origin
    // oxlint-disable-next-line unicorn/require-post-message-target-origin
    const named = { recordBytes: record, label: `key ${at}` };
    parentPort.postMessage(unwrapToToken(token, Buffer.from(masking), blob, named));
  }
  token[Symbol.dispose]();
}

function percentile(times, part) {
  return Math.round(times.sort((a, b) => a - b)[Math.floor((times.length - 1) * part)] ?? 0);
}

/** What an HSM's main thread does to the token while the worker writes keys to it. */
function disturb(token, count, handle) {
  if (count % 10 === 0) {
    const value = Buffer.alloc(500, 1);
    const data = createData(token, { application: 'stress', label: `${count}`, value });
    if (count % 20 === 0) destroyObject(token, data);
  }
  if (count % 50 === 0) listData(token, 'stress');
  if (count % 3 === 0) destroyObject(token, handle);
}

async function serve([directory, unwraps, encrypts]) {
  prepareTokenDirectory(directory);
  const token = Token.open({ profile, directory });
  const pins = { soPin: Buffer.from('officer-pin'), userPin: Buffer.from('user-pin') };
  token.initialize({ label: 'stress', ...pins });
  const { wrap } = foundMaskingKeys(token, pins, newMaskingKeyId());
  const key = generateSessionKey(token);
  const blob = wrapKey(token, wrap, key);
  const proof = proveKey(token, key, 'stress').toString('hex');
  const alone = [];
  const beside = [];
  const aad = Buffer.alloc(60, 1);
  const plaintext = Buffer.alloc(32, 2);

  const encrypt = (times) => {
    const iv = token.iv();
    const start = process.hrtime.bigint();
    const sealed = gcmEncrypt(token, key, iv, aad, plaintext);
    times.push(Number(process.hrtime.bigint() - start));
    if (times.length % 100 === 0 && !gcmDecrypt(token, key, iv, aad, sealed).equals(plaintext)) {
      throw new Error('a ciphertext opened to something else');
    }
  };

  for (let at = 0; at < 5000; at += 1) encrypt(alone);
  const started = performance.now();
  const worker = new Worker(new URL(import.meta.url), {
    workerData: { directory, masking: wrap, blob, unwraps: Number(unwraps) },
  });
  let proved = 0;
  const worked = { done: false, unwrapMs: 0 };
  const ended = new Promise((resolve, reject) => {
    worker.on('message', (bytes) => {
      const handle = Buffer.from(bytes);
      const copy = copyToSession(token, handle);
      if (proveKey(token, copy, 'stress').toString('hex') === proof) proved += 1;
      destroyObject(token, copy);
      disturb(token, proved, handle);
    });
    worker.on('error', reject);
    worker.on('exit', () => {
      worked.unwrapMs = (performance.now() - started) / Number(unwraps);
      worked.done = true;
      resolve();
    });
  });
  while (!worked.done || beside.length < Number(encrypts)) {
    for (let at = 0; at < BATCH; at += 1) encrypt(beside);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await ended;
  const listed = listKeys(token).length;
  const retired = token.sessions.retired;
  token[Symbol.dispose]();
  const nanoseconds = (times) => ({
    p50: percentile(times, 0.5),
    p99: percentile(times, 0.99),
    p999: percentile(times, 0.999),
    max: percentile(times, 1),
  });
  const figures = {
    unwrapMs: worked.unwrapMs,
    alone: nanoseconds(alone),
    beside: nanoseconds(beside),
  };
  process.stdout.write(
    `${JSON.stringify({ proved, listed, retired, encrypted: beside.length, figures })}\n`,
  );
}

if (isMainThread) await serve(process.argv.slice(2));
else unwrapAll();
