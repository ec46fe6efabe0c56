import { KeyspanError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { CLI_ROLES, type CliRole } from '../../protocol/hsm-session.js';
import type { Session } from './session.js';
import type { Terminal } from './terminal.js';

/** What a command works with. */
export interface Context {
  readonly session: Session;
  readonly terminal: Pick<Terminal, 'secret'>;
}

export interface ClusterOptions {
  readonly clusterId?: string;
}

const usage = (sentence: string): KeyspanError => new KeyspanError('KeyspanUsage', sentence);

/** `cluster hsm-info`: anyone may ask. */
export function hsmInfo({ session }: Context, options: ClusterOptions): Promise<unknown> {
  return session.hsmInfo(options.clusterId);
}

/** `user list`: anyone may ask. */
export function userList({ session }: Context, options: ClusterOptions): Promise<unknown> {
  return session.userList(options.clusterId);
}

/** Whom a command is about. */
export interface UserOptions extends ClusterOptions {
  readonly username: string;
  readonly role: CliRole;
}

/** `user create`: an admin's, on every HSM that can be reached. */
export async function createUser(
  context: Context,
  options: UserOptions & { readonly password?: string },
): Promise<unknown> {
  const user = await withNewPassword(context, options);
  return await context.session.changeUser('UserCreate', user, options.clusterId);
}

/** `user delete`: an admin's. */
export async function deleteUser({ session }: Context, options: UserOptions): Promise<unknown> {
  const { username, role, clusterId } = options;
  checkName(username);
  return await session.changeUser('UserDelete', { username, role }, clusterId);
}

/** `user change-password`: one's own, or an admin's for anybody; it unlocks. */
export async function changePassword(
  context: Context,
  options: UserOptions & { readonly password?: string },
): Promise<unknown> {
  const user = await withNewPassword(context, options);
  return await context.session.changeUser('UserChangePassword', user, options.clusterId);
}

async function withNewPassword(
  { terminal, session }: Context,
  { username, role, password: given }: UserOptions & { readonly password?: string },
): Promise<{ username: string; role: CliRole; password: string }> {
  checkName(username);
  if (!session.login) throw new KeyspanError('HsmNotLoggedIn');
  const password = given ?? (await askNewPassword(terminal));
  checkNewPassword(password);
  return { username, role, password };
}

/** `cluster activate`: the admin's first password. It needs no login. */
export async function activate(
  { session, terminal }: Context,
  options: ClusterOptions & { readonly password?: string },
): Promise<string> {
  const password = options.password ?? (await askNewPassword(terminal));
  checkNewPassword(password);
  await session.activate(password, options.clusterId);
  return 'Cluster activation successful';
}

/** `login`: until `logout` or the end. */
export async function login(
  { session, terminal }: Context,
  options: ClusterOptions & {
    readonly username: string;
    readonly role: CliRole;
    readonly password?: string;
  },
): Promise<unknown> {
  const password = options.password ?? (await ask(terminal, 'Enter password:'));
  const user = { username: options.username, role: options.role, password };
  const { username, role } = await session.logIn(user, options.clusterId);
  return { username, role };
}

/** `logout`. */
export async function logout({ session }: Context): Promise<string> {
  await session.logOut();
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
  const { CLOUDHSM_ROLE: role = '', CLOUDHSM_PIN: pin = '' } = env;
  if (role === '' && pin === '') return;
  if (role === '' || pin === '') {
    throw usage('CLOUDHSM_ROLE and CLOUDHSM_PIN are needed together');
  }
  if (!isRole(role)) throw usage(`CLOUDHSM_ROLE is one of: ${CLI_ROLES.join(', ')}`);
  const at = pin.indexOf(':');
  if (at < 1 || at === pin.length - 1) throw usage('CLOUDHSM_PIN is user:password');
  const user = { username: pin.slice(0, at), role, password: pin.slice(at + 1) };
  await session.logIn(user, options.clusterId);
}

const isRole = (role: string): role is CliRole => (CLI_ROLES as readonly string[]).includes(role);

async function ask(terminal: Context['terminal'], question: string): Promise<string> {
  const answer = await terminal.secret(question);
  if (answer === undefined || answer === '') throw usage('No password was given');
  return answer;
}

async function askNewPassword(terminal: Context['terminal']): Promise<string> {
  const password = await ask(terminal, 'Enter password:');
  if (password === (await ask(terminal, 'Confirm password:'))) return password;
  throw usage('The passwords do not match');
}

/** As CloudHSM does, it names the character. */
function checkName(username: string): void {
  const wrong = /[^A-Za-z0-9_]/u.exec(username)?.[0];
  if (wrong !== undefined) {
    throw usage(`The character '${wrong}' is not allowed: letters, digits and underscores are`);
  }
  const max = LIMITS.hsm_user_name_max_chars;
  if (username.length === 0 || username.length > max) {
    throw usage(`A username has 1 to ${max} characters`);
  }
}

/** CloudHSM's rule: a colon would part it from the user's name elsewhere. */
function checkNewPassword(password: string): void {
  const { cli_password_min_chars: min, cli_password_max_chars: max } = LIMITS;
  const fits = password.length >= min && password.length <= max && !password.includes(':');
  if (!fits) throw usage(`A password has ${min} to ${max} characters, and no colon among them`);
}
