import { KeyspanError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import type { CliRole } from '../../protocol/hsm-session.js';
import { usage, type ClusterOptions, type Context } from './context.js';
import { publicKeyOfUser, signedByUser } from './factor-dialogue.js';
import { askNewPassword, credentialsIn } from './login-commands.js';
import { readApproval, readSigned } from './token-files.js';
import { readText } from './user-files.js';

/** Whom a command is about. */
export interface UserOptions extends ClusterOptions {
  readonly username: string;
  readonly role: CliRole;
  readonly approval?: string;
}

/** A command that sets a password. */
export interface PasswordOptions extends UserOptions {
  readonly password?: string | undefined;
}

/** `cluster hsm-info`: anyone may ask. */
export function hsmInfo({ session }: Context, options: ClusterOptions): Promise<unknown> {
  return session.look('HsmInfo', options.clusterId);
}

/** `user list`: anyone may ask. */
export function userList({ session }: Context, options: ClusterOptions): Promise<unknown> {
  return session.look('UserList', options.clusterId);
}

/** `cluster activate`: the admin's first password. It needs no login. */
export async function activate(
  { session, terminal }: Context,
  options: ClusterOptions & { readonly password?: string },
): Promise<string> {
  const password = options.password ?? (await askNewPassword(terminal));
  checkNewPassword(password);
  const cluster = options.clusterId ?? session.cluster;
  await session.ask('ClusterActivate', { cluster, password });
  return 'Cluster activation successful';
}

/** The approval that a command names. */
export const approvalOf = ({ approval }: { readonly approval?: string }): object =>
  approval === undefined ? {} : { approval: readApproval(approval) };

/** `user create`: an admin's, on every HSM that can be reached. */
export async function createUser(context: Context, options: PasswordOptions): Promise<unknown> {
  const user = await withNewPassword(context, options);
  const params = { ...user, ...approvalOf(options) };
  return await context.session.act('UserCreate', params, options.clusterId);
}

/** `user delete`: an admin's. */
export async function deleteUser({ session }: Context, options: UserOptions): Promise<unknown> {
  const { username, role, clusterId } = options;
  checkName(username);
  return await session.act('UserDelete', { username, role, ...approvalOf(options) }, clusterId);
}

/** `user change-password`: one's own, or an admin's for anybody; it unlocks. */
export async function changePassword(
  context: Context,
  options: PasswordOptions & {
    readonly deregisterMfa?: boolean;
    readonly deregisterQuorum?: boolean;
  },
): Promise<unknown> {
  const user = await withNewPassword(context, options);
  const { deregisterMfa, deregisterQuorum } = options;
  const params = { ...user, deregisterMfa, deregisterQuorum, ...approvalOf(options) };
  return await context.session.act('UserChangePassword', params, options.clusterId);
}

async function withNewPassword(
  { terminal, session }: Context,
  { username, role, password: given }: PasswordOptions,
): Promise<{ username: string; role: CliRole; password: string }> {
  checkName(username);
  if (!session.login) throw new KeyspanError('HsmNotLoggedIn');
  const password = given ?? (await askNewPassword(terminal));
  checkNewPassword(password);
  return { username, role, password };
}

/**
 * `user change-mfa token-sign`: registers a key as second factor, or takes it away. As with
 * CloudHSM it sets a password, the same as before or another one.
 */
export async function changeMfa(
  context: Context,
  options: UserOptions & {
    readonly token?: string;
    readonly changePassword?: string;
    readonly deregister?: boolean;
    readonly disable?: boolean;
    readonly changeQuorum?: boolean;
  },
): Promise<unknown> {
  const { session, terminal } = context;
  const { clusterId, token, changePassword: password, changeQuorum } = options;
  const isOver = options.deregister === true || options.disable === true;
  if (isOver === (token !== undefined)) throw usage('Either --token or --deregister is needed');
  const user = await withNewPassword(context, { ...options, password });
  const common = { ...user, changeQuorum, ...approvalOf(options) };
  if (token === undefined) return await session.act('UserChangeMfa', common, clusterId);
  const asked = { service: 'registration' };
  const { tokens } = await session.act('QuorumGenerate', asked, clusterId);
  const signed = await signedByUser(terminal, tokens, token);
  const publicKey = await publicKeyOfUser(terminal);
  return await session.act('UserChangeMfa', { ...common, publicKey, tokens: signed }, clusterId);
}

/** `user change-quorum token-sign register`: the key that one approves with. */
export async function changeQuorum(
  { session }: Context,
  options: ClusterOptions & { readonly publicKey: string; readonly signedToken: string },
): Promise<unknown> {
  const publicKey = readText(options.publicKey, LIMITS.pem_file_max_bytes);
  const params = { publicKey, tokens: readSigned(options.signedToken) };
  return await session.act('UserChangeQuorum', params, options.clusterId);
}

/** Two clusters of one family. */
export interface ReplicateOptions {
  readonly sourceClusterId: string;
  readonly destinationClusterId: string;
}

/** `user replicate`: an admin's of both clusters. */
export async function replicateUser(
  context: Context,
  options: ReplicateOptions & { readonly username: string; readonly role: CliRole },
): Promise<unknown> {
  const { username, role, sourceClusterId } = options;
  return await withDestination(context, options, async (destination) => {
    const params = { destination, username, role };
    const { user } = await context.session.act('UserReplicate', params, sourceClusterId);
    return { user, message: 'Successfully replicated user' };
  });
}

/**
 * Work with a second login, on the destination: that of the interactive form, or whom
 * DESTINATION_CLOUDHSM_* or CLOUDHSM_* name.
 */
export async function withDestination<T>(
  { session }: Context,
  { sourceClusterId, destinationClusterId }: ReplicateOptions,
  work: (token: string) => Promise<T>,
  env: NodeJS.ProcessEnv = process.env,
): Promise<T> {
  if (sourceClusterId === destinationClusterId) throw usage('The clusters are one and the same');
  const there = await session.loginOn(destinationClusterId);
  if (there) return await work(there.token);
  const user = credentialsIn(env, 'DESTINATION_CLOUDHSM') ?? credentialsIn(env, 'CLOUDHSM');
  if (!user) throw usage(`You are not logged in on the cluster ${destinationClusterId}`);
  const login = await session.open(user, destinationClusterId);
  try {
    return await work(login.token);
  } finally {
    await session.close(login).catch(() => undefined);
  }
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
