import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { callAdmin } from '../admin-client.js';
import type { SharedOptions } from '../global-options.js';
import { awsVariables } from './env.js';

/** Variables that would make the AWS CLI sign as somebody else, or for somewhere else. */
const FOREIGN = ['AWS_PROFILE', 'AWS_DEFAULT_PROFILE', 'AWS_SESSION_TOKEN', 'AWS_SECURITY_TOKEN'];
const FORWARDED = ['SIGTERM', 'SIGHUP'] as const;

/**
 * Runs the AWS CLI against this installation: its own streams, its own exit code. The endpoint
 * is an argument too, because versions before 2.13 know no AWS_ENDPOINT_URL.
 */
export async function aws(
  options: SharedOptions & { readonly args: readonly string[] },
): Promise<number> {
  const home = findHome(options.home);
  const [status, credentials] = await Promise.all([
    callAdmin(home, 'Status'),
    callAdmin(home, 'Credentials'),
  ]);
  const variables = awsVariables(status, credentials);
  const env = { ...process.env, ...variables };
  for (const name of FOREIGN) delete env[name];
  const endpoint = ['--endpoint-url', status.endpoints.aws];
  const isGiven = options.args.some((arg) => /^--endpoint-url(?:=|$)/.test(arg));
  return await run([...(isGiven ? [] : endpoint), ...options.args], env);
}

async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn('aws', args, { env, stdio: 'inherit' });
  const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
  // a terminal sends Ctrl-C to both, and the exit code is the child's
  const wait = (): void => undefined;
  for (const signal of FORWARDED) process.on(signal, forward);
  process.on('SIGINT', wait);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (cause) => {
        const sentence = 'The AWS CLI could not be run: is `aws` installed and on the PATH?';
        reject(new KeyspanError('KeyspanConfig', sentence, { cause }));
      });
      child.once('exit', (code, signal) =>
        resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']),
      );
    });
  } finally {
    for (const signal of FORWARDED) process.off(signal, forward);
    process.off('SIGINT', wait);
  }
}
