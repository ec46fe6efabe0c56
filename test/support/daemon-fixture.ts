import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { daemonArgs, parseReady, type DaemonOptions } from '../../src/cli/daemon-process.js';
import { KeyspanClient, type ClientOptions } from '../../src/client/client.js';
import { deadlineIn, hasPassed, pause } from '../../src/core/deadline.js';
import { packageFile } from '../../src/core/entry.js';
import { findHome, type Home } from '../../src/core/home.js';
import type { HsmStatus, StatusDocument } from '../../src/protocol/admin.js';
import { DoorSocket, type DoorSocketOptions } from './door-socket.js';

/** How long anything may take on a slow machine before a test gives up waiting for it. */
const PATIENCE_MS = 40_000;

export interface FixtureOptions extends DaemonOptions {
  /** added to the daemon's environment */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * A real daemon with real HSM processes on a home of its own. Disposing ends everything, removes
 * the home and fails when a process is left.
 */
export class DaemonFixture implements AsyncDisposable {
  readonly home: Home;
  #child: ChildProcess | undefined;
  readonly #closing: AsyncDisposable[] = [];

  private constructor(home: Home) {
    this.home = home;
  }

  /** A home without a daemon. */
  static prepare(): DaemonFixture {
    const root = mkdtempSync(join(tmpdir(), 'keyspan-daemon-'));
    return new DaemonFixture(findHome(root));
  }

  /** Another daemon for a home that exists; whoever made the home disposes of it. */
  static on(home: Home): DaemonFixture {
    return new DaemonFixture(home);
  }

  static async start(options: FixtureOptions = {}): Promise<DaemonFixture> {
    const fixture = DaemonFixture.prepare();
    try {
      await fixture.up(options);
      return fixture;
    } catch (error) {
      await fixture[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts a daemon on the home and waits until it serves. @throws KeyspanError its failure */
  async up(options: FixtureOptions = {}): Promise<StatusDocument> {
    const { env, ...settings } = options;
    mkdirSync(this.home.logs, { recursive: true, mode: 0o700 });
    const log = openSync(this.home.daemonLog, 'a', 0o600);
    // what replaces a module of it needs the daemon in its parts
    const program = env?.['NODE_OPTIONS'] === undefined ? 'program.cjs' : 'main.js';
    const entry = packageFile(`dist/daemon/${program}`);
    const child = spawn(process.execPath, [entry, ...daemonArgs(this.home, settings)], {
      stdio: ['ignore', log, log, 'pipe'],
      // HSM processes inherit it: it tells whose they are
      env: { ...process.env, HOME: this.home.root, ...env },
    });
    closeSync(log);
    const lines = createInterface({ input: child.stdio[3] as Readable });
    const line = await Promise.race([
      once(lines, 'line').then(([text]) => text as string),
      once(child, 'exit').then(() => undefined),
    ]);
    if (line === undefined) throw new Error(`the daemon ended without a word: ${this.log()}`);
    if (!line.startsWith('{"ready"')) await ended(child);
    else this.#child = child;
    return parseReady(line);
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  log(): string {
    return existsSync(this.home.daemonLog) ? readFileSync(this.home.daemonLog, 'utf8') : '';
  }

  async status(): Promise<StatusDocument> {
    const { cluster, ...status } = await callAdmin(this.home, 'Status');
    if (!cluster) throw new Error('the installation has no cluster of its own');
    return { ...status, cluster };
  }

  async hsms(): Promise<readonly HsmStatus[]> {
    return (await this.status()).cluster.hsms;
  }

  /** Waits until the HSM is in that state; its status. */
  async hsm(id: string, state: HsmStatus['state'] = 'ACTIVE'): Promise<HsmStatus> {
    return await eventually(async () => {
      const found = (await this.hsms()).find((hsm) => hsm.id === id);
      return found?.state === state ? found : undefined;
    }, `${id} ${state}`);
  }

  async allActive(): Promise<readonly HsmStatus[]> {
    return await eventually(async () => {
      const hsms = await this.hsms();
      return hsms.every(({ state }) => state === 'ACTIVE') ? hsms : undefined;
    }, 'all HSMs ACTIVE');
  }

  /** The URL of an HSM's ENI. */
  async endpoint(id: string): Promise<string> {
    const { cluster, endpoints } = await this.status();
    const index = cluster.hsms.findIndex((hsm) => hsm.id === id);
    return endpoints.websocket[index] ?? '';
  }

  /** The root principal's identity and the CA to trust. */
  pems(): { ca: string; certificate: string; privateKey: string } {
    const { customerCa, clientCertificate, clientKey } = this.home;
    const [ca = '', certificate = '', privateKey = ''] = [
      customerCa,
      clientCertificate,
      clientKey,
    ].map((path) => readFileSync(path, 'utf8'));
    return { ca, certificate, privateKey };
  }

  /** A client of all ENIs, or of those given; it is closed with the fixture. */
  async client(options: Partial<ClientOptions> = {}): Promise<KeyspanClient> {
    const endpoints = options.endpoints ?? (await this.status()).endpoints.websocket;
    const client = await KeyspanClient.connect({ ...this.pems(), ...options, endpoints });
    this.#closing.push(client);
    return client;
  }

  /** A bare WebSocket to an ENI; it is closed with the fixture. */
  async socket(options: Partial<DoorSocketOptions> = {}): Promise<DoorSocket> {
    const url = options.url ?? (await this.status()).endpoints.websocket[0] ?? '';
    const socket = await DoorSocket.open({ ...this.pems(), ...options, url });
    this.#closing.push(socket);
    return socket;
  }

  /** A request to the operator's door, as it goes over the wire. */
  async adminRequest(
    path: string,
    body: string | Buffer,
    method = 'POST',
  ): Promise<{ status: number; body: string }> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      request({ socketPath: this.home.adminSocket, path, method, agent: false }, resolve)
        .once('error', reject)
        .end(body);
    });
    const chunks: Buffer[] = [];
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
    return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') };
  }

  /** Ends the daemon in good order and waits for its end. */
  async down(): Promise<number | null> {
    const child = this.#child;
    if (!child) return null;
    this.#child = undefined;
    child.kill('SIGTERM');
    return await ended(child);
  }

  /** Kills the daemon at once; its HSM processes are left to themselves. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    child?.kill('SIGKILL');
    if (child) await ended(child);
  }

  /** HSM processes of this home, stopped ones too, whichever daemon started them. */
  processes(): number[] {
    return processesOf(this.home);
  }

  /** Waits until no HSM process of this home is left. */
  async noProcesses(): Promise<void> {
    await eventually(
      async () => (this.processes().length === 0 ? true : undefined),
      'no HSM process left',
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.#closing.splice(0)) await each[Symbol.asyncDispose]();
    await this.down();
    const left = this.processes();
    for (const pid of left) process.kill(pid, 'SIGKILL');
    rmSync(this.home.root, { recursive: true, force: true });
    rmSync(this.home.runtime, { recursive: true, force: true });
    expect(left, 'HSM processes that the daemon left').toEqual([]);
  }
}

async function ended(child: ChildProcess): Promise<number | null> {
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  clearTimeout(timer);
  return child.exitCode;
}

/** What inherited the home's environment, but the daemon. */
function processesOf(home: Home): number[] {
  const isOurs = (pid: string): boolean => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
      if (!environment.includes(`HOME=${home.root}`)) return false;
      return !/\/daemon\/(program\.cjs|main\.js)/.test(
        readFileSync(`/proc/${pid}/cmdline`, 'utf8'),
      );
    } catch {
      return false;
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isOurs(name))
    .map(Number);
}

/** Sends a signal to one process, and never to a group of them. */
export function signal(pid: number | null | undefined, name: NodeJS.Signals): void {
  if (!pid) throw new Error('there is no such process');
  process.kill(pid, name);
}

/** Asks again until there is something. */
export async function eventually<T>(
  ask: () => Promise<T | undefined>,
  what: string,
  timeoutMs = PATIENCE_MS,
): Promise<T> {
  const deadline = deadlineIn(timeoutMs);
  for (;;) {
    const found = await ask();
    if (found !== undefined) return found;
    if (hasPassed(deadline)) throw new Error(`it did not come to: ${what}`);
    await pause(30);
  }
}
