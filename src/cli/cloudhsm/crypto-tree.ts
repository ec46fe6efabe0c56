import { Option, type Command } from 'commander';
import { HASHES, SIGN_MECHANISMS } from '../../protocol/mechanisms.js';
import { sign, verify } from './crypto-commands.js';
import { addRefused } from './refused.js';
import { approvable, choiceOption, group, leaf, withKeys, type Tree } from './tree.js';

const NO_ML_DSA = 'SoftHSM behind this cluster has no ML-DSA';

/** `crypto ...` */
export function addCrypto(program: Command, { context, run }: Tree): void {
  const crypto = group(program, 'crypto', 'work with keys');
  const signs = group(crypto, 'sign', 'sign with a private key');
  const verifies = group(crypto, 'verify', 'verify with a public key');
  for (const name of SIGN_MECHANISMS) {
    approvable(signing(leaf(signs, name, `by ${name}`), name)).action(
      (options: Parameters<typeof sign>[2]) => run(options, () => sign(context, name, options)),
    );
    signing(leaf(verifies, name, `by ${name}`), name)
      .option('--signature <base64>', 'the signature')
      .option('--signature-path <file>', 'a file that holds it')
      .action((options: Parameters<typeof verify>[2]) =>
        run(options, () => verify(context, name, options)),
      );
  }
  for (const parent of [signs, verifies]) addRefused(parent, 'ml-dsa', NO_ML_DSA);
}

function signing(command: Command, name: string): Command {
  withKeys(command)
    .requiredOption('--key-filter <filter...>', 'key-reference=0x..., attr.NAME=VALUE')
    .option('--data <base64>', 'what is signed')
    .option('--data-path <file>', 'a file that holds it');
  // signs data as it is
  if (name === 'ed25519') return command;
  const hashes = name === 'ed25519ph' ? ['sha512'] : HASHES;
  command
    .addOption(choiceOption('--hash-function <hash>', 'which', hashes))
    .addOption(new Option('--data-type <type>', 'raw unless given').choices(['raw', 'digest']));
  if (name !== 'rsa-pkcs-pss') return command;
  return command
    .requiredOption('--mgf <mgf>', 'mgf1- and the same hash')
    .requiredOption('--salt-length <bytes>', 'how long the salt is');
}
