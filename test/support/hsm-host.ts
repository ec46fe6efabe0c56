import { mkdtempSync, rmSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  certifyHsm,
  makeAuthority,
  type KeyAndCertificate,
} from '../../src/cluster/certificates.js';
import { deadlineIn, within } from '../../src/core/deadline.js';
import { KeyspanError, isErrorCode } from '../../src/core/errors.js';
import { newBootId, newClusterId, newHsmId, newMaskingKeyId } from '../../src/core/ids.js';
import type { ClusterId, HsmId } from '../../src/core/ids.js';
import type { Launch, Launched } from '../../src/hsm/launch.js';
import { HsmProcess, type ProcessEvents } from '../../src/hsm/process.js';
import { FrameReader, encodeFrame } from '../../src/protocol/frame-codec.js';
import {
  FRAME_VERSION,
  RECORD_VERSION,
  type Hello,
  type HsmOperation,
  type HsmResults,
} from '../../src/protocol/hsm-frames.js';

const PATIENCE_MS = 40_000;

export const PASSWORDS = {
  appUser: 'appliance-secret',
  preCrypto: 'before-activation',
  admin: 'after-activation',
  user: 'password-of-a-user',
} as const;

/** Waits for what will come on any machine, however slow, and fails instead of hanging. */
export const soon = <T>(promise: Promise<T>, what: string): Promise<T> =>
  within(promise, deadlineIn(PATIENCE_MS), what);

/** A connection that speaks frames, with no knowledge of what is right. */
export class FrameClient {
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #answers = new Map<number, (frame: readonly unknown[]) => void>();
  readonly #waiting: (() => void)[] = [];
  #nextId = 1;
  #hello: Hello | undefined;
  /** the HSM ended the connection, or `end` did */
  readonly closed: Promise<void>;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('data', (chunk) => {
      for (const frame of this.#reader.push(chunk)) this.#take(frame);
    });
  }

  /** Connects and waits for the HSM's hello, without one of its own. */
  static async connect(path: string): Promise<FrameClient> {
    const client = new FrameClient(createConnection(path));
    if (!client.#hello) {
      await soon(new Promise<void>((resolve) => client.#waiting.push(resolve)), 'hello');
    }
    return client;
  }

  get peer(): Hello {
    if (!this.#hello) throw new Error('there was no hello');
    return this.#hello;
  }

  #take(frame: unknown): void {
    if (Array.isArray(frame)) {
      this.#answers.get(frame[0] as number)?.(frame);
      this.#answers.delete(frame[0] as number);
    } else {
      this.#hello = frame as Hello;
      for (const resolve of this.#waiting.splice(0)) resolve();
    }
  }

  greet(changes: Record<string, unknown> = {}): this {
    const { hsm, cluster } = this.peer;
    return this.send({
      hello: FRAME_VERSION,
      recordVersion: RECORD_VERSION,
      hsm,
      cluster,
      ...changes,
    });
  }

  send(item: unknown): this {
    return this.write(encodeFrame(item));
  }

  write(bytes: Uint8Array): this {
    this.#socket.write(bytes);
    return this;
  }

  /** Ends the connection when all that was written has left. */
  end(): void {
    this.#socket.destroySoon();
  }

  /** @throws KeyspanError what the HSM answered, or KeyspanConnection when it closed instead */
  async ask<Op extends HsmOperation>(
    operation: Op | (string & {}),
    fields: unknown,
    as: { session?: number; epoch?: number; timeoutMs?: number } = {},
  ): Promise<HsmResults[Op]> {
    const { session = 0, epoch = 1, timeoutMs = PATIENCE_MS } = as;
    const id = this.#nextId;
    this.#nextId += 1;
    const answer = new Promise<readonly unknown[]>((resolve) => this.#answers.set(id, resolve));
    this.send([id, timeoutMs, epoch, operation, session, fields]);
    const closed = this.closed.then(() => undefined);
    const frame = await soon(Promise.race([answer, closed]), operation);
    if (!frame) throw new KeyspanError('KeyspanConnection');
    const [, failed, value, message] = frame;
    if (failed === 0) return value as HsmResults[Op];
    if (!isErrorCode(value)) throw new Error('the HSM answered an error of no known code');
    throw new KeyspanError(value, String(message));
  }

  async login(username: string, password: string): Promise<number> {
    return (await this.ask<'login'>('login', { username, password })).session;
  }
}

/** One HSM of a test: its place, and its process while it runs. */
export class TestHsm {
  readonly id = newHsmId();
  readonly launch: Launch;
  readonly happened: string[] = [];
  serial: string | null = null;
  process: HsmProcess | undefined;
  #exited: Promise<void> = Promise.resolve();

  constructor(folder: string, cluster: ClusterId, name: string) {
    this.launch = {
      hsm: this.id,
      cluster,
      boot: newBootId(),
      directory: join(folder, name),
      socket: join(folder, `${name}.sock`),
      log: join(folder, `${name}.log`),
      audit: join(folder, `${name}.audit`),
      serial: null,
      soPin: Buffer.from('officer-pin').toString('base64'),
      userPin: Buffer.from('user-pin').toString('base64'),
    };
  }

  /** Starts the process and waits until it listens. */
  async start(): Promise<this> {
    const line = await this.launched();
    if ('failed' in line) throw new Error(line.message);
    this.serial = line.serial;
    return this;
  }

  /** Starts the process and waits for what it says. */
  async launched(changes: Partial<Launch> = {}): Promise<Launched> {
    const line = new Promise<Launched>((resolve) => {
      this.#exited = new Promise((exited) => {
        const events: ProcessEvents = {
          launched: resolve,
          exited: () => {
            this.happened.push('exited');
            exited();
          },
          silent: () => this.happened.push('silent'),
          heard: () => this.happened.push('heard'),
        };
        const launch = { ...this.launch, boot: newBootId(), serial: this.serial, ...changes };
        this.process = new HsmProcess({ launch, events });
      });
    });
    return await soon(line, 'a process that listens');
  }

  async connect(): Promise<FrameClient> {
    return (await FrameClient.connect(this.launch.socket)).greet();
  }

  async exited(): Promise<void> {
    await soon(this.#exited, 'the end of a process');
  }

  /** As a crash of the machine's process table would. */
  async kill(): Promise<void> {
    this.process?.signal('SIGKILL');
    await this.exited();
  }

  async restart(): Promise<FrameClient> {
    await this.kill();
    await this.start();
    return await this.connect();
  }
}

/** A folder with HSMs and the authorities that vouch for them. */
export class HsmHost implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'ks-'));
  readonly cluster = newClusterId();
  readonly maskingKeyId = newMaskingKeyId();
  readonly hsms: TestHsm[] = [];
  readonly manufacturer: KeyAndCertificate;
  readonly hardware: KeyAndCertificate;

  private constructor(manufacturer: KeyAndCertificate, hardware: KeyAndCertificate) {
    this.manufacturer = manufacturer;
    this.hardware = hardware;
  }

  static async open(): Promise<HsmHost> {
    const manufacturer = await makeAuthority('manufacturer');
    return new HsmHost(manufacturer, await makeAuthority('hardware', manufacturer));
  }

  newHsm(cluster: ClusterId = this.cluster): TestHsm {
    const hsm = new TestHsm(this.folder, cluster, String(this.hsms.length));
    this.hsms.push(hsm);
    return hsm;
  }

  /** The certificates that say that this public key is this HSM's. */
  async certify(hsm: HsmId, publicKey: Uint8Array): Promise<string[]> {
    const certificate = await certifyHsm({ hardware: this.hardware, hsm, publicKey });
    return [certificate, this.hardware.certificate];
  }

  /** Makes the HSM the first member, with an admin who is not active yet. */
  async foundOnly(
    hsm: TestHsm,
    client: FrameClient,
    preCrypto: string = PASSWORDS.preCrypto,
  ): Promise<void> {
    const { publicKey } = await client.ask<'identity'>('identity', {});
    await client.ask('found', {
      maskingKeyId: this.maskingKeyId,
      certificates: await this.certify(hsm.id, publicKey),
      root: this.manufacturer.certificate,
      appUser: { username: 'app_user', password: PASSWORDS.appUser },
      admin: { username: 'admin', password: preCrypto },
    });
  }

  /** Makes the HSM the first member, with an active admin. @returns the admin's session */
  async found(hsm: TestHsm, client: FrameClient): Promise<number> {
    await this.foundOnly(hsm, client);
    const session = await client.login('admin', PASSWORDS.preCrypto);
    await client.ask('activate', { password: PASSWORDS.admin }, { session });
    return await client.login('admin', PASSWORDS.admin);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.hsms.map((hsm) => hsm.kill()));
    rmSync(this.folder, { recursive: true, force: true });
  }
}
