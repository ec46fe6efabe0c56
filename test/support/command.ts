import { spawn } from 'node:child_process';
import { packageFile } from '../../src/core/entry.js';

export interface Outcome {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface RunOptions {
  readonly home?: string;
  readonly input?: Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs the compiled command line as a user does, in a process of its own. */
export function keyspan(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run('dist/cli/keyspan.cjs', args, options);
}

/** As `keyspan`, the program of CloudHSM's name. */
export function cloudhsmCli(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return run('dist/cli/cloudhsm-cli.cjs', args, options);
}

async function run(entry: string, args: readonly string[], options: RunOptions): Promise<Outcome> {
  const env = { ...process.env, ...options.env };
  delete env['KEYSPAN_HOME'];
  if (options.home !== undefined) env['KEYSPAN_HOME'] = options.home;
  const child = spawn(process.execPath, [packageFile(entry), ...args], { env });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input ?? '');
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString('utf8') };
}
