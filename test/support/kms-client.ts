import { KMSClient, type KMSClientConfig } from '@aws-sdk/client-kms';
import { keyspan } from './command.js';
import type { DaemonFixture } from './daemon-fixture.js';

/** The variables that `keyspan env` prints for AWS's clients. */
export async function awsEnvironment(daemon: DaemonFixture): Promise<Record<string, string>> {
  const { stdout } = await keyspan(['env', '--json'], { home: daemon.home.root });
  const told = JSON.parse(stdout.toString('utf8')) as Record<string, string>;
  return Object.fromEntries(Object.entries(told).filter(([name]) => name.startsWith('AWS_')));
}

/** Where an SDK finds the installation, and as whom: the account's root. */
export function sdkConfig(told: Readonly<Record<string, string>>): {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
} {
  return {
    endpoint: told['AWS_ENDPOINT_URL'] ?? '',
    region: told['AWS_REGION'] ?? '',
    credentials: {
      accessKeyId: told['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: told['AWS_SECRET_ACCESS_KEY'] ?? '',
    },
  };
}

/** AWS's SDK, in the name of the account's root. */
export async function kmsClient(
  daemon: DaemonFixture,
  config: KMSClientConfig = {},
): Promise<KMSClient> {
  return new KMSClient({ ...sdkConfig(await awsEnvironment(daemon)), ...config });
}
