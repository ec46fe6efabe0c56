import { Option, type Command } from 'commander';
import type { ClusterOptions } from './context.js';
import { login, loginByToken, logout, type LoginOptions } from './login-commands.js';
import { addRefused } from './refused.js';
import { aboutUser, approvable, group, leaf, roleOption, type Tree } from './tree.js';
import {
  activate,
  changeMfa,
  changePassword,
  changeQuorum,
  createUser,
  deleteUser,
  hsmInfo,
  replicateUser,
  userList,
  type PasswordOptions,
  type UserOptions,
} from './user-commands.js';

/** `login`, `logout`. */
export function addLogin(program: Command, { context, run, runOpen }: Tree): void {
  const enter = leaf(program, 'login', 'log a user in on every HSM of the cluster')
    .requiredOption('--username <name>', 'who')
    .addOption(roleOption())
    .option('--password <password>', 'asked for unless given')
    .action((options: LoginOptions) => runOpen(() => login(context, options)));
  const factor = 'with a second factor: a token of each HSM, signed by the key of the user';
  leaf(enter, 'mfa-token-sign', factor)
    .requiredOption('--token <file>', 'where the tokens to sign are written')
    .action((_options: object, command: Command) =>
      runOpen(() => loginByToken(context, command.optsWithGlobals())),
    );
  leaf(program, 'logout', 'end the login').action((options: ClusterOptions) =>
    run(options, () => logout(context, options)),
  );
}

/** `cluster ...` */
export function addCluster(program: Command, { context, run, runOpen }: Tree): void {
  const cluster = group(program, 'cluster', 'the cluster');
  leaf(cluster, 'activate', "set the admin's first password, once; it needs no login")
    .option('--password <password>', 'asked for twice unless given')
    .action((options: ClusterOptions & { password?: string }) =>
      runOpen(() => activate(context, options)),
    );
  leaf(cluster, 'hsm-info', 'the HSMs of the cluster').action((options: ClusterOptions) =>
    run(options, () => hsmInfo(context, options)),
  );
  addRefused(cluster, 'mtls', 'Mutual TLS between clients and HSMs is not built');
}

const password = ['--password <password>', 'asked for twice unless given'] as const;

/** `user ...` */
export function addUsers(program: Command, tree: Tree): void {
  const { context, run } = tree;
  const user = group(program, 'user', 'the users of the HSMs');
  leaf(user, 'list', 'all users with their roles, and whether the HSMs agree on them').action(
    (options: ClusterOptions) => run(options, () => userList(context, options)),
  );
  const about = (name: string, description: string): Command =>
    approvable(aboutUser(leaf(user, name, description)));
  about('create', 'make a user on every HSM that can be reached; an admin does')
    .option(...password)
    .action((options: PasswordOptions) => run(options, () => createUser(context, options)));
  about('delete', 'delete a user on every HSM that can be reached; an admin does').action(
    (options: UserOptions) => run(options, () => deleteUser(context, options)),
  );
  about('change-password', "one's own, or as an admin anybody's; it unlocks the user")
    .option(...password)
    .option('--deregister-mfa', 'without the second factor from then on')
    .option('--deregister-quorum', 'without the key that approves from then on')
    .action((options: PasswordOptions) => run(options, () => changePassword(context, options)));
  addFactors(user, tree);
  aboutUser(
    user.command('replicate').description('to a cluster with the same backup history; an admin'),
  )
    .requiredOption('--source-cluster-id <id>', 'where the user is')
    .requiredOption('--destination-cluster-id <id>', 'where the user is to be, too')
    .action((options: Parameters<typeof replicateUser>[1]) =>
      run({ clusterId: options.sourceClusterId }, () => replicateUser(context, options)),
    );
}

function addFactors(user: Command, { context, run }: Tree): void {
  const mfa = group(user, 'change-mfa', 'the second factor of a user');
  approvable(aboutUser(leaf(mfa, 'token-sign', 'a key that signs tokens of the HSMs')))
    .option('--token <file>', 'where the tokens to sign are written')
    .option('--change-password <password>', 'another password at the same time')
    .option('--deregister', 'take the second factor away')
    .addOption(new Option('--disable', 'as --deregister'))
    .option('--change-quorum', 'the key approves, too')
    .action((options: UserOptions) => run(options, () => changeMfa(context, options)));
  const quorum = group(user, 'change-quorum', 'the key that one approves with');
  const sign = group(quorum, 'token-sign', 'a key that signs tokens of the HSMs');
  leaf(sign, 'register', 'register a key; a signed token shows that one has it')
    .requiredOption('--public-key <file>', 'its public half in PEM: RSA of 2,048 bits')
    .requiredOption('--signed-token <file>', 'a signed token of the service registration')
    .action((options: Parameters<typeof changeQuorum>[1]) =>
      run(options, () => changeQuorum(context, options)),
    );
}
