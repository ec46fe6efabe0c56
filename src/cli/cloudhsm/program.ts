import { Command, CommanderError } from 'commander';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import type { ClusterOptions, Context } from './context.js';
import { addCrypto } from './crypto-tree.js';
import { addKeys } from './key-tree.js';
import { loginByEnvironment } from './login-commands.js';
import { addQuorum } from './quorum-tree.js';
import { leaf, type Outcome, type Tree } from './tree.js';
import { addCluster, addLogin, addUsers } from './user-tree.js';

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

/** The whole tree of commands. */
export function buildProgram({ context, single }: ProgramOptions, found: Found): Command {
  const program = new Command('cloudhsm-cli')
    .description("Users, keys and approvals of a cluster, as CloudHSM's own command line has them")
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true });
  if (single) {
    program
      .option('--home <path>', 'the installation; $KEYSPAN_HOME or ~/.keyspan unless given')
      .on('option:home', (path: string) => (context.session.home = findHome(path)));
    leaf(program, 'interactive', 'commands from standard input until quit').action(
      (options: ClusterOptions) => found({ begin: options }),
    );
  }
  const runOpen = async (work: () => Promise<unknown>): Promise<void> =>
    found({ data: await work() });
  const tree: Tree = {
    context,
    runOpen,
    run: async (options, work) => {
      if (single) await loginByEnvironment(context, options);
      await runOpen(work);
    },
  };
  addLogin(program, tree);
  addCluster(program, tree);
  addUsers(program, tree);
  addQuorum(program, tree);
  addKeys(program, tree);
  addCrypto(program, tree);
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
