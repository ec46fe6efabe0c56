import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import type { TailOptions } from './commands/audit.js';
import type { FaultOptions } from './commands/fault.js';
import type { HsmVerb } from './commands/hsm.js';
import { isAccount, isRegion } from '../core/arn.js';
import { LIMITS } from '../core/limits.js';
import { addPkcs11 } from './pkcs11-program.js';
import { addPolicy } from './policy-program.js';
import { describeError, EXIT, exitCodeOf, note } from './output.js';
import { readVersion } from './version.js';

/** Runs a command once its module is loaded; gives the exit code. */
type Run = () => Promise<number>;

/**
 * Runs one command line. Each command's own module is loaded only when it is called.
 * @returns the exit code
 */
export async function runProgram(args: readonly string[]): Promise<number> {
  let code: number = EXIT.ok;
  const act = async (run: Run): Promise<void> => {
    code = await run();
  };
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // whoever read has enough, as `head` does
    if (error.code === 'EPIPE') process.exit(code);
  });
  try {
    await buildProgram(act).parseAsync([...args], { from: 'user' });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    note(JSON.stringify(describeError(error)));
    if (process.env['KEYSPAN_DEBUG'] !== undefined && error instanceof Error) {
      note(error.stack ?? '');
    }
    return exitCodeOf(error);
  }
}

function buildProgram(act: (run: Run) => Promise<void>): Command {
  const program = new Command('keyspan')
    .description('A CloudHSM on your machine: a cluster of SoftHSM2 tokens')
    .version(readVersion())
    .exitOverride()
    // what stands behind `aws` may look like an option of ours
    .enablePositionalOptions()
    .configureHelp({ showGlobalOptions: false });
  addLifecycle(program, act);
  addInformation(program, act);
  addAws(program, act);
  addCeremony(program, act);
  addCloudhsmCli(program, act);
  addPkcs11(program, act, withShared);
  addCryptography(program, act);
  addHsm(program, act);
  addCluster(program, act);
  addStore(program, act);
  addBackups(program, act);
  addPolicy(program, act, withShared);
  addClock(program, act);
  addFaults(program, act);
  addCertificates(program, act);
  addAudit(program, act);
  return withShared(program);
}

function addLifecycle(program: Command, act: (run: Run) => Promise<void>): void {
  withShared(program.command('up'))
    .description('start the cluster, or say that it runs')
    .option('--detach', 'return when it is ready and leave it running')
    .option(
      '--hsms <n>',
      'how many HSMs a new cluster has',
      integer(1, LIMITS.hsms_per_cluster_max),
    )
    .option('--ephemeral', 'a cluster that is gone, with its home, when it stops')
    .option('--no-cluster', 'no cluster of its own: callers of the AWS door make theirs')
    .option(
      '--time-scale <factor>',
      'how long steps of CloudHSM take: 0 not at all (default), 1 as at AWS',
      fraction,
    )
    .option('--seed <file>', 'accounts and keys that shall be there, JSON or YAML (docs/ci.md)')
    .option('--faults', 'allow faults on demand, for tests')
    .option('--timeout <seconds>', 'how long to wait until it is ready', integer(1, 3600))
    .option('--region <name>', 'the AWS region to be in', checked(isRegion, 'a region'))
    .option('--account <id>', 'the AWS account to be in', checked(isAccount, '12 digits'))
    .addOption(
      new Option('--eni-mode <mode>', 'an address or a port for each HSM').choices([
        'addresses',
        'ports',
      ]),
    )
    .option('--bind <address>', 'where to listen with --eni-mode ports')
    .option(
      '--port <port>',
      'of the AWS door; 0 is a free port (4599 unless it is taken)',
      integer(0, 65_535),
    )
    .addOption(
      new Option(
        '--auth <mode>',
        'any: unknown access keys are root, unchecked (for CI); verify: only known ones',
      ).choices(['verify', 'any']),
    )
    .option(
      '--metrics <port>',
      'serve http://127.0.0.1:PORT/metrics; 0 is a free port',
      integer(0, 65_535),
    )
    .action(async (_: unknown, command: Command) => {
      await act(async () => (await import('./commands/up.js')).up(command.optsWithGlobals()));
    });
  withShared(program.command('down'))
    .description('stop the cluster')
    .option('--delete', 'and remove its home with every key')
    .option('--yes', 'do not ask')
    .option('--timeout <seconds>', 'how long to wait for its end', integer(1, 3600))
    .action(async (_: unknown, command: Command) => {
      await act(async () => (await import('./commands/down.js')).down(command.optsWithGlobals()));
    });
  withShared(program.command('status'))
    .description('what runs (exit code 3: nothing)')
    .action(async (_: unknown, command: Command) => {
      await act(async () =>
        (await import('./commands/status.js')).status(command.optsWithGlobals()),
      );
    });
}

function addInformation(program: Command, act: (run: Run) => Promise<void>): void {
  withShared(program.command('credentials'))
    .description("the cluster's users and their passwords")
    .action(async (_: unknown, command: Command) => {
      await act(async () =>
        (await import('./commands/credentials.js')).credentials(command.optsWithGlobals()),
      );
    });
  withShared(program.command('env'))
    .description('environment variables for clients: eval "$(keyspan env)"')
    .addOption(new Option('--shell', 'export lines (the default)').conflicts('github'))
    .option('--github', 'lines for "$GITHUB_ENV"')
    .action(async (_: unknown, command: Command) => {
      await act(async () => (await import('./commands/env.js')).env(command.optsWithGlobals()));
    });
  withShared(program.command('top'))
    .description('HSMs, rates and latencies, drawn anew each second; q ends it')
    .option('--once', 'one frame; so it is too where there is no terminal')
    .action(async (_: unknown, command: Command) => {
      await act(async () => (await import('./commands/top.js')).top(command.optsWithGlobals()));
    });
  withShared(program.command('logs'))
    .description('the logs of the daemon and the HSMs in the order of time')
    .option('-f, --follow', 'go on as it grows')
    .option('--hsm <id>', 'lines of one HSM')
    .option('--request <id>', 'lines of one request, through all processes')
    .action(async (_: unknown, command: Command) => {
      await act(async () => (await import('./commands/logs.js')).logs(command.optsWithGlobals()));
    });
}

/** What follows belongs to the AWS CLI, options and `help` too. */
function addAws(program: Command, act: (run: Run) => Promise<void>): void {
  program
    .command('aws')
    .description('the AWS CLI on this installation: keyspan aws cloudhsmv2 describe-clusters')
    .argument('[args...]', 'what the AWS CLI is to do')
    .option('--home <path>', 'the installation; it stands before what the AWS CLI is to do')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[], _: unknown, command: Command) => {
      const { aws } = await import('./commands/aws.js');
      await act(() => aws({ ...command.optsWithGlobals(), args }));
    });
}

function addCeremony(program: Command, act: (run: Run) => Promise<void>): void {
  const ceremony = withShared(program.command('ceremony')).description(
    'the initialization of a cluster, as AWS documents it',
  );
  withShared(ceremony.command('rehearse'))
    .description('walk through it on a new cluster, with the AWS CLI and openssl')
    .option('--folder <path>', 'where keys and certificates go; else the working directory')
    .action(async (_: unknown, command: Command) => {
      const { rehearse } = await import('./commands/ceremony.js');
      await act(() => rehearse(command.optsWithGlobals()));
    });
}

/** What follows is read as the program `cloudhsm-cli` reads it. */
function addCloudhsmCli(program: Command, act: (run: Run) => Promise<void>): void {
  program
    .command('cloudhsm-cli')
    .description("the HSMs' users, as CloudHSM's own command line: keyspan cloudhsm-cli user list")
    .argument('[args...]', 'what cloudhsm-cli is to do')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[], _: unknown, command: Command) => {
      const { runCloudhsmCli } = await import('./cloudhsm/run.js');
      const { home } = command.optsWithGlobals<{ home?: string }>();
      await act(() => runCloudhsmCli(home === undefined ? args : ['--home', home, ...args]));
    });
}

function addCryptography(program: Command, act: (run: Run) => Promise<void>): void {
  withShared(program.command('call'))
    .description('one operation, as: keyspan call DescribeKey \'{"KeyId": "alias/a"}\'')
    .argument('<action>', "AWS's name of the operation")
    .argument('[params]', 'JSON, or file://PATH; fileb://PATH for a member is a blob', '{}')
    .option('--debug', 'say which HSM answered')
    .action(async (action: string, params: string, _: unknown, command: Command) => {
      const { call } = await import('./commands/call.js');
      await act(() => call({ ...command.optsWithGlobals(), action, params }));
    });
  withShared(program.command('encrypt'))
    .description('encrypt a file of any size under a data key')
    .argument('<file>', 'what to encrypt; - is standard input')
    .option('-o, --output <file>', 'where to; standard output unless given')
    .requiredOption('--key <id>', 'key id, ARN or alias')
    .option('--context <name=value>', 'bind it to this pair; repeatable', pairs, {})
    .action(async (file: string, _: unknown, command: Command) => {
      const { encrypt } = await import('./commands/encrypt.js');
      await act(() => encrypt({ ...command.optsWithGlobals<{ key: string }>(), file }));
    });
  withShared(program.command('decrypt'))
    .description('decrypt what encrypt made')
    .argument('<file>', 'what to decrypt; - is standard input')
    .option('-o, --output <file>', 'where to; appears only when the whole file is genuine')
    .option('--key <id>', 'refuse files of other keys')
    .option('--context <name=value>', 'insist on this pair; repeatable', pairs, {})
    .action(async (file: string, _: unknown, command: Command) => {
      const { decrypt } = await import('./commands/decrypt.js');
      await act(() => decrypt({ ...command.optsWithGlobals(), file }));
    });
}

const HSM_VERBS: Readonly<Record<HsmVerb, string>> = {
  start: 'start an HSM that was stopped or killed',
  stop: 'stop an HSM in good order; it stays stopped',
  kill: 'kill -9 an HSM; it stays dead until start',
  crash: 'kill -9 an HSM; the supervisor repairs it',
  pause: 'stop an HSM as a hung machine would; it stays so until resume',
  resume: 'let a paused HSM go on',
  replace: 'a new HSM takes the place and the ENI of one that leaves in good order',
  wipe: 'lose an HSM and its token at once; a new one joins in its place',
};

function addHsm(program: Command, act: (run: Run) => Promise<void>): void {
  const hsm = withShared(program.command('hsm')).description("the cluster's HSMs");
  withShared(hsm.command('list'))
    .description('all HSMs with their states')
    .action(async (_: unknown, command: Command) => {
      const { listHsms } = await import('./commands/hsm.js');
      await act(() => listHsms(command.optsWithGlobals()));
    });
  withShared(hsm.command('add'))
    .description('a new HSM joins the cluster')
    .option('--az <zone>', 'its availability zone; else the one that has fewest HSMs')
    .action(async (_: unknown, command: Command) => {
      const { addHsm: add } = await import('./commands/hsm.js');
      await act(() => add(command.optsWithGlobals()));
    });
  withShared(hsm.command('remove'))
    .description('take an HSM out, once the others have proved that they hold every key')
    .argument('<id>', 'hsm-…')
    .action(async (id: string, _: unknown, command: Command) => {
      const { removeHsm } = await import('./commands/hsm.js');
      await act(() => removeHsm({ ...command.optsWithGlobals(), id }));
    });
  withShared(hsm.command('audit'))
    .description('the management commands that an HSM was given, as it wrote them down')
    .argument('<id>', 'hsm-…, also one that is gone')
    .action(async (id: string, _: unknown, command: Command) => {
      const { printHsmAudit } = await import('./commands/hsm-audit.js');
      await act(async () => printHsmAudit({ ...command.optsWithGlobals(), id }));
    });
  for (const [verb, description] of Object.entries(HSM_VERBS)) {
    withShared(hsm.command(verb))
      .description(description)
      .argument('<id>', 'hsm-…')
      .action(async (id: string, _: unknown, command: Command) => {
        const { changeHsm } = await import('./commands/hsm.js');
        await act(() => changeHsm({ ...command.optsWithGlobals(), verb: verb as HsmVerb, id }));
      });
  }
}

function addCluster(program: Command, act: (run: Run) => Promise<void>): void {
  const cluster = withShared(program.command('cluster')).description('the cluster as a whole');
  withShared(cluster.command('check'))
    .description('print what is where; exit 1 when something is to be repaired')
    .option('--repair', 'bring every HSM up to date first')
    .action(async (_: unknown, command: Command) => {
      const { checkCluster } = await import('./commands/cluster.js');
      await act(() => checkCluster(command.optsWithGlobals()));
    });
  withShared(cluster.command('discard-unknown'))
    .description('destroy copies of keys that the ledger does not know')
    .argument('[key...]', 'ids as cluster check prints them')
    .option('--all', 'all that are unknown')
    .action(async (keys: string[], _: unknown, command: Command) => {
      const { discardUnknown } = await import('./commands/cluster.js');
      await act(() => discardUnknown({ ...command.optsWithGlobals(), keys }));
    });
}

function addStore(program: Command, act: (run: Run) => Promise<void>): void {
  const store = withShared(program.command('store')).description('the store of facts');
  withShared(store.command('adopt'))
    .description('let a store that is behind its tokens (an old copy) count again')
    .action(async (_: unknown, command: Command) => {
      const { adoptStore } = await import('./commands/store.js');
      await act(() => adoptStore(command.optsWithGlobals()));
    });
}

function addBackups(program: Command, act: (run: Run) => Promise<void>): void {
  const backup = withShared(program.command('backup')).description('backups of clusters');
  const file = '--passphrase-file <file>';
  const fromFile = 'a file whose first line is the passphrase; else it is asked for';
  withShared(backup.command('list'))
    .description('the backups of all clusters')
    .action((options) =>
      act(async () => await (await import('./commands/backup.js')).listBackups(options)),
    );
  withShared(backup.command('export'))
    .description('write a backup to a file for another installation, sealed by a passphrase')
    .argument('<id>', 'a backup')
    .requiredOption('-o, --out <file>', 'where to write it')
    .option(file, fromFile)
    .action((id: string, options) =>
      act(
        async () => await (await import('./commands/backup.js')).exportBackup({ ...options, id }),
      ),
    );
  withShared(backup.command('import'))
    .description('take up a backup that was exported')
    .argument('<file>', 'what `backup export` wrote')
    .option('--region <region>', 'where it is to be', checked(isRegion, 'a region'))
    .option(file, fromFile)
    .action((path: string, options) =>
      act(
        async () =>
          await (await import('./commands/backup.js')).importBackup({ ...options, file: path }),
      ),
    );
}

function addClock(program: Command, act: (run: Run) => Promise<void>): void {
  const clock = withShared(program.command('clock')).description(
    'civil time: deletions, rotations, backups and the dates of policies go by it',
  );
  const force = '--force';
  withShared(clock.command('show'))
    .description('what civil time is, and how far it is ahead')
    .action((options) => act(async () => (await import('./commands/clock.js')).showClock(options)));
  withShared(clock.command('advance'))
    .description('move civil time on; what is due by then happens at once')
    .argument('<duration>', '30d, 12h, 2w, or several of w, d, h, m and s')
    .option(force, 'also back: keyspan clock advance --force -- -1d')
    .action((by: string, options) =>
      act(async () => (await import('./commands/clock.js')).advanceClock({ ...options, by })),
    );
  withShared(clock.command('reset'))
    .description("bring civil time back to the machine's")
    .option(force, 'it goes back by that')
    .action((options) =>
      act(async () => (await import('./commands/clock.js')).resetClock(options)),
    );
}

function addFaults(program: Command, act: (run: Run) => Promise<void>): void {
  const fault = withShared(program.command('fault')).description(
    'faults on demand, in a daemon that was started with --faults',
  );
  withShared(fault.command('add'))
    .description('let an operation of an HSM be late, fail, hang or kill it')
    .requiredOption('--hsm <id>', 'hsm-…, next (the next that starts) or daemon')
    .option('--operation <name>', 'an operation of the HSM, or a step of the daemon', '*')
    .addOption(
      new Option('--when <when>', "before the work, or after the token's work, before the reply")
        .choices(['before', 'after'])
        .default('before'),
    )
    .option('--nth <n>', 'begin with the n-th match', integer(1, 999_999_999), 1)
    .option('--times <n>', 'strike this often', integer(1, 999_999_999), 1)
    .option('--delay <ms>', 'wait', integer(1, LIMITS.fault_delay_max_ms))
    .option('--error <ckr>', 'fail as the token would, for example CKR_DEVICE_ERROR')
    .option('--drop', 'never answer')
    .option('--crash', 'kill -9 the process')
    .action(async (_: unknown, command: Command) => {
      const { addFault } = await import('./commands/fault.js');
      await act(() => addFault(command.optsWithGlobals<FaultOptions>()));
    });
  withShared(fault.command('list'))
    .description('faults that wait')
    .action(async (_: unknown, command: Command) => {
      const { listFaults } = await import('./commands/fault.js');
      await act(() => listFaults(command.optsWithGlobals()));
    });
  withShared(fault.command('clear'))
    .description('take all faults away')
    .action(async (_: unknown, command: Command) => {
      const { clearFaults } = await import('./commands/fault.js');
      await act(() => clearFaults(command.optsWithGlobals()));
    });
}

function addCertificates(program: Command, act: (run: Run) => Promise<void>): void {
  const cert = withShared(program.command('cert')).description('client certificates');
  withShared(cert.command('issue'))
    .description('make a client certificate')
    .requiredOption('--principal <arn>', 'who it is for')
    .option('--out <dir>', 'where client.crt, client.key and customerCA.crt go')
    .option('--days <n>', 'how long it is valid', integer(1, 3650))
    .action(async (_: unknown, command: Command) => {
      const { issueCertificate } = await import('./commands/cert.js');
      await act(() => issueCertificate(command.optsWithGlobals<{ principal: string }>()));
    });
}

function addAudit(program: Command, act: (run: Run) => Promise<void>): void {
  const audit = withShared(program.command('audit')).description("the daemon's audit log");
  withShared(audit.command('tail'))
    .description('its last lines: when, who, what, of what, how it ended')
    .option('-f, --follow', 'go on as it grows')
    .option('-n, --lines <n>', 'so many', integer(1, LIMITS.audit_tail_max_lines), 20)
    .option('--event <name>', 'of this event alone: Encrypt, hsm.state, …')
    .option('--key <key>', 'about this key or alias: an ARN, an id, or a part of it')
    .action(async (_: unknown, command: Command) => {
      const { tailAudit } = await import('./commands/audit.js');
      await act(() => tailAudit(command.optsWithGlobals<TailOptions>()));
    });
  withShared(audit.command('verify'))
    .description('whether a line was altered, removed, moved or cut off (exit code 1)')
    .action(async (_: unknown, command: Command) => {
      const { verifyAudit } = await import('./commands/audit.js');
      await act(() => verifyAudit(command.optsWithGlobals()));
    });
}

/** `--home` and `--json` may stand before or after the verb. */
function withShared(command: Command): Command {
  return command
    .option('--home <path>', 'the installation; $KEYSPAN_HOME or ~/.keyspan unless given')
    .option('--json', 'for programs');
}

const fraction = (text: string): number => {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('It is a number from 0 to 1.');
};

const integer =
  (min: number, max: number) =>
  (text: string): number => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It is a number from ${min} to ${max}.`);
  };

const checked =
  (test: (text: string) => boolean, what: string) =>
  (text: string): string => {
    if (test(text)) return text;
    throw new InvalidArgumentError(`It is ${what}.`);
  };

function pairs(text: string, before: Record<string, string>): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It is name=value.');
  const name = text.slice(0, at);
  if (Object.hasOwn(before, name)) throw new InvalidArgumentError(`${name} is given twice.`);
  return { ...before, [name]: text.slice(at + 1) };
}
