import { awsEnvironment, runChild } from '../child.js';
import type { SharedOptions } from '../global-options.js';

/**
 * Runs the AWS CLI against this installation: its own streams, its own exit code. The endpoint
 * is an argument too, because versions before 2.13 know no AWS_ENDPOINT_URL.
 */
export async function aws(
  options: SharedOptions & { readonly args: readonly string[] },
): Promise<number> {
  const { endpoint, env } = await awsEnvironment(options);
  const isGiven = options.args.some((arg) => /^--endpoint-url(?:=|$)/.test(arg));
  const args = [...(isGiven ? [] : ['--endpoint-url', endpoint]), ...options.args];
  const missing = 'The AWS CLI could not be run: is `aws` installed and on the PATH?';
  return await runChild('aws', args, { env, missing });
}
