import type { Command } from 'commander';
import { ADMIN_SERVICES, QUORUM_SERVICES } from '../../protocol/hsm-session.js';
import type { ClusterOptions } from './context.js';
import {
  deleteTokens,
  generateToken,
  listTokens,
  listValues,
  setValue,
} from './quorum-commands.js';
import { approvable, choiceOption, group, leaf, withKeys, type Tree } from './tree.js';

/** `quorum token-sign ...` */
export function addQuorum(program: Command, { context, run }: Tree): void {
  const quorum = group(program, 'quorum', 'what M of N have to approve');
  const sign = group(quorum, 'token-sign', 'approvals by signed tokens');
  withKeys(leaf(sign, 'generate', 'write a token for others to sign'))
    .addOption(choiceOption('--service <service>', 'what is to be approved', QUORUM_SERVICES))
    .requiredOption('--token <file>', 'where it is written')
    .option('--filter <filter...>', 'which key it is for, of the services of keys')
    .action((options: Parameters<typeof generateToken>[1]) =>
      run(options, () => generateToken(context, options)),
    );
  leaf(sign, 'list', 'the tokens that the HSMs know').action((options: ClusterOptions) =>
    run(options, () => listTokens(context, options)),
  );
  leaf(sign, 'list-quorum-values', 'how many approvals each service asks for').action(
    (options: ClusterOptions) => run(options, () => listValues(context, options)),
  );
  approvable(leaf(sign, 'set-quorum-value', 'how many approvals a service asks for'))
    .addOption(choiceOption('--service <service>', 'which', ADMIN_SERVICES))
    .requiredOption('--value <number>', 'from 1, which asks for none, to 8')
    .action((options: Parameters<typeof setValue>[1]) =>
      run(options, () => setValue(context, options)),
    );
  leaf(sign, 'delete', "delete one's tokens, or those of all users")
    .addOption(choiceOption('--scope <scope>', 'whose', ['user', 'all']))
    .action((options: Parameters<typeof deleteTokens>[1]) =>
      run(options, () => deleteTokens(context, options)),
    );
}
