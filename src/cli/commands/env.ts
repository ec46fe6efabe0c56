import { findHome, type Home } from '../../core/home.js';
import type { CredentialsDocument, InstallationStatus } from '../../protocol/admin.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import { addressOf, findClientModule } from '../pkcs11-module.js';
import type { SharedOptions } from '../global-options.js';

export async function env(options: SharedOptions & { readonly github?: boolean }): Promise<number> {
  const home = findHome(options.home);
  const [status, credentials] = await Promise.all([
    callAdmin(home, 'Status'),
    callAdmin(home, 'Credentials'),
  ]);
  const variables = clientVariables(home, status, credentials);
  if (options.json) printJson(variables);
  else print(formatVariables(variables, options.github ? 'github' : 'shell'));
  return EXIT.ok;
}

/** What a client needs to know of this installation. */
export function clientVariables(
  home: Home,
  status: InstallationStatus,
  credentials: CredentialsDocument,
): Record<string, string> {
  return {
    KEYSPAN_HOME: home.root,
    KEYSPAN_ENDPOINTS: status.endpoints.websocket.join(','),
    KEYSPAN_CA: home.customerCa,
    KEYSPAN_CERTIFICATE: home.clientCertificate,
    KEYSPAN_PRIVATE_KEY: home.clientKey,
    ...awsVariables(status, credentials),
    ...pkcs11Variables(home, credentials),
  };
}

/** What AWS's SDKs and its command line read: where the services are, and who asks. */
export function awsVariables(
  status: InstallationStatus,
  { rootAccessKey }: CredentialsDocument,
): Record<string, string> {
  return {
    AWS_ENDPOINT_URL: status.endpoints.aws,
    AWS_ACCESS_KEY_ID: rootAccessKey.accessKeyId,
    AWS_SECRET_ACCESS_KEY: rootAccessKey.secretAccessKey,
    AWS_REGION: status.region,
    AWS_DEFAULT_REGION: status.region,
  };
}

/** What PKCS #11 applications need to know; without the module where there is none here. */
export function pkcs11Variables(
  home: Home,
  { cryptoUser }: Partial<CredentialsDocument>,
): Record<string, string> {
  const module = findClientModule();
  return {
    P11_KIT_SERVER_ADDRESS: addressOf(home.pkcs11Socket),
    ...(module !== undefined && { KEYSPAN_PKCS11_MODULE: module }),
    ...(cryptoUser && { KEYSPAN_P11_PIN: `${cryptoUser.username}:${cryptoUser.password}` }),
  };
}

/** Lines that a POSIX shell evaluates, or that GitHub's runner reads from `$GITHUB_ENV`. */
export function formatVariables(
  variables: Readonly<Record<string, string>>,
  form: 'shell' | 'github',
): string {
  const quote = (value: string): string => `'${value.replaceAll("'", String.raw`'\''`)}'`;
  return Object.entries(variables)
    .map(([name, value]) =>
      form === 'shell' ? `export ${name}=${quote(value)}` : `${name}=${value}`,
    )
    .join('\n');
}
