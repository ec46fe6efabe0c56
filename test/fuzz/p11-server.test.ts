import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KeyspanClient } from '../../src/client/client.js';
import { deadlineIn, within } from '../../src/core/deadline.js';
import { CKA, CKM } from '../../src/core/pkcs11.js';
import { P11FrameReader } from '../../src/protocol/p11-frames.js';
import type { P11Version } from '../../src/protocol/p11-wire.js';
import { eventually } from '../support/daemon-fixture.js';
import { fuzzFrames, fuzzSeed } from '../support/mutation.js';
import { P11Client } from '../support/p11-client.js';
import { P11Fixture, template } from '../support/p11-fixture.js';
import { p11Mutants, type P11Mutant } from '../support/p11-mutation.js';

const FRAMES = fuzzFrames();
const LANES = 4;
const PATIENCE_MS = 30_000;
/** handles and logins that were taken away are there again */
const RENEWED_AFTER = 500;
/** what the daemon may hold more than before */
const GROWTH_MAX_KIB = 96 << 10;

let fixture: P11Fixture;
beforeAll(async () => {
  fixture = await P11Fixture.start();
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** Handles are given out in their order, so that they are the same on each connection. */
const HANDLES = { slot: 1, session: 1, secretKey: 1, publicKey: 2, privateKey: 3 } as const;
const P256 = Buffer.from('06082a8648ce3d030107', 'hex');

/** One connection after the other, as they are ended by what is sent. */
class Lane {
  readonly #version: P11Version;
  readonly #user: string;
  #socket: Socket | undefined;
  #reader = new P11FrameReader();
  #waiting = new Set<number>();
  #wake: () => void = () => undefined;
  #isEnded = true;
  #sent = 0;
  connections = 0;

  constructor(version: P11Version, user: string) {
    this.#version = version;
    this.#user = user;
  }

  async send({ bytes, fate, codes }: P11Mutant): Promise<void> {
    if (this.#isEnded || this.#sent >= RENEWED_AFTER) await this.#connect();
    this.#sent += 1;
    // what ends the connection is sent on one of its own
    if (fate === 'dropped') return await this.#sacrifice(bytes, true);
    if (fate === 'incomplete') return await this.#sacrifice(bytes, false);
    this.#waiting = new Set(codes);
    this.#socket?.write(bytes);
    await this.#until(() => this.#waiting.size === 0, `${fate} ${codes.join(' ')}`);
  }

  /** @param ends the server must end it */
  async #sacrifice(bytes: Buffer, ends: boolean): Promise<void> {
    const socket = createConnection(fixture.socket);
    await once(socket, 'connect');
    const client = await P11Client.over(socket, { offer: this.#version });
    client.raw(bytes);
    this.connections += 1;
    if (ends && !socket.closed) await within(once(socket, 'close'), deadlineIn(PATIENCE_MS), 'end');
    await client.close();
  }

  close(): void {
    this.#socket?.destroy();
    this.#isEnded = true;
  }

  async #connect(): Promise<void> {
    this.#socket?.destroy();
    this.connections += 1;
    this.#sent = 0;
    const socket = createConnection(fixture.socket);
    await once(socket, 'connect');
    const client = await P11Client.over(socket, { offer: this.#version });
    const session = await client.open(HANDLES.slot);
    await this.#logIn(client, session);
    const key = template({ [CKA.VALUE_LEN]: 32, [CKA.LABEL]: 'fuzz' });
    await client.generateKey(session, { type: CKM.AES_KEY_GEN }, key);
    await client.generateKeyPair(
      session,
      { type: CKM.EC_KEY_PAIR_GEN },
      {
        publicKey: template({ [CKA.EC_PARAMS]: P256 }),
        privateKey: template({ [CKA.DERIVE]: true }),
      },
    );
    socket.removeAllListeners('data');
    this.#reader = new P11FrameReader();
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    const end = (): void => {
      if (this.#socket !== socket) return;
      this.#isEnded = true;
      this.#wake();
    };
    for (const event of ['end', 'close', 'error']) socket.on(event, end);
    this.#socket = socket;
    this.#isEnded = false;
  }

  /** Wrong PINs lock the user, and a right one with another beside it may change it. */
  async #logIn(client: P11Client, session: number): Promise<void> {
    const pin = `${this.#user}:password1`;
    try {
      await client.login(session, pin);
    } catch {
      await resetUser(this.#user);
      await client.login(session, pin);
    }
  }

  #receive(chunk: Buffer): void {
    for (const { code } of this.#reader.push(chunk)) this.#waiting.delete(code);
    this.#wake();
  }

  async #until(isDone: () => boolean, what: string): Promise<void> {
    const end = Date.now() + PATIENCE_MS;
    while (!isDone()) {
      if (this.#isEnded) throw new Error(`the connection ended: ${what}`);
      const timer = setTimeout(() => this.#wake(), 1_000);
      await new Promise<void>((resolve) => (this.#wake = resolve));
      clearTimeout(timer);
      if (Date.now() > end) throw new Error(`no answer came: ${what}`);
    }
  }
}

let admin: KeyspanClient | undefined;

async function resetUser(username: string): Promise<void> {
  admin ??= await fixture.daemon.client();
  const [name = '', password = ''] = fixture.soPin.split(':');
  const officer = await admin.session({ username: name, password, role: 'admin' });
  const user = { username, role: 'crypto-user', password: 'password1' } as const;
  await officer.createUser(user).catch(() => officer.changePassword(user));
  await officer.logout();
}

const residentKib = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

async function run(seed: number, count: number): Promise<{ connections: number; calls: number }> {
  let calls = 0;
  const lanes = Array.from({ length: LANES }, async (_, at) => {
    const version = (at % 3) as P11Version;
    const user = `fuzz${at}`;
    await resetUser(user);
    const lane = new Lane(version, user);
    const handles = { ...HANDLES, pin: `${user}:password1` };
    const plan = { seed: seed + at, handles, version, count: count / LANES };
    for (const mutant of p11Mutants(plan)) {
      if (mutant.calls.length > 0) calls += 1;
      try {
        await lane.send(mutant);
      } catch (error) {
        throw new Error(`FUZZ_SEED=${seed} lane ${at}: ${mutant.calls.join()}`, { cause: error });
      }
    }
    lane.close();
    return lane.connections;
  });
  const connections = (await Promise.all(lanes)).reduce((sum, one) => sum + one, 0);
  return { connections, calls };
}

test('mutated requests bring nothing down, and leave nothing behind', async () => {
  const seed = fuzzSeed();
  const { pid } = fixture.daemon;
  await run(seed + 1_000, FRAMES / 10);
  const before = { kib: residentKib(pid), descriptors: descriptors(pid) };
  const { calls, connections } = await run(seed, FRAMES);
  const told = `FUZZ_SEED=${seed}, ${connections} connections`;
  expect(calls, told).toBeGreaterThan(FRAMES / 2);
  await eventually(
    async () => (descriptors(pid) <= before.descriptors + 2 ? true : undefined),
    'connections that are closed',
  );
  expect(residentKib(pid) - before.kib, told).toBeLessThan(GROWTH_MAX_KIB);
  const failures = fixture.daemon
    .log()
    .split('\n')
    .filter((line) => line.includes('"level":50'));
  expect(failures, told).toEqual([]);
  for (const { id, state } of await fixture.daemon.hsms()) {
    expect(state, told).toBe('ACTIVE');
    const path = join(fixture.daemon.home.logs, `${id}.log`);
    const log = existsSync(path) ? readFileSync(path, 'utf8') : '';
    expect(
      log.split('\n').filter((line) => line.includes('the token failed')),
      told,
    ).toEqual([]);
  }
  expect(await (await fixture.connect()).slots()).toEqual([1]);
}, 180_000);
