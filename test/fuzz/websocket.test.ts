import { readdirSync, readFileSync, statSync } from 'node:fs';
import { expect, test } from 'vitest';
import { WebSocket, type RawData } from 'ws';
import { deadlineIn, pause, within } from '../../src/core/deadline.js';
import { LIMITS } from '../../src/core/limits.js';
import {
  decodeMessage,
  encodeMessage,
  SUBPROTOCOLS,
  type Subprotocol,
} from '../../src/protocol/client-frames.js';
import { KMS_ACTIONS, type KmsAction } from '../../src/protocol/kms.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { DoorSocket, type Message } from '../support/door-socket.js';
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

const MESSAGES = fuzzFrames();
const WARM_UP = MESSAGES / 4;
const CONNECTIONS_OF_EACH = 3;
const IN_FLIGHT = 64;
const PATIENCE_MS = 50_000;

/** Refused by the door or by the form of a request, before an operation began. */
const EARLY = new Set([
  'SerializationException',
  'ValidationException',
  'UnknownOperationException',
  'UnsupportedOperationException',
]);
/** What a service says of itself when it failed: no message may bring it there. */
const FAULTS = new Set(['InternalFailure', 'KMSInternalException', 'DependencyTimeoutException']);

interface Corpus {
  readonly keys: readonly string[];
  readonly ciphertexts: readonly Uint8Array[];
  readonly markers: readonly string[];
}

/** How often each action is asked for: those that write to disk seldom, those of HSMs more. */
const WEIGHTS: Readonly<Partial<Record<KmsAction, number>>> = {
  CreateKey: 0.04,
  RotateKeyOnDemand: 0.05,
  CreateAlias: 0.4,
  UpdateAlias: 0.4,
  DeleteAlias: 0.4,
  EnableKey: 0.4,
  DisableKey: 0.1,
  ScheduleKeyDeletion: 0.01,
  DisableKeyRotation: 0.1,
  EnableKeyRotation: 0.1,
  PutKeyPolicy: 0.2,
  TagResource: 0.2,
  UntagResource: 0.2,
  UpdateKeyDescription: 0.2,
  Encrypt: 2,
  Decrypt: 2,
  GenerateDataKey: 2,
};
/** Nothing stands behind the form of these yet, or a key id alone is not the right form. */
const UNBUILT =
  /KeyStore|Import|Replicate|PrimaryRegion|Sign|Verify|Mac|KeyPair|apsulate|Secret|PublicKey|Usage/;
const isSeldom = (action: string): boolean => UNBUILT.test(action) || action.endsWith('Grant');
const ACTIONS = (Object.keys(KMS_ACTIONS) as KmsAction[]).map(
  (action) => [action, WEIGHTS[action] ?? (isSeldom(action) ? 0.02 : 1)] as const,
);

/** A request that is right, as far as the form of its members goes. */
function rightParams(dice: Dice, action: KmsAction, corpus: Corpus): Members {
  const KeyId = dice.pick(corpus.keys);
  const CiphertextBlob = dice.pick(corpus.ciphertexts);
  const AliasName = `alias/fuzz-${dice.below(40)}`;
  const Limit = 1 + dice.below(20);
  const Marker = dice.pick(corpus.markers);
  const page = dice.chance(0.5) ? { Limit } : { Limit, Marker };
  const EncryptionContext = { app: 'fuzz', n: String(dice.below(3)) };
  const dataKey = { KeyId, KeySpec: 'AES_256', EncryptionContext };
  const made: Readonly<Partial<Record<KmsAction, () => Members>>> = {
    CreateAlias: () => ({ AliasName, TargetKeyId: KeyId }),
    CreateKey: () => ({ Description: 'd', Tags: [{ TagKey: 'k', TagValue: 'v' }] }),
    Decrypt: () => ({ CiphertextBlob, EncryptionContext: { app: 'fuzz', n: '1' } }),
    DeleteAlias: () => ({ AliasName }),
    DescribeKey: () => ({ KeyId, GrantTokens: ['t'] }),
    DisableKey: () => ({ KeyId }),
    EnableKey: () => ({ KeyId }),
    Encrypt: () => ({ KeyId, Plaintext: dice.bytes(1 + dice.below(64)), EncryptionContext }),
    GenerateDataKey: () => dataKey,
    GenerateDataKeyWithoutPlaintext: () => ({ ...dataKey, DryRun: false }),
    GenerateRandom: () => ({ NumberOfBytes: 1 + dice.below(1_024) }),
    GetKeyPolicy: () => ({ KeyId, PolicyName: 'default' }),
    ListKeyPolicies: () => ({ KeyId }),
    ListResourceTags: () => ({ KeyId, ...page }),
    PutKeyPolicy: () => ({ KeyId, PolicyName: 'default', Policy: '{}' }),
    TagResource: () => ({ KeyId, Tags: [{ TagKey: `k${dice.below(60)}`, TagValue: 'v' }] }),
    UntagResource: () => ({ KeyId, TagKeys: [`k${dice.below(60)}`] }),
    UpdateKeyDescription: () => ({ KeyId, Description: 'd' }),
    ListAliases: () => ({ ...page, ...(dice.chance(0.5) ? { KeyId } : {}) }),
    ListKeyRotations: () => ({ KeyId, Limit }),
    ListKeys: () => page,
    ReEncrypt: () => ({
      CiphertextBlob,
      DestinationKeyId: KeyId,
      SourceEncryptionContext: { app: 'fuzz', n: '1' },
    }),
    RotateKeyOnDemand: () => ({ KeyId }),
    UpdateAlias: () => ({ AliasName, TargetKeyId: KeyId }),
  };
  return made[action]?.() ?? { KeyId };
}

interface Sent {
  readonly data: string | Uint8Array;
  /** the id that the answer must have; undefined where the message may have any */
  readonly id?: string;
}

/** One message, at least a little wrong, and not over the bound: that would end the connection. */
function mutant(dice: Dice, subprotocol: Subprotocol, count: number, corpus: Corpus): Sent {
  for (;;) {
    const sent = anyMutant(dice, subprotocol, count, corpus);
    if (Buffer.byteLength(sent.data) <= LIMITS.request_size_max_bytes) return sent;
  }
}

function anyMutant(dice: Dice, subprotocol: Subprotocol, count: number, corpus: Corpus): Sent {
  const action = dice.weighed(ACTIONS);
  const params = rightParams(dice, action, corpus);
  const id = `fuzz-${count}`;
  const token = dice.chance(0.2) ? { token: `t-${dice.below(2_000)}` } : {};
  const wrong = (): Members => mutatedMembers(dice, params);
  const request = (members: unknown, more: object = {}): Sent => ({
    data: encodeMessage(subprotocol, { id, action, params: members, ...token, ...more }),
    id,
  });
  const raw = (): Buffer => {
    const right = encodeMessage(subprotocol, { id: 'r', action, params });
    return mutatedBytes(dice, Buffer.from(right));
  };
  return dice.weighed<() => Sent>([
    [() => request(wrong()), 50],
    [() => request(wrongInSense(dice, params, corpus)), 30],
    [() => request(mutatedMembers(dice, wrong())), 8],
    [() => request({ ...params, [`Extra${dice.below(5)}`]: nested(dice.below(60)) }), 3],
    [() => request(strangeMembers(dice)), 2],
    [() => request(wrong(), { action: otherAction(dice, action) }), 4],
    [() => ({ data: encodeMessage(subprotocol, envelope(dice, action, params)) }), 4],
    [() => ({ data: asMessage(subprotocol, raw()) }), 6],
    [() => ({ data: asMessage(subprotocol, dice.bytes(dice.below(60))) }), 2],
    [() => ({ data: hostile(dice, subprotocol) }), 0.3],
  ])();
}

/** Right in form: the operation itself finds what is wrong. */
function wrongInSense(dice: Dice, params: Members, corpus: Corpus): Members {
  const changed: Members = { ...params };
  for (const [name, value] of Object.entries(params)) {
    if (!dice.chance(0.6)) continue;
    if (value instanceof Uint8Array) changed[name] = flippedBytes(dice, value);
    if (name.endsWith('KeyId')) changed[name] = dice.pick([...corpus.keys, 'alias/fuzz-1']);
    if (name.endsWith('Context')) changed[name] = { [dice.pick(['app', '__proto_'])]: 'x' };
  }
  return dice.chance(0.1) ? { ...changed, DryRun: true } : changed;
}

function strangeMembers(dice: Dice): Members {
  const value = strangeValue(dice);
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Members)
    : { KeyId: value };
}

const otherAction = (dice: Dice, action: KmsAction): string =>
  dice.pick([
    ...Object.keys(KMS_ACTIONS).filter((name) => !(name in WEIGHTS)),
    action.toLowerCase(),
    '__proto__',
    'constructor',
    'AddFault',
    'Subscribe',
    ' ',
  ]);

/** A request whose own members are wrong. */
const envelope = (dice: Dice, action: string, params: Members): Members =>
  dice.chance(0.1)
    ? { id: 'r', action, params, [`x${dice.below(9)}`]: strangeValue(dice) }
    : mutatedMembers(dice, { id: 'r', action, params, token: 'r' });

/** JSON is sent as text: bytes that are none go as they are. */
const asMessage = (subprotocol: Subprotocol, bytes: Buffer): string | Buffer =>
  subprotocol === 'keyspan.v1.json' && bytes.length > 0 ? bytes.toString('utf8') : bytes;

/** Messages that look small and cost much, where a decoder does not look out. */
function hostile(dice: Dice, subprotocol: Subprotocol): string | Buffer {
  const size = 200_000;
  if (subprotocol === 'keyspan.v1.json') {
    return dice.pick(['['.repeat(size), '{"a":'.repeat(size / 5), `"${'\\u0000'.repeat(30_000)}`]);
  }
  const bigInteger = Buffer.concat([Buffer.of(0xc2, 0x5a, 0, 3, 0, 0), Buffer.alloc(196_608, 1)]);
  const shared = Buffer.concat([
    Buffer.alloc(120, Buffer.of(0xd8, 28)),
    Buffer.of(0x98, 60),
    Buffer.alloc(180, Buffer.of(0xd8, 29, 0)),
  ]);
  return dice.pick([bigInteger, shared, Buffer.alloc(size, 0x81), Buffer.of(0x9a, 255, 255, 9, 9)]);
}

interface Tally {
  answers: number;
  reached: number;
  readonly codes: Map<string, number>;
  readonly faults: string[];
}

/** A connection that floods the door and looks at what comes back. */
class Flood {
  readonly #webSocket: WebSocket;
  readonly #subprotocol: Subprotocol;
  readonly #tally: Tally;
  /** ids that wait for their answers, with what was sent */
  readonly #waiting = new Map<string, string>();
  #sent = 0;
  #received = 0;
  #wake: () => void = () => undefined;
  readonly broken: string[] = [];

  private constructor(webSocket: WebSocket, subprotocol: Subprotocol, tally: Tally) {
    this.#webSocket = webSocket;
    this.#subprotocol = subprotocol;
    this.#tally = tally;
    webSocket.on('message', (data) => this.#take(data));
    webSocket.on('error', () => undefined);
    webSocket.on('close', (code) => {
      this.broken.push(`closed with ${code}`);
      this.#wake();
    });
  }

  static async open(
    fixture: DaemonFixture,
    { url, subprotocol, tally }: { url: string; subprotocol: Subprotocol; tally: Tally },
  ): Promise<Flood> {
    const { webSocket } = await DoorSocket.open({ ...fixture.pems(), url, subprotocol });
    webSocket.removeAllListeners('message');
    return new Flood(webSocket, subprotocol, tally);
  }

  #take(data: RawData): void {
    const message = decodeMessage(this.#subprotocol, data as Buffer) as Message;
    if (message.event !== undefined) return;
    const { id, error } = message;
    this.#received += 1;
    this.#tally.answers += 1;
    const code = error?.code ?? 'ok';
    this.#tally.codes.set(code, (this.#tally.codes.get(code) ?? 0) + 1);
    if (!EARLY.has(code)) this.#tally.reached += 1;
    const isOurs = typeof id === 'string' && id.startsWith('fuzz-');
    const sent = isOurs ? this.#waiting.get(id) : undefined;
    if (isOurs && !this.#waiting.delete(id)) this.broken.push(`a second answer to ${id}`);
    if (FAULTS.has(code)) this.#tally.faults.push(`${code}: ${sent ?? id ?? 'no id'}`);
    this.#wake();
  }

  /** Sends `amount` mutants, with a bound on those in flight, and waits for all answers. */
  async run(dice: Dice, amount: number, corpus: Corpus): Promise<void> {
    for (let i = 0; i < amount; i += 1) {
      const { data, id } = mutant(dice, this.#subprotocol, this.#sent, corpus);
      const shown = typeof data === 'string' ? data : Buffer.from(data).toString('latin1');
      if (id !== undefined) this.#waiting.set(id, shown.slice(0, 300));
      this.#webSocket.send(data, { binary: typeof data !== 'string' });
      this.#sent += 1;
      await this.#below(IN_FLIGHT);
    }
    await this.#below(1);
    if (this.#waiting.size > 0)
      this.broken.push(`unanswered: ${[...this.#waiting.values()].join(' ')}`);
    this.#waiting.clear();
  }

  async #below(bound: number): Promise<void> {
    while (this.#sent - this.#received >= bound && this.broken.length === 0) {
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await within(woken, deadlineIn(PATIENCE_MS), `answers to ${[...this.#waiting.values()][0]}`);
    }
  }
}

const residentMiB = (pid: number): number => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN) / 1_024;
};

async function makeCorpus(fixture: DaemonFixture): Promise<Corpus & { readonly safe: Uint8Array }> {
  await using client = await fixture.client();
  const keys: string[] = [];
  const ciphertexts: Uint8Array[] = [];
  const EncryptionContext = { app: 'fuzz', n: '1' };
  for (let i = 0; i < 3; i += 1) {
    const made = await client.call('CreateKey', {});
    const { KeyId } = made.result['KeyMetadata'] as { KeyId: string };
    keys.push(KeyId);
    const params = { KeyId, Plaintext: Buffer.from('kept'), EncryptionContext };
    const { result } = await client.call('Encrypt', params);
    ciphertexts.push(result['CiphertextBlob'] as Uint8Array);
  }
  const { result } = await client.call('ListKeys', { Limit: 1 });
  return {
    keys,
    ciphertexts,
    markers: [String(result['NextMarker'])],
    safe: ciphertexts[0] ?? Buffer.alloc(0),
  };
}

/** Whatever was done to it meanwhile, the key and its first ciphertext are there. */
async function stillDecrypts(fixture: DaemonFixture, keyId: string, blob: Uint8Array) {
  await using client = await fixture.client();
  // its deletion may have been scheduled
  await client.call('CancelKeyDeletion', { KeyId: keyId }).catch(() => undefined);
  await client.call('EnableKey', { KeyId: keyId });
  const EncryptionContext = { n: '1', app: 'fuzz' };
  const { result } = await client.call('Decrypt', { CiphertextBlob: blob, EncryptionContext });
  return Buffer.from(result['Plaintext'] as Uint8Array).toString();
}

const pidsOf = async (fixture: DaemonFixture): Promise<number[]> => [
  fixture.pid,
  ...(await fixture.hsms()).map(({ pid }) => pid ?? 0),
];

test('no message brings the daemon or an HSM down', { timeout: 300_000 }, async () => {
  const seed = fuzzSeed();
  await using fixture = await DaemonFixture.start({ hsms: 3 });
  await fixture.allActive();
  const corpus = await makeCorpus(fixture);
  const pids = await pidsOf(fixture);
  const { websocket } = (await fixture.status()).endpoints;
  const tally: Tally = { answers: 0, reached: 0, codes: new Map(), faults: [] };
  const floods = await Promise.all(
    SUBPROTOCOLS.flatMap((subprotocol) =>
      Array.from({ length: CONNECTIONS_OF_EACH }, (_, i) =>
        Flood.open(fixture, { url: websocket[i] ?? '', subprotocol, tally }),
      ),
    ),
  );
  const dice = floods.map((_, i) => new Dice(seed + i));
  const run = async (amount: number): Promise<void> => {
    const each = Math.ceil(amount / floods.length);
    await Promise.all(floods.map((flood, i) => flood.run(dice[i] ?? new Dice(seed), each, corpus)));
  };
  await run(WARM_UP);
  const before = pids.map(residentMiB);
  await run(MESSAGES - WARM_UP);
  await pause(200);
  const after = pids.map(residentMiB);

  const figures = { seed, ...tally, codes: Object.fromEntries(tally.codes), before, after };
  process.stdout.write(`websocket fuzz: ${JSON.stringify({ ...figures, faults: undefined })}\n`);
  expect(floods.flatMap((flood) => flood.broken)).toEqual([]);
  expect(tally.faults).toEqual([]);
  expect(await pidsOf(fixture)).toEqual(pids);
  expect(tally.answers).toBeGreaterThanOrEqual(MESSAGES);
  expect(tally.reached).toBeGreaterThanOrEqual(MESSAGES / 2);
  for (const [at, mib] of after.entries()) {
    expect(mib, `MiB of process ${pids[at]}`).toBeLessThan((before[at] ?? 0) * 1.5 + 64);
  }
  const files = readdirSync(fixture.home.audit).filter((name) => name.startsWith('audit.'));
  expect(files.length).toBeGreaterThan(0);
  expect(files.length).toBeLessThanOrEqual(LIMITS.audit_files_max);
  for (const name of files) {
    const { size } = statSync(`${fixture.home.audit}/${name}`);
    expect(size).toBeLessThan(LIMITS.audit_file_max_bytes + LIMITS.audit_buffer_max_chars);
  }
  expect(await stillDecrypts(fixture, corpus.keys[0] ?? '', corpus.safe)).toBe('kept');
  expect((await fixture.allActive()).map(({ state }) => state)).toEqual(Array(3).fill('ACTIVE'));
});
