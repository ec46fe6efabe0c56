import { Argument, Option, type Command } from 'commander';

/** Runs a command once its module is loaded. */
type Act = (run: () => Promise<number>) => Promise<void>;

const TOOLS = [
  'p11-kit',
  'openssl-engine',
  'openssl-provider',
  'java',
  'nss',
  'openssh',
  'gnutls',
] as const;

const load = (): Promise<typeof import('./commands/pkcs11.js')> => import('./commands/pkcs11.js');

/** `keyspan pkcs11 …` and `keyspan doctor`. */
export function addPkcs11(
  program: Command,
  act: Act,
  withShared: (command: Command) => Command,
): void {
  const group = program.command('pkcs11').description('PKCS #11 applications on this cluster');
  withShared(group.command('env'))
    .description('what they read: eval "$(keyspan pkcs11 env)"')
    .addOption(new Option('--shell', 'export lines (the default)').conflicts('github'))
    .option('--github', 'lines for "$GITHUB_ENV"')
    .action(async (_: unknown, command: Command) => {
      await act(async () => (await load()).pkcs11Env(command.optsWithGlobals()));
    });
  withShared(group.command('config'))
    .description('configuration of a tool, with the paths of this machine')
    .addArgument(new Argument('<tool>').choices(TOOLS))
    .option('--out <file>', 'write it there')
    .action(async (tool: (typeof TOOLS)[number], _: unknown, command: Command) => {
      await act(async () => (await load()).pkcs11Config(tool, command.optsWithGlobals()));
    });
  for (const parent of [group, program]) {
    withShared(parent.command('doctor'))
      .description('what PKCS #11 applications would stumble over (exit code 1: something)')
      .action(async (_: unknown, command: Command) => {
        await act(async () => (await load()).pkcs11Doctor(command.optsWithGlobals()));
      });
  }
  withShared(group.command('stdio'))
    .description("an application's bytes by standard input and output (p11-kit: remote: |…)")
    .option('--endpoint <url>', 'an ENI of a cluster on another machine, or several: URL,URL')
    .option('--ca <file>', 'of its certificate')
    .option('--certificate <file>', 'of this client')
    .option('--private-key <file>', 'of this client')
    .action(async (_: unknown, command: Command) => {
      await act(async () => (await load()).pkcs11Stdio(command.optsWithGlobals()));
    });
}
