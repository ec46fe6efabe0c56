// Encrypt over HTTP as AWS's SDKs do it: signed with SigV4, decided by policies, audited; beside a
// bare server of node:http that answers the same bytes to the same requests.
import { createHash, createHmac } from 'node:crypto';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

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

/**
 * @param requests the bytes of one, or of several that are sent in turn
 * @returns `{perSecond, medianMs}`
 */
export async function load(port, requests, { connections = CONNECTIONS, milliseconds = ROUND_MS }) {
  const words = [LOAD, String(port), String(connections), String(milliseconds)];
  const child = spawn(process.execPath, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify([requests].flat().map((one) => one.toString('base64'))));
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

const ACCOUNT = '123456789012';
const statement = (Action, more = {}) => ({ Effect: 'Allow', Action, Resource: '*', ...more });
const documentOf = (...Statement) => ({ Version: '2012-10-17', Statement });
const user = (name) => `arn:aws:iam::${ACCOUNT}:user/${name}`;

const STATEMENTS = 100;
const POLICY_BYTES = 32_768;
const GRANTS = 1_000;
const MANAGED = 10;
const INLINE = 10;

/**
 * A key policy as large as it may be: statements for other users, and in every fifth place one
 * about everybody, under a condition that is looked at for each request.
 */
function largePolicy() {
  const texts = (at, count) => Array.from({ length: count }, (_, n) => `tenant-${at}-${n}`);
  const others = (count) =>
    Array.from({ length: STATEMENTS - 1 }, (_, at) =>
      at % 5 === 0
        ? statement(['kms:Encrypt', 'kms:Decrypt'], {
            Sid: `Deny${at}`,
            Effect: 'Deny',
            Principal: { AWS: '*' },
            Condition: { StringEquals: { 'kms:EncryptionContext:tenant': texts(at, count) } },
          })
        : statement(['kms:Encrypt', 'kms:Decrypt', 'kms:GenerateDataKey*', 'kms:DescribeKey'], {
            Sid: `Allow${at}`,
            Principal: { AWS: user(`other-${at}`) },
            Condition: { StringEquals: { 'kms:EncryptionContext:team': `team-${at}` } },
          }),
    );
  const root = statement('kms:*', {
    Sid: 'Root',
    Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` },
  });
  const whole = (count) => JSON.stringify(documentOf(root, ...others(count)));
  let count = 1;
  while (Buffer.byteLength(whole(count + 1)) <= POLICY_BYTES) count += 1;
  return whole(count);
}

/** A seed of two users who may encrypt: one by a single policy, one by the last of twenty. */
function usersSeed() {
  const may = documentOf(statement(['kms:Encrypt', 'kms:Decrypt', 'kms:DescribeKey']));
  const other = (at) =>
    documentOf(
      statement(['s3:GetObject', 'sqs:*'], { Resource: `arn:aws:s3:::bucket-${at}/*` }),
      statement('kms:Decrypt', { Resource: `arn:aws:kms:*:${ACCOUNT}:key/${at}` }),
    );
  const count = (length) => Array.from({ length }, (_, at) => at);
  const managed = count(MANAGED).map((at) => ({ name: `managed-${at}`, policy: other(at) }));
  const inline = count(INLINE).map((at) => [
    `inline-${at}`,
    at === INLINE - 1 ? may : documentOf(statement(`sns:Publish${at}`)),
  ]);
  const accessKeys = (id) => [{ id, secret: `${id}-of-the-benchmark` }];
  const busy = {
    name: 'busy',
    attached: managed.map(({ name }) => `arn:aws:iam::${ACCOUNT}:policy/${name}`),
    policies: Object.fromEntries(inline),
    accessKeys: accessKeys('AKIDBENCHBUSY'),
  };
  const plain = { name: 'plain', policies: { may }, accessKeys: accessKeys('AKIDBENCHPLAIN') };
  return { accounts: { [ACCOUNT]: { policies: managed, users: [busy, plain] } } };
}

/** Calls `step` with 0 to count - 1, 32 at a time. */
async function each(count, step) {
  let at = 0;
  const lane = async () => {
    while (at < count) await step(at++);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
}

/**
 * A user with twenty policies and a key with a large policy and many grants, beside a user with one
 * policy and a key with the default one.
 * @param context `{root, cli(...words), env()}`
 */
export async function policies({ root, cli, env }) {
  const seed = join(root, 'policies.json');
  writeFileSync(seed, JSON.stringify(usersSeed()));
  cli('up', '--detach', '--seed', seed);
  const door = doorOf(env());
  const as = (accessKeyId) =>
    new SignedDoor({
      url: door.url,
      region: door.region,
      accessKeyId,
      secretAccessKey: `${accessKeyId}-of-the-benchmark`,
    });
  const large = await newKmsKey(door, { Policy: largePolicy() });
  await each(GRANTS, (at) =>
    door.call('CreateGrant', {
      KeyId: large,
      GranteePrincipal: user(`grantee-${at}`),
      Operations: ['Encrypt', 'Decrypt'],
      Constraints: { EncryptionContextSubset: { tenant: `tenant-${at}` } },
    }),
  );
  const Plaintext = Buffer.alloc(32, 7).toString('base64');
  const small = await newKmsKey(door);
  const busy = () => as('AKIDBENCHBUSY').request('Encrypt', { KeyId: large, Plaintext });
  const plain = () => as('AKIDBENCHPLAIN').request('Encrypt', { KeyId: small, Plaintext });
  for (const request of [busy, plain]) {
    await load(door.port, request(), { milliseconds: WARM_MS });
  }
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const reference = (await load(door.port, plain(), {})).perSecond;
    const value = (await load(door.port, busy(), {})).perSecond;
    rounds.push({ value, reference, ratio: value / reference });
  }
  const ratio = median(rounds.map((one) => one.ratio));
  return { name: 'policies', unit: 'requests/s', ...rounds.find((one) => one.ratio === ratio) };
}

const MANY = 10_000;
const FEW = 10;
const UP_SECONDS = 600;

const keyId = (at) => `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`;
const aliasName = (at) => `alias/key-${String(at).padStart(5, '0')}`;

/** A home with so many keys, each with an alias. @returns its door */
function homeOf(count, { root, cli }) {
  const home = join(root, `keys-${count}`);
  const seed = join(root, `keys-${count}.json`);
  const keys = Array.from({ length: count }, (_, at) => ({
    id: keyId(at),
    aliases: [aliasName(at)],
  }));
  writeFileSync(seed, JSON.stringify({ keys }));
  const timeout = ['--timeout', String(UP_SECONDS)];
  cli(home, 'up', '--detach', '--hsms', '1', '--port', '0', '--seed', seed, ...timeout);
  return { home, door: doorOf(JSON.parse(cli(home, 'env', '--json'))) };
}

/** The same requests, about ten keys that lie wide apart, in a home of so many. */
function requestsTo(door, count) {
  const places = Array.from({ length: FEW }, (_, at) => Math.floor((at * count) / FEW));
  const Plaintext = Buffer.alloc(32, 7).toString('base64');
  return {
    // a page of ten in both homes: as much is answered, wherever the page begins
    'keys list': [door.request('ListKeys', { Limit: FEW })],
    'keys describe': places.map((at) => door.request('DescribeKey', { KeyId: keyId(at) })),
    'keys by alias': places.map((at) =>
      door.request('Encrypt', { KeyId: aliasName(at), Plaintext }),
    ),
  };
}

/**
 * 10,000 keys and aliases beside ten of each: the median latency of one request in flight.
 * @param context `{root, cli(home, ...words)}`
 */
export async function manyKeys({ root, cli }) {
  const [few, many] = [FEW, MANY].map((count) => homeOf(count, { root, cli }));
  const alone = { connections: 1, milliseconds: ROUND_MS / 2 };
  const rounds = new Map();
  // the first round warms up
  for (let round = 0; round <= ROUNDS; round += 1) {
    const references = requestsTo(few.door, FEW);
    const values = requestsTo(many.door, MANY);
    for (const name of Object.keys(values)) {
      const reference = (await load(few.door.port, references[name], alone)).medianMs;
      const value = (await load(many.door.port, values[name], alone)).medianMs;
      const one = { value, reference, ratio: value / reference };
      if (round > 0) rounds.set(name, [...(rounds.get(name) ?? []), one]);
    }
  }
  for (const { home } of [few, many]) cli(home, 'down', '--delete');
  return [...rounds].map(([name, all]) => {
    const ratio = median(all.map((one) => one.ratio));
    return { name, unit: 'ms', ...all.find((one) => one.ratio === ratio) };
  });
}
