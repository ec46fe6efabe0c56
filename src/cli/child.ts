import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { KeyspanError } from '../core/errors.js';
import { findHome } from '../core/home.js';
import { callAdmin } from './admin-client.js';
import { awsVariables } from './commands/env.js';
import type { SharedOptions } from './global-options.js';

/** Variables that would make the AWS CLI sign as somebody else, or for somewhere else. */
const FOREIGN = ['AWS_PROFILE', 'AWS_DEFAULT_PROFILE', 'AWS_SESSION_TOKEN', 'AWS_SECURITY_TOKEN'];
const FORWARDED = ['SIGTERM', 'SIGHUP'] as const;

/** What the AWS CLI is to find in its environment; it needs a daemon that runs. */
export async function awsEnvironment(
  options: SharedOptions,
): Promise<{ endpoint: string; env: NodeJS.ProcessEnv }> {
  const home = findHome(options.home);
  const [status, credentials] = await Promise.all([
    callAdmin(home, 'Status'),
    callAdmin(home, 'Credentials'),
  ]);
  const env = { ...process.env, ...awsVariables(status, credentials) };
  for (const name of FOREIGN) delete env[name];
  return { endpoint: status.endpoints.aws, env };
}

export interface ChildOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** the sentence when there is no such program */
  readonly missing: string;
}

/**
 * Runs another program with our own streams. @returns its exit code
 * @throws KeyspanError KeyspanConfig when there is no such program
 */
export async function runChild(
  command: string,
  args: readonly string[],
  { missing, ...options }: ChildOptions,
): Promise<number> {
  const child = spawn(command, args, { ...options, stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  // a terminal sends Ctrl-C to both, and the exit code is the child's
  const wait = (): void => undefined;
  for (const signal of FORWARDED) process.on(signal, forward);
  process.on('SIGINT', wait);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (cause) => reject(new KeyspanError('KeyspanConfig', missing, { cause })));
      child.once('exit', (code, signal) =>
        resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']),
      );
    });
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
    process.off('SIGINT', wait);
  }
}
