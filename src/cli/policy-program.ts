import { InvalidArgumentError, type Command } from 'commander';

/** Runs a command once its module is loaded. */
type Act = (run: () => Promise<number>) => Promise<void>;

interface Asked {
  readonly principal: string;
  readonly action: string;
}

/** `keyspan policy …` */
export function addPolicy(
  program: Command,
  act: Act,
  withShared: (command: Command) => Command,
): void {
  const group = withShared(program.command('policy')).description('who may do what with KMS');
  withShared(group.command('explain'))
    .description('a decision as a walk through every statement; exit code 1 when it is denied')
    .requiredOption('--principal <arn>', 'who: an account root, a user, a role or a session')
    .requiredOption('--action <name>', 'what: kms:Decrypt, kms:ReEncryptFrom, …')
    .option('--key <id>', 'with which key: id, ARN or alias; none for kms:CreateKey and the like')
    .option('--context <name=value>', "a pair of the request's encryption context", onePair, {})
    .option(
      '--condition <key=value>',
      'what the request has for a condition key, as aws:SourceIp=203.0.113.7; repeatable',
      severalPairs,
      {},
    )
    .action(async (_: unknown, command: Command) => {
      const { explainPolicy } = await import('./commands/policy.js');
      await act(() => explainPolicy(command.optsWithGlobals<Asked>()));
    });
}

function onePair(text: string, before: Readonly<Record<string, string>>): Record<string, string> {
  const [name, value] = pair(text);
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`${name} is given twice.`);
  return { ...before, [name]: value };
}

/** A key that is given again has one value more. */
function severalPairs(
  text: string,
  before: Readonly<Record<string, readonly string[]>>,
): Record<string, readonly string[]> {
  const [name, value] = pair(text);
  const values = Object.hasOwn(before, name) ? (before[name] ?? []) : [];
  return { ...before, [name]: [...values, value] };
}

function pair(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It is name=value.');
  return [text.slice(0, at), text.slice(at + 1)];
}
