import { CLI_ROLES, type CliRole } from '../../protocol/hsm-session.js';
import { usage, type ClusterOptions, type Context } from './context.js';
import type { Credentials } from './session.js';
import { signedByUser } from './factor-dialogue.js';

export interface LoginOptions extends ClusterOptions {
  readonly username: string;
  readonly role: CliRole;
  readonly password?: string;
}

/** `login`: until `logout` or the end. */
export async function login(context: Context, options: LoginOptions): Promise<unknown> {
  const { session, terminal } = context;
  const { username, role, clusterId } = options;
  const password = options.password ?? (await askPassword(terminal, 'Enter password:'));
  const logged = await session.logIn({ username, role, password }, clusterId);
  return { username: logged.username, role: logged.role };
}

/** `login ... mfa-token-sign`: the HSMs give a token each, which the user's key signs. */
export async function loginByToken(
  context: Context,
  options: LoginOptions & { readonly token: string },
): Promise<unknown> {
  const { session, terminal } = context;
  const { username, role, clusterId, token } = options;
  const password = options.password ?? (await askPassword(terminal, 'Enter password:'));
  const cluster = clusterId ?? session.cluster;
  const { tokens } = await session.ask('UserMfaTokens', { cluster, username, role });
  const mfa = await signedByUser(terminal, tokens, token);
  const logged = await session.logIn({ username, role, password, mfa }, clusterId);
  return { username: logged.username, role: logged.role };
}

/** `logout`. */
export async function logout({ session }: Context, options: ClusterOptions): Promise<string> {
  await session.logOut(options.clusterId);
  return 'Logout successful';
}

/**
 * Logs in whom CLOUDHSM_ROLE and CLOUDHSM_PIN name, if they do.
 * @throws KeyspanError KeyspanUsage when one is missing or has another form
 */
export async function loginByEnvironment(
  { session }: Context,
  options: ClusterOptions,
  env: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  const user = credentialsIn(env, 'CLOUDHSM');
  if (user) await session.logIn(user, options.clusterId);
}

/** Whom two variables name; undefined when neither is set. */
export function credentialsIn(
  env: NodeJS.ProcessEnv,
  prefix: 'CLOUDHSM' | 'DESTINATION_CLOUDHSM',
): Credentials | undefined {
  const { [`${prefix}_ROLE`]: role = '', [`${prefix}_PIN`]: pin = '' } = env;
  if (role === '' && pin === '') return undefined;
  if (role === '' || pin === '') {
    throw usage(`${prefix}_ROLE and ${prefix}_PIN are needed together`);
  }
  if (!isRole(role)) throw usage(`${prefix}_ROLE is one of: ${CLI_ROLES.join(', ')}`);
  const at = pin.indexOf(':');
  if (at < 1 || at === pin.length - 1) throw usage(`${prefix}_PIN is user:password`);
  return { username: pin.slice(0, at), role, password: pin.slice(at + 1) };
}

const isRole = (role: string): role is CliRole => (CLI_ROLES as readonly string[]).includes(role);

export async function askPassword(
  terminal: Context['terminal'],
  question: string,
): Promise<string> {
  const answer = await terminal.secret(question);
  if (answer === undefined || answer === '') throw usage('No password was given');
  return answer;
}

export async function askNewPassword(terminal: Context['terminal']): Promise<string> {
  const password = await askPassword(terminal, 'Enter password:');
  if (password === (await askPassword(terminal, 'Confirm password:'))) return password;
  throw usage('The passwords do not match');
}
