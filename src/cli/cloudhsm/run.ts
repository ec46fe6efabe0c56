import { print } from '../output.js';
import { printAnswer, sentenceOf } from './answer.js';
import type { ClusterOptions } from './context.js';
import { readHistory, writeHistory } from './history.js';
import { runLine } from './program.js';
import { Session } from './session.js';
import { Terminal } from './terminal.js';
import { splitWords } from './words.js';

/**
 * Runs `cloudhsm-cli` with these arguments: one command, or many from standard input.
 * @returns the exit code, which is the answer's error_code
 */
export async function runCloudhsmCli(args: readonly string[]): Promise<number> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // whoever read has enough, as `head` does
    if (error.code === 'EPIPE') process.exit(0);
  });
  const session = new Session();
  using terminal = new Terminal();
  try {
    const context = { session, terminal };
    const outcome = await runLine(args, { context, single: true });
    if ('data' in outcome) return printAnswer(outcome);
    if ('help' in outcome) print(outcome.help.trimEnd());
    if ('begin' in outcome) await converse(session, terminal, outcome.begin);
    return 0;
  } catch (error) {
    return printAnswer({ failure: sentenceOf(error) });
  } finally {
    await session.end();
  }
}

/** Many commands; none that fails ends it. */
async function converse(
  session: Session,
  terminal: Terminal,
  options: ClusterOptions,
): Promise<void> {
  session.cluster = options.clusterId;
  terminal.remember({
    lines: readHistory(session.home),
    keep: (lines) => writeHistory(session.home, lines),
  });
  const context = { session, terminal };
  for (;;) {
    const line = await terminal.line(promptOf(session));
    if (line === undefined) return;
    try {
      const words = splitWords(line);
      if (words.length === 0) continue;
      const outcome = await runLine(words, { context, single: false });
      if ('quit' in outcome) return;
      if ('data' in outcome) printAnswer(outcome);
      if ('help' in outcome) print(outcome.help.trimEnd());
    } catch (error) {
      printAnswer({ failure: sentenceOf(error) });
    }
  }
}

/** Who named a cluster sees which one the login is on. */
function promptOf({ login }: Session): string {
  return login?.cluster === undefined ? 'aws-cloudhsm > ' : `${login.username}@${login.cluster} > `;
}
