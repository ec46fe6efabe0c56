import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packageFile } from '../../src/core/entry.js';
import { keyspan, type Outcome } from './command.js';

const run = promisify(execFile);

/** A real installation in a home of its own, gone when it is disposed. */
export class Installation implements AsyncDisposable {
  readonly home: string;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.home = join(folder, 'home');
  }

  /** @throws Error with what `up` said when it did not succeed */
  static async up(...options: readonly string[]): Promise<Installation> {
    const installation = new Installation(mkdtempSync(join(tmpdir(), 'keyspan-home-')));
    const { code, stderr } = await installation.keyspan('up', '--detach', ...options);
    if (code === 0) return installation;
    await installation[Symbol.asyncDispose]();
    throw new Error(`keyspan up exited with ${code}:\n${stderr}`);
  }

  /** A path outside the home that is gone with the installation. */
  path(name: string): string {
    return join(this.#folder, name);
  }

  keyspan(...args: readonly string[]): Promise<Outcome> {
    return keyspan(args, { home: this.home });
  }

  /** Runs a script as a newcomer would, from the project's root. */
  async shell(
    script: string,
    more: NodeJS.ProcessEnv = {},
  ): Promise<{ stdout: string; stderr: string }> {
    const env = { ...process.env, KEYSPAN_HOME: this.home, ...more };
    const options = { env, cwd: packageFile('.'), encoding: 'utf8' } as const;
    return await run('bash', ['-euo', 'pipefail', '-c', script], options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.keyspan('down', '--delete');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
