import { Command, CommanderError, Option } from 'commander';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { CLI_ROLES, type CliRole } from '../../protocol/hsm-session.js';
import {
  activate,
  changePassword,
  createUser,
  deleteUser,
  hsmInfo,
  login,
  loginByEnvironment,
  logout,
  userList,
  type ClusterOptions,
  type Context,
  type UserOptions,
} from './commands.js';

/** What a line asks for. */
export type Outcome =
  | { readonly data: unknown }
  | { readonly help: string }
  | { readonly begin: ClusterOptions }
  | { readonly quit: true };

export interface ProgramOptions {
  readonly context: Context;
  /** one command of a process of its own: CLOUDHSM_ROLE and CLOUDHSM_PIN count */
  readonly single: boolean;
}

/**
 * Runs one command.
 * @throws KeyspanError KeyspanUsage when there is no such command, or what the command throws
 */
export async function runLine(words: readonly string[], options: ProgramOptions): Promise<Outcome> {
  let outcome: Outcome | undefined;
  const program = buildProgram(options, (found) => (outcome = found));
  let help = '';
  overAll(program, (command) =>
    command.exitOverride().configureOutput({
      writeOut: (text) => (help += text),
      writeErr: () => undefined,
    }),
  );
  try {
    await program.parseAsync([...words], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { help };
    throw new KeyspanError('KeyspanUsage', complaint(error));
  }
  return outcome ?? { help };
}

/** `help`, and `help` with the words of a command. */
function helpOf(program: Command, words: readonly string[]): string {
  let found = program;
  for (const word of words) {
    const next = found.commands.find((command) => command.name() === word);
    if (!next) throw new KeyspanError('KeyspanUsage', `There is no command ${words.join(' ')}`);
    found = next;
  }
  return found.helpInformation();
}

function complaint({ code, message }: CommanderError): string {
  if (code === 'commander.help') return 'A command is missing: help lists them';
  return message.replace(/^error: /, '').replaceAll('\n', ' ');
}

function overAll(command: Command, change: (command: Command) => unknown): void {
  change(command);
  for (const one of command.commands) overAll(one, change);
}

type Found = (outcome: Outcome) => void;

function buildProgram({ context, single }: ProgramOptions, found: Found): Command {
  const program = new Command('cloudhsm-cli')
    .description("The users of a cluster's HSMs, as CloudHSM's own command line has them")
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true });
  if (single) {
    program
      .option('--home <path>', 'the installation; $KEYSPAN_HOME or ~/.keyspan unless given')
      .on('option:home', (path: string) => (context.session.home = findHome(path)));
    onCluster(program.command('interactive'))
      .description('commands from standard input until quit')
      .action((options: ClusterOptions) => found({ begin: options }));
  }
  const answer = async (work: Promise<unknown>): Promise<void> => found({ data: await work });
  const prepare = async (options: ClusterOptions): Promise<void> => {
    if (single) await loginByEnvironment(context, options);
  };
  addLogin(program, context, { answer, prepare });
  addCluster(program, context, { answer, prepare });
  addUsers(program, context, { answer, prepare });
  program
    .command('help')
    .argument('[command...]')
    .description('what a command does')
    .action((words: string[]) => found({ help: helpOf(program, words) }));
  program
    .command('quit')
    .description('end the interactive form')
    .action(() => found({ quit: true }));
  return program;
}

interface Steps {
  readonly answer: (work: Promise<unknown>) => Promise<void>;
  readonly prepare: (options: ClusterOptions) => Promise<void>;
}

function addLogin(program: Command, context: Context, { answer, prepare }: Steps): void {
  onCluster(program.command('login'))
    .description('log a user in on every HSM of the cluster')
    .requiredOption('--username <name>', 'who')
    .addOption(roleOption().makeOptionMandatory())
    .option('--password <password>', 'asked for unless given')
    .action(async (options: ClusterOptions & { username: string; role: CliRole }) => {
      await answer(login(context, options));
    });
  onCluster(program.command('logout'))
    .description('end the login')
    .action(async (options: ClusterOptions) => {
      await prepare(options);
      await answer(logout(context));
    });
}

function addCluster(program: Command, context: Context, { answer, prepare }: Steps): void {
  const cluster = program.command('cluster').description('the cluster').helpCommand(false);
  onCluster(cluster.command('activate'))
    .description("set the admin's first password, once; it needs no login")
    .option('--password <password>', 'asked for twice unless given')
    .action(async (options: ClusterOptions & { password?: string }) => {
      await answer(activate(context, options));
    });
  onCluster(cluster.command('hsm-info'))
    .description('the HSMs of the cluster')
    .action(async (options: ClusterOptions) => {
      await prepare(options);
      await answer(hsmInfo(context, options));
    });
}

function addUsers(program: Command, context: Context, { answer, prepare }: Steps): void {
  const user = program.command('user').description('the users of the HSMs').helpCommand(false);
  onCluster(user.command('list'))
    .description('all users with their roles, and whether the HSMs agree on them')
    .action(async (options: ClusterOptions) => {
      await prepare(options);
      await answer(userList(context, options));
    });
  const about = (name: string): Command =>
    onCluster(user.command(name))
      .requiredOption('--username <name>', 'whom it is about')
      .addOption(roleOption().makeOptionMandatory());
  const password = ['--password <password>', 'asked for twice unless given'] as const;
  about('create')
    .description('make a user on every HSM that can be reached; an admin does')
    .option(...password)
    .action(async (options: UserOptions & { password?: string }) => {
      await prepare(options);
      await answer(createUser(context, options));
    });
  about('delete')
    .description('delete a user on every HSM that can be reached; an admin does')
    .action(async (options: UserOptions) => {
      await prepare(options);
      await answer(deleteUser(context, options));
    });
  about('change-password')
    .description("change one's own password, or as an admin anybody's; it unlocks the user")
    .option(...password)
    .action(async (options: UserOptions & { password?: string }) => {
      await prepare(options);
      await answer(changePassword(context, options));
    });
}

const roleOption = (): Option =>
  new Option('--role <role>', 'the role that the user has').choices(CLI_ROLES);

function onCluster(command: Command): Command {
  return command.option('--cluster-id <id>', "which cluster; the installation's own unless given");
}
