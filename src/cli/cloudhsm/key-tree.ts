import type { Command } from 'commander';
import { HASHES, UNWRAP_KINDS, WRAP_MECHANISMS } from '../../protocol/mechanisms.js';
import { unwrap, wrap } from './crypto-commands.js';
import {
  FILE_ENCODINGS,
  deleteKey,
  generateEc,
  generateFile,
  generateRsa,
  generateSymmetric,
  importPem,
  listKeys,
  replicateKey,
  setAttribute,
  shareKey,
  type OneKeyOptions,
} from './key-commands.js';
import { addRefused } from './refused.js';
import { approvable, choiceOption, group, leaf, ofOneKey, withKeys, type Tree } from './tree.js';

/** `key ...` */
export function addKeys(program: Command, tree: Tree): void {
  const { context, run } = tree;
  const key = group(program, 'key', 'keys');
  withKeys(leaf(key, 'list', "one's keys, those that are shared with one, and all public keys"))
    .option('--filter <filter...>', 'key-reference=0x..., attr.NAME=VALUE; all must hold')
    .option('--max-items <number>', 'how many at most; 10 unless given')
    .option('--starting-token <token>', 'the next_token of the page before')
    .option('-v, --verbose', 'all that is known of them')
    .action((options: Parameters<typeof listKeys>[1]) =>
      run(options, () => listKeys(context, options)),
    );
  addMaking(key, tree);
  addImport(key, tree);
  addChanges(key, tree);
  addWrap(key, tree);
  ofOneKey(key.command('replicate').description('to a cluster with the same backup history'))
    .requiredOption('--source-cluster-id <id>', 'where the key is')
    .requiredOption('--destination-cluster-id <id>', 'where it is to be, too')
    .action((options: Parameters<typeof replicateKey>[1]) =>
      run({ clusterId: options.sourceClusterId }, () => replicateKey(context, options)),
    );
}

/** What is said of every key that is made. */
const making = (command: Command): Command =>
  withKeys(command)
    .option('--session', 'on one HSM, until the login ends')
    .option('--share-crypto-users <names...>', 'who shares it from the beginning');

const attributes = ['--attributes <attributes...>', 'NAME=VALUE'] as const;

const quorumValues = (command: Command, of = ''): Command =>
  command
    .option(`--manage-${of}key-quorum-value <number>`, 'how many approve a change of the key')
    .option(`--use-${of}key-quorum-value <number>`, 'how many approve its use');

function addMaking(key: Command, { context, run }: Tree): void {
  const symmetric = group(key, 'generate-symmetric', 'make a secret key');
  for (const type of ['aes', 'generic-secret'] as const) {
    quorumValues(making(leaf(symmetric, type, `make a key of type ${type}`)))
      .requiredOption('--label <label>', 'what it is called')
      .requiredOption('--key-length-bytes <number>', 'how long it is')
      .option(...attributes)
      .action((options: Parameters<typeof generateSymmetric>[2]) =>
        run(options, () => generateSymmetric(context, type, options)),
      );
  }
  const pairs = group(key, 'generate-asymmetric-pair', 'make both halves of a key pair');
  const pair = (name: string, description: string): Command =>
    quorumValues(making(leaf(pairs, name, description)), 'private-')
      .requiredOption('--public-label <label>', 'what the public half is called')
      .requiredOption('--private-label <label>', 'what the private half is called')
      .option('--public-attributes <attributes...>', 'NAME=VALUE')
      .option('--private-attributes <attributes...>', 'NAME=VALUE');
  pair('rsa', 'make an RSA key pair')
    .requiredOption('--modulus-size-bits <number>', '2,048 to 4,096, a multiple of 256')
    .requiredOption('--public-exponent <number>', 'odd, from 65,537')
    .action((options: Parameters<typeof generateRsa>[1]) =>
      run(options, () => generateRsa(context, options)),
    );
  pair('ec', 'make an EC or Ed25519 key pair')
    .requiredOption('--curve <curve>', 'which curve')
    .action((options: Parameters<typeof generateEc>[1]) =>
      run(options, () => generateEc(context, options)),
    );
  addRefused(pairs, 'ml-dsa', 'SoftHSM behind this cluster has no ML-DSA');
}

function addImport(key: Command, { context, run }: Tree): void {
  const imports = group(key, 'import', 'bring a key');
  making(leaf(imports, 'pem', 'a public key in PEM'))
    .requiredOption('--path <file>', 'where it is')
    .requiredOption('--label <label>', 'what it is called')
    .addOption(choiceOption('--key-type-class <class>', 'what it is', ['ec-public', 'rsa-public']))
    .option(...attributes)
    .action((options: Parameters<typeof importPem>[1]) =>
      run(options, () => importPem(context, options)),
    );
  ofOneKey(leaf(key, 'generate-file', 'a public key in PEM, or what stands for a private one'))
    .addOption(choiceOption('--encoding <encoding>', 'which', FILE_ENCODINGS))
    .requiredOption('--path <file>', 'where it is written')
    .action((options: Parameters<typeof generateFile>[1]) =>
      run(options, () => generateFile(context, options)),
    );
}

function addChanges(key: Command, { context, run }: Tree): void {
  ofOneKey(leaf(key, 'delete', 'delete a key on every HSM; its owner does')).action(
    (options: OneKeyOptions) => run(options, () => deleteKey(context, options)),
  );
  approvable(ofOneKey(leaf(key, 'set-attribute', 'change an attribute; the owner does')))
    .requiredOption('--name <attribute>', 'which')
    .requiredOption('--value <value>', 'what it is to be')
    .action((options: Parameters<typeof setAttribute>[1]) =>
      run(options, () => setAttribute(context, options)),
    );
  for (const [name, action] of [
    ['share', 'KeyShare'],
    ['unshare', 'KeyUnshare'],
  ] as const) {
    approvable(ofOneKey(leaf(key, name, `${name} a key with a crypto-user; the owner does`)))
      .requiredOption('--username <name>', 'with whom')
      .addOption(choiceOption('--role <role>', 'the role of the user', ['crypto-user']))
      .action((options: Parameters<typeof shareKey>[2]) =>
        run(options, () => shareKey(context, action, options)),
      );
  }
}

/** The options that the mechanism has. */
function mechanism(command: Command, name: string, unwraps: boolean): Command {
  if (name.endsWith('aes-gcm')) {
    command
      .requiredOption('--tag-length-bits <number>', 'how long the tag is')
      .option('--aad <hex>', 'what is authenticated besides, behind 0x');
    if (unwraps && name === 'aes-gcm') {
      command.requiredOption('--iv <hex>', 'as wrapping answered it, behind 0x');
    }
  }
  if (name === 'rsa-aes' || name === 'rsa-oaep') {
    command
      .requiredOption('--hash-function <hash>', `of OAEP: ${HASHES.join(', ')}`)
      .requiredOption('--mgf <mgf>', 'mgf1- and a hash');
  }
  return command;
}

function addWrap(key: Command, { context, run }: Tree): void {
  const wraps = group(key, 'wrap', 'export a key under another');
  const unwraps = group(key, 'unwrap', 'import a key that is under another');
  for (const name of WRAP_MECHANISMS) {
    mechanism(withKeys(leaf(wraps, name, `by ${name}`)), name, false)
      .requiredOption('--payload-filter <filter...>', 'the key that is exported')
      .requiredOption('--wrapping-filter <filter...>', 'the key that it is under')
      .option('--path <file>', 'where it is written; else it is in the answer')
      .option('--payload-approval <file>', 'where the exported key needs approvals')
      .option('--wrapping-approval <file>', 'where the other key needs them')
      .action((options: Parameters<typeof wrap>[2]) =>
        run(options, () => wrap(context, name, options)),
      );
    const command = approvable(quorumValues(making(leaf(unwraps, name, `by ${name}`))));
    mechanism(command, name, true)
      .requiredOption('--filter <filter...>', 'the key that it is under')
      .requiredOption('--label <label>', 'what it is called')
      .addOption(choiceOption('--key-type-class <class>', 'what it is', [...UNWRAP_KINDS, 'des3']))
      .option('--data <base64>', 'the wrapped key')
      .option('--data-path <file>', 'a file that holds it')
      .option(...attributes)
      .action((options: Parameters<typeof unwrap>[2]) =>
        run(options, () => unwrap(context, name, options)),
      );
  }
}
