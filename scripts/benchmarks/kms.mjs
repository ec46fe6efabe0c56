// Encrypt over HTTP as AWS's SDKs do it: signed with SigV4, decided by policies, audited; beside a
// bare server of node:http that answers the same bytes to the same requests.
import { createHash, createHmac } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';

const LOAD = new URL('./http-load.mjs', import.meta.url).pathname;
const BARE = new URL('./http-bare.mjs', import.meta.url).pathname;
const CONNECTIONS = 32;
const ROUNDS = 5;
const ROUND_MS = 2_000;
const WARM_MS = 4_000;

const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];
const sha256 = (data) => createHash('sha256').update(data).digest('hex');
const hmac = (key, data) => createHmac('sha256', key).update(data).digest();

/** A client of one installation's AWS door, which signs by itself (AWS Signature Version 4). */
export class SignedDoor {
  constructor({ url, accessKeyId, secretAccessKey, region }) {
    Object.assign(this, { url: new URL(url), accessKeyId, secretAccessKey, region });
  }

  get port() {
    return Number(this.url.port);
  }

  #headers(action, body) {
    const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const scope = `${date.slice(0, 8)}/${this.region}/kms/aws4_request`;
    const headers = {
      'content-type': 'application/x-amz-json-1.1',
      host: this.url.host,
      'x-amz-date': date,
      'x-amz-target': `TrentService.${action}`,
    };
    const names = Object.keys(headers).join(';');
    const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}\n`);
    const canonical = ['POST', '/', '', lines.join(''), names, sha256(body)].join('\n');
    const text = ['AWS4-HMAC-SHA256', date, scope, sha256(canonical)].join('\n');
    const key = scope.split('/').reduce(hmac, `AWS4${this.secretAccessKey}`);
    const credential = `AWS4-HMAC-SHA256 Credential=${this.accessKeyId}/${scope}`;
    const signature = hmac(key, text).toString('hex');
    const authorization = `${credential}, SignedHeaders=${names}, Signature=${signature}`;
    return { ...headers, authorization };
  }

  /** The bytes of one request. */
  request(action, params) {
    const body = Buffer.from(JSON.stringify(params));
    const headers = { ...this.#headers(action, body), 'content-length': body.length };
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    return Buffer.concat([Buffer.from(`POST / HTTP/1.1\r\n${lines.join('')}\r\n`), body]);
  }

  /** @returns the text of the answer. @throws when it is an error */
  async call(action, params) {
    const body = JSON.stringify(params);
    const { host: _, ...headers } = this.#headers(action, body);
    const answer = await fetch(this.url, { method: 'POST', headers, body });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${action}: ${text}`);
    return text;
  }
}

/** @returns `{perSecond, medianMs}` */
export async function load(port, request, { connections = CONNECTIONS, milliseconds = ROUND_MS }) {
  const words = [LOAD, String(port), String(connections), String(milliseconds)];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(request);
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
  });
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error('the load failed');
  return JSON.parse(text);
}

async function bareServer(body) {
  const child = spawn(process.execPath, [BARE], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(body);
  const [port] = await once(child.stdout, 'data');
  return { port: Number(String(port)), end: () => child.kill() };
}

/** The door of an installation whose `env` this is. */
export const doorOf = (env) =>
  new SignedDoor({
    url: env.AWS_ENDPOINT_URL,
    accessKeyId: env.AWS_ACCESS_KEY_ID,
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    region: env.AWS_REGION,
  });

export const newKmsKey = async (door, params = {}) =>
  JSON.parse(await door.call('CreateKey', params)).KeyMetadata.KeyId;

/** @param context `env()`: what `keyspan env --json` says */
export async function http({ env }) {
  const door = doorOf(env());
  const KeyId = await newKmsKey(door);
  const params = { KeyId, Plaintext: Buffer.alloc(32, 7).toString('base64') };
  const bare = await bareServer(await door.call('Encrypt', params));
  try {
    await load(door.port, door.request('Encrypt', params), { milliseconds: WARM_MS });
    const rounds = [];
    const single = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const request = door.request('Encrypt', params);
      const reference = (await load(bare.port, request, {})).perSecond;
      const value = (await load(door.port, request, {})).perSecond;
      rounds.push({ value, reference, ratio: value / reference });
      const alone = { connections: 1, milliseconds: ROUND_MS / 2 };
      const under = (await load(bare.port, request, alone)).medianMs;
      const ours = (await load(door.port, request, alone)).medianMs;
      const above = ours - under;
      single.push({ value: ours, reference: under, ratio: ours / under, above });
    }
    const ratio = median(rounds.map((one) => one.ratio));
    const above = median(single.map((one) => one.above));
    return [
      { name: 'http', unit: 'requests/s', ...rounds.find((one) => one.ratio === ratio) },
      { name: 'http latency', unit: 'ms', ...single.find((one) => one.above === above) },
    ];
  } finally {
    bare.end();
  }
}
