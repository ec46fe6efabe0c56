import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import type { Duplex } from 'node:stream';
import { LIMITS } from '../../core/limits.js';
import type { P11Server, P11ServerOptions } from './server.js';

/**
 * The PKCS #11 door: a unix socket that the daemon's own user can open, and whatever streams other
 * doors let in. What serves them is loaded with the first.
 */
export class P11Door implements AsyncDisposable {
  readonly #options: P11ServerOptions;
  readonly #listener: Server;
  #server: Promise<P11Server> | undefined;
  #served: P11Server | undefined;
  #isOver = false;

  constructor(options: P11ServerOptions) {
    this.#options = options;
    this.#listener = createServer((socket) => this.accept(socket));
    this.#listener.maxConnections = LIMITS.p11_connections_max;
  }

  /** connections that are open */
  get size(): number {
    return this.#served?.size ?? 0;
  }

  /** @param path of a socket in a directory of mode 0700 */
  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#listener.once('error', reject);
      this.#listener.listen(path, resolve);
    });
    chmodSync(path, 0o600);
  }

  /**
   * Serves one application over a stream.
   * @param cluster the one that it sees; all without it
   */
  accept(stream: Duplex, cluster?: string): void {
    if (this.#served) return this.#served.accept(stream, cluster);
    this.#server ??= this.#load();
    this.#server.then(
      (server) => server.accept(stream, cluster),
      () => stream.destroy(),
    );
  }

  async #load(): Promise<P11Server> {
    const { P11Server: Loaded } = await import('./server.js');
    if (this.#isOver) throw new Error('the door is closed');
    return (this.#served = new Loaded(this.#options));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    const closed = new Promise<void>((resolve) => this.#listener.close(() => resolve()));
    this.#served?.[Symbol.dispose]();
    await closed;
  }
}
