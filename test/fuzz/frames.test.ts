import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { deadlineIn, within } from '../../src/core/deadline.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import { encodeFrame, FrameReader } from '../../src/protocol/frame-codec.js';
import {
  FRAME_VERSION,
  HSM_OPERATIONS,
  RECORD_VERSION,
  type HsmOperation,
} from '../../src/protocol/hsm-frames.js';
import { cryptoFields, makeCryptoCorpus, type CryptoCorpus } from '../support/crypto-frames.js';
import { HsmHost, PASSWORDS, type FrameClient, type TestHsm } from '../support/hsm-host.js';
import {
  Dice,
  flippedBytes,
  fuzzFrames,
  fuzzSeed,
  mutatedBytes,
  mutatedMembers,
  nested,
  strangeValue,
  type Members,
} from '../support/mutation.js';

const FRAMES = fuzzFrames();
/** of them as bytes that are no frames, or frames that are no requests: they end connections */
const RAW = FRAMES / 10;
const WARM_UP = FRAMES / 4;
const IN_FLIGHT = 64;
const CONNECTIONS = 4;
const PATIENCE_MS = 50_000;
const EPOCH = 5;
/** `found`, `join` and their like: a member refuses them in any form */
const NEWCOMERS = ['identity', 'found', 'join-offer', 'join'];

interface Corpus {
  /** keys of alice and of bob, on the token */
  readonly keys: readonly string[];
  readonly masked: Uint8Array;
  /** a changed record of the first key */
  readonly record: Uint8Array;
  readonly sealed: { readonly iv: Uint8Array; readonly data: Uint8Array };
  readonly crypto: CryptoCorpus;
}

type Role = 'admin' | 'appliance' | 'alice' | 'bob';
type Sessions = Readonly<Record<Role, number>>;
const NOBODY: Sessions = { admin: 0, appliance: 0, alice: 0, bob: 0 };
const ROLES: readonly Role[] = ['admin', 'appliance', 'alice', 'bob'];

/** How often each operation is asked for: those that hash, or write to the token, seldom. */
const WEIGHTS: Readonly<Partial<Record<HsmOperation, number>>> = {
  login: 0.03,
  activate: 0.1,
  'user-create': 0.1,
  'user-delete': 0.1,
  'user-change-password': 0.03,
  'user-change-mfa': 0.1,
  'quorum-set': 0.1,
  insert: 0.3,
  'fault-add': 0.2,
  'fault-list': 0.2,
  'fault-clear': 0.2,
  ...Object.fromEntries(NEWCOMERS.map((name) => [name, 0.1])),
};
const OPERATIONS = (Object.keys(HSM_OPERATIONS) as HsmOperation[]).map(
  (operation) => [operation, WEIGHTS[operation] ?? 1] as const,
);

/** Fields that are right in form. Nothing here names what the corpus needs to be left alone. */
function rightFields(dice: Dice, operation: HsmOperation, corpus: Corpus): Members {
  const [keyId, toKeyId] = [dice.pick(corpus.keys), dice.pick(corpus.keys)];
  const aad = Buffer.from('aad');
  const data = dice.bytes(1 + dice.below(64));
  const { iv, data: sealed } = corpus.sealed;
  const page = { after: dice.chance(0.5) ? '' : keyId, limit: 1 + dice.below(2_000) };
  const username = `u${dice.below(4)}`;
  const user = { username, role: 'crypto-user', password: PASSWORDS.user };
  const other = newHsmKeyId();
  const signed = { token: dice.bytes(245), signature: dice.bytes(256) };
  const rule = { operation: '*', when: 'before', nth: 1, times: 1, action: { do: 'drop' } };
  const pages = { certificates: ['pem'], root: 'pem', maskingKeyId: 'mk-0' };
  const made: Readonly<Partial<Record<HsmOperation, Members>>> = {
    'fault-add': { rule },
    found: { ...pages, appUser: user, admin: user },
    join: { ...pages, wrapped: { wrap: data, seal: data, auth: data }, users: data },
    handover: { hsm: 'hsm-0', ...pages, publicKey: dice.bytes(64), signature: dice.bytes(32) },
    backup: { certificates: ['pem'] },
    'backup-keys': { keyIds: [keyId, other] },
    login: { username, password: dice.pick([PASSWORDS.user, 'wrong-password']) },
    activate: { password: PASSWORDS.user },
    'user-create': user,
    'user-delete': { username, role: 'crypto-user' },
    'user-change-password': user,
    'mfa-challenge': { username },
    'user-change-mfa': { username, role: 'crypto-user', publicKey: dice.bytes(294) },
    'user-change-quorum': { publicKey: dice.bytes(294), proof: signed },
    'user-extract': { username, role: 'crypto-user' },
    'user-insert': { sealed: dice.bytes(200) },
    'token-create': { service: dice.pick(['user', 'key-usage', 'registration']) },
    'token-delete': { scope: dice.pick(['user', 'all']) },
    'quorum-set': { service: 'quorum', value: 1, approval: { data, signatures: [] } },
    generate: { keyId: other, kind: dice.chance(0.002) ? 'cluster-key' : 'aes-256', label: 'x' },
    import: { keyId: other, material: dice.bytes(32), label: 'x' },
    insert: { masked: dice.chance(0.1) ? corpus.masked : flippedBytes(dice, corpus.masked) },
    extract: { keyId },
    'record-prepare': { keyId, change: { share: ['bob'], unshare: [username], label: 'y' } },
    'record-apply': {
      masked: dice.chance(0.1) ? corpus.record : flippedBytes(dice, corpus.record),
    },
    'record-extract': { keyId },
    find: page,
    destroy: { keyId: other },
    discard: { keyId: other },
    inventory: page,
    'cluster-key': { keyId },
    random: { length: 1 + dice.below(1_024) },
    encrypt: { keyId, aad, data },
    decrypt: { keyId, iv, aad, data: dice.chance(0.5) ? sealed : flippedBytes(dice, sealed) },
    reencrypt: { keyId, iv, aad, data: sealed, toKeyId, toAad: data },
    'data-key': { keyId, aad, length: 32, withPlaintext: dice.chance(0.5) },
  };
  return made[operation] ?? keyFields(dice, operation, { corpus, keyId, other }) ?? {};
}

/** As `rightFields`, of what is about keys as their users see them. */
function keyFields(
  dice: Dice,
  operation: HsmOperation,
  of: { corpus: Corpus; keyId: string; other: string },
): Members | undefined {
  const { corpus, keyId, other } = of;
  const given = { [dice.pick(['sign', 'wrap', 'trusted', 'another'])]: dice.chance(0.5) };
  const key = { keyId: other, reference: '0x0000000000000001', label: 'x', given };
  const signing = { name: dice.pick(['rsa-pkcs', 'rsa-pkcs-pss', 'ecdsa', 'ed25519']) };
  const wrapping = { name: dice.pick(['aes-gcm', 'aes-no-pad', 'rsa-aes', 'rsa-pkcs']) };
  const signed = { keyId, mechanism: signing, data: dice.bytes(32), digested: dice.chance(0.5) };
  const type = dice.pick(['aes', 'generic-secret']);
  const made: { readonly [Op in HsmOperation]?: Members } = {
    'key-generate': { key, spec: { type, length: 32 }, isSession: dice.chance(0.01) },
    'key-pair-generate': {
      privateKey: key,
      publicKey: key,
      spec: { type: 'ec', curve: dice.pick(['secp256r1', 'ed25519']) },
    },
    'key-import': { key, type: 'ec', der: dice.bytes(91) },
    'key-unwrap': {
      key,
      wrappingId: keyId,
      mechanism: wrapping,
      data: dice.bytes(64),
      kind: dice.pick(['aes', 'ec-private', 'rsa-private', 'generic-secret']),
    },
    'key-keep': { fromId: keyId, keyId: other },
    'key-wrap': { payloadId: keyId, wrappingId: keyId, mechanism: wrapping },
    'key-find': {
      filter: { attributes: { [dice.pick(['label', 'sign', 'modulus'])]: 'x' } },
      limit: 1 + dice.below(100),
      verbose: dice.chance(0.5),
    },
    'key-destroyable': { keyId },
    'key-export': { keyId },
    'key-acceptable': {
      masked: dice.chance(0.1) ? corpus.masked : flippedBytes(dice, corpus.masked),
    },
    'key-drop': { keyId: other },
    'key-sign': signed,
    'key-verify': { ...signed, signature: dice.bytes(64) },
  };
  return made[operation] ?? cryptoFields(dice, operation, { ...corpus.crypto, key });
}

type Frame = [number, unknown, unknown, unknown, unknown, unknown, ...unknown[]];

/** A request of a role that may ask, mostly, wrong somewhere between its fields and its head. */
function mutant(dice: Dice, id: number, corpus: Corpus, sessions: Sessions): Frame {
  const operation = dice.weighed(OPERATIONS);
  const fields = rightFields(dice, operation, corpus);
  const role = dice.chance(0.8) ? roleFor(dice, operation) : dice.pick(ROLES);
  const session = operation === 'logout' ? 0 : sessions[role];
  const frame: Frame = [id, PATIENCE_MS, EPOCH, operation, session, fields];
  const wrong = (): Members => mutatedMembers(dice, fields);
  dice.weighed<() => void>([
    [() => void (frame[5] = wrong()), 30],
    [() => void (frame[5] = mutatedMembers(dice, wrong())), 5],
    [() => void (frame[5] = dice.chance(0.5) ? strangeValue(dice) : nested(dice.below(28))), 2],
    // the fields are right and their values are of no use: flipped ciphertexts, other keys
    [() => undefined, 50],
    [() => void (frame[4] = dice.pick([0, -1, 2 ** 52, ...Object.values(sessions)])), 6],
    [() => void (frame[3] = otherOperation(dice)), 3],
    [() => void (frame[2] = dice.pick([-1, 0, 1, EPOCH - 1])), 3],
    [() => void (frame[1] = dice.pick([0, -1, 0.5, Number.NaN, 1e308])), 3],
    [() => void frame.push(dice.chance(0.5) ? 'request-id' : 'r'.repeat(64)), 3],
  ])();
  // the sessions of the corpus must live
  if (frame[3] === 'logout') frame[4] = 0;
  return frame;
}

function roleFor(dice: Dice, operation: HsmOperation): Role {
  const { roles } = HSM_OPERATIONS[operation];
  if (roles === 'anyone') return dice.pick(ROLES);
  const may = roles as readonly string[];
  if (may.includes('crypto-user')) return dice.pick(['alice', 'bob']);
  return may.includes('appliance-user') ? 'appliance' : 'admin';
}

const otherOperation = (dice: Dice): string =>
  dice.pick(['', '__proto__', 'constructor', 'toString', 'x'.repeat(9_000), 'encrypt', 'random']);

interface Tally {
  answers: number;
  reached: number;
  /** frames that ended their connection */
  ended: number;
  readonly codes: Map<string, number>;
  readonly failures: string[];
}

/** A connection that floods an HSM with requests and looks at what comes back. */
class Flood {
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #tally: Tally;
  readonly #waiting = new Map<number, Frame | undefined>();
  readonly broken: string[] = [];
  #wake: () => void = () => undefined;
  #isClosed = false;
  /** far from the ids that a changed bit makes of a mutant's 0 */
  #nextId = 1_000_000;
  /** logins among the mutants: what a logout may end */
  readonly #spare: number[] = [];

  constructor(path: string, hsm: TestHsm, tally: Tally) {
    this.#tally = tally;
    this.#socket = createConnection(path);
    this.#socket.on('error', () => undefined);
    this.#socket.on('data', (chunk) => {
      for (const frame of this.#reader.push(chunk)) this.#take(frame);
      this.#wake();
    });
    this.#socket.on('close', () => {
      this.#isClosed = true;
      this.#wake();
    });
    const { hsm: id, cluster } = hsm.launch;
    const versions = { hello: FRAME_VERSION, recordVersion: RECORD_VERSION };
    this.#socket.write(encodeFrame({ ...versions, hsm: id, cluster }));
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  #take(answer: unknown): void {
    if (!Array.isArray(answer)) return;
    const [id, failed, code] = answer as [number, number, unknown];
    const frame = this.#waiting.get(id);
    const isKnown = this.#waiting.delete(id);
    if (isKnown && !frame) return;
    if (!isKnown) this.broken.push(`an answer to nothing: ${id}`);
    const named = failed === 0 ? 'ok' : String(code);
    this.#tally.answers += 1;
    this.#tally.codes.set(named, (this.#tally.codes.get(named) ?? 0) + 1);
    if (named !== 'HsmBadFrame') this.#tally.reached += 1;
    if (frame?.[3] === 'login' && failed === 0) {
      this.#spare.push((code as { session: number }).session);
    }
    if (named === 'HsmDeviceError') {
      this.#tally.failures.push(JSON.stringify([answer, frame]).slice(0, 900));
    }
  }

  async login(username: string, password: string): Promise<number> {
    const id = this.#nextId;
    this.#nextId += 1;
    const take = new Promise<number>((resolve) => {
      const reader = new FrameReader();
      const listen = (chunk: Buffer): void => {
        for (const frame of reader.push(chunk)) {
          if (!Array.isArray(frame) || frame[0] !== id) continue;
          this.#socket.off('data', listen);
          resolve((frame[2] as { session: number }).session);
        }
      };
      this.#socket.on('data', listen);
    });
    this.#waiting.set(id, undefined);
    this.#socket.write(encodeFrame([id, PATIENCE_MS, 1, 'login', 0, { username, password }]));
    return await within(take, deadlineIn(PATIENCE_MS), 'a login');
  }

  /** Sends `amount` mutants, with a bound on those in flight, and waits for all answers. */
  async run(dice: Dice, amount: number, corpus: Corpus, sessions: Sessions): Promise<void> {
    for (let i = 0; i < amount; i += 1) {
      const frame = mutant(dice, this.#nextId, corpus, sessions);
      if (frame[3] === 'logout') frame[4] = this.#spare.pop() ?? 0;
      this.#nextId += 1;
      this.#waiting.set(frame[0], frame);
      this.#socket.write(encodeFrame(frame));
      await this.#below(IN_FLIGHT);
    }
    await this.#below(1);
    if (this.#isClosed) this.broken.push('closed');
  }

  async #below(bound: number): Promise<void> {
    while (this.#waiting.size >= bound && !this.#isClosed) {
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      const oldest = String([...this.#waiting.values()][0]?.[3]);
      await within(woken, deadlineIn(PATIENCE_MS), `an answer to ${oldest}`);
    }
  }

  /** Sends bytes that may be anything, and then a request: answered, or the connection ends. */
  async probe(bytes: Uint8Array): Promise<void> {
    this.#socket.write(bytes);
    const id = this.#nextId;
    this.#nextId += 1;
    this.#waiting.set(id, undefined);
    this.#socket.write(encodeFrame([id, PATIENCE_MS, 1, 'info', 0, {}]));
    // what the mutant was answered has an id of its own
    while (this.#waiting.has(id) && !this.#isClosed) await this.#below(this.#waiting.size);
    this.broken.length = 0;
    if (this.#isClosed) this.#tally.ended += 1;
  }

  async end(): Promise<void> {
    if (this.#isClosed) return;
    const closed = once(this.#socket, 'close');
    this.#socket.destroy();
    await closed;
  }
}

/** The length is right and the body is not: a wrong length is a peer that stopped half-way. */
function rawMutant(dice: Dice, corpus: Corpus): Buffer {
  const frame = mutant(dice, 0, corpus, NOBODY);
  const item = dice.weighed<() => unknown>([
    [() => frame.slice(0, dice.below(6)), 1],
    [() => [...frame, strangeValue(dice), 1], 1],
    [() => frame.map((part, at) => (at < 5 && dice.chance(0.3) ? strangeValue(dice) : part)), 2],
    [() => strangeValue(dice), 1],
    [() => frame, 5],
  ])();
  const right = encodeFrame(item).subarray(4);
  const body = dice.chance(0.9) ? mutatedBytes(dice, right) : dice.bytes(dice.below(60));
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32BE(body.length);
  return Buffer.concat([prefix, body]);
}

async function floodWithBytes(
  dice: Dice,
  amount: number,
  corpus: Corpus,
  open: () => Flood,
): Promise<void> {
  let flood = open();
  for (let i = 0; i < amount; i += 1) {
    await flood.probe(rawMutant(dice, corpus));
    if (flood.isClosed) flood = open();
  }
  await flood.end();
}

const residentMiB = (pid: number): number => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN) / 1_024;
};

async function loginAll(flood: Flood): Promise<Sessions> {
  return {
    admin: await flood.login('admin', PASSWORDS.admin),
    appliance: await flood.login('app_user', PASSWORDS.appUser),
    alice: await flood.login('alice', PASSWORDS.user),
    bob: await flood.login('bob', PASSWORDS.user),
  };
}

const KEPT = Buffer.from('kept');
const AAD = Buffer.from('aad');

async function makeCorpus(client: FrameClient, admin: number): Promise<Corpus> {
  const as = { session: admin, epoch: EPOCH };
  const keys: string[] = [];
  let masked: Uint8Array = KEPT;
  for (const username of ['bob', 'alice']) {
    const user = { username, role: 'crypto-user', password: PASSWORDS.user };
    await client.ask('user-create', user, as);
    const session = await client.login(username, PASSWORDS.user);
    for (let i = 0; i < 4; i += 1) {
      const fields = { keyId: newHsmKeyId(), kind: 'aes-256', label: username };
      masked = (await client.ask<'generate'>('generate', fields, { session })).masked;
      await client.ask('insert', { masked }, { session, epoch: EPOCH });
      keys.unshift(fields.keyId);
    }
    await client.ask('logout', {}, { session });
  }
  const session = await client.login('alice', PASSWORDS.user);
  const crypto = await makeCryptoCorpus(client, { session, epoch: EPOCH });
  const fields = { keyId: keys[0], aad: AAD, data: KEPT };
  const sealed = await client.ask<'encrypt'>('encrypt', fields, { session });
  const change = { keyId: keys[0], change: { label: 'changed' } };
  const { masked: record } = await client.ask<'record-prepare'>('record-prepare', change, {
    session,
  });
  await client.ask('logout', {}, { session });
  return { keys, masked, record, sealed, crypto };
}

/** All keys of the corpus prove themselves, no other is left, and the ciphertext opens. */
async function everythingHolds(client: FrameClient, corpus: Corpus): Promise<void> {
  const session = await client.login('app_user', PASSWORDS.appUser);
  const page = { after: '', limit: 2_000 };
  const { items } = await client.ask<'inventory'>('inventory', page, { session });
  const all = [...corpus.keys, ...corpus.crypto.keyIds].sort();
  expect(items.map(({ id }) => String(id)).sort()).toEqual(all);
  for (const { proof } of items) expect(proof).toHaveLength(16);
  const alice = await client.login('alice', PASSWORDS.user);
  const fields = { keyId: corpus.keys[0], aad: AAD, ...corpus.sealed };
  const { data } = await client.ask<'decrypt'>('decrypt', fields, { session: alice });
  expect(Buffer.from(data)).toEqual(KEPT);
  for (const each of [session, alice]) await client.ask('logout', {}, { session: each });
}

test('no frame brings an HSM down', { timeout: 300_000 }, async () => {
  const seed = fuzzSeed();
  await using host = await HsmHost.open();
  const hsm = await host.newHsm().start();
  const client = await hsm.connect();
  const corpus = await makeCorpus(client, await host.found(hsm, client));
  const pid = hsm.process?.pid ?? 0;
  const info = () => client.ask<'info'>('info', {});
  const idle = await info();
  const tally: Tally = { answers: 0, reached: 0, ended: 0, codes: new Map(), failures: [] };
  const open = (): Flood => new Flood(hsm.launch.socket, hsm, tally);
  const floods = Array.from({ length: CONNECTIONS }, open);
  const sessions = await Promise.all(floods.map(loginAll));
  const dice = floods.map((_, i) => new Dice(seed + i));
  const run = async (amount: number): Promise<void> => {
    const each = Math.ceil(amount / CONNECTIONS);
    await Promise.all(
      floods.map((flood, i) =>
        flood.run(dice[i] ?? new Dice(seed), each, corpus, sessions[i] ?? NOBODY),
      ),
    );
  };
  await run(WARM_UP);
  const before = residentMiB(pid);
  await run(FRAMES - RAW - WARM_UP);
  const byBytes = dice.map((each) => floodWithBytes(each, RAW / CONNECTIONS, corpus, open));
  await Promise.all(byBytes);
  const after = residentMiB(pid);
  const broken = floods.flatMap((flood) => flood.broken);
  await Promise.all(floods.map((flood) => flood.end()));

  const figures = { seed, ...tally, codes: Object.fromEntries(tally.codes), before, after };
  process.stdout.write(`frame fuzz: ${JSON.stringify({ ...figures, failures: undefined })}\n`);
  expect(broken).toEqual([]);
  expect(tally.failures).toEqual([]);
  expect(hsm.happened).not.toContain('exited');
  expect(hsm.process?.pid).toBe(pid);
  // an answer that takes its time is lost when the next bytes end the connection
  expect(tally.answers + tally.ended).toBeGreaterThanOrEqual(FRAMES * 0.995);
  expect(tally.reached).toBeGreaterThanOrEqual(FRAMES / 2);
  expect(after, 'MiB').toBeLessThan(before * 1.5 + 64);
  await expect
    .poll(async () => (await info()).sessions, { timeout: PATIENCE_MS })
    .toBe(idle.sessions);
  const { keys, hotKeys } = await info();
  expect({ keys, hot: hotKeys <= keys }).toEqual({ keys: idle.keys, hot: true });
  await everythingHolds(client, corpus);
  await everythingHolds(await hsm.restart(), corpus);
});
