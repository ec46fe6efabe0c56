import { Command, Option } from 'commander';
import { CLI_ROLES } from '../../protocol/hsm-session.js';
import type { ClusterOptions, Context } from './context.js';

/** What a line asks for. */
export type Outcome =
  | { readonly data: unknown }
  | { readonly help: string }
  | { readonly begin: ClusterOptions }
  | { readonly quit: true };

/** What the commands of the tree are made with. */
export interface Tree {
  readonly context: Context;
  /** runs a command, logged in as the environment says where that counts */
  readonly run: (options: ClusterOptions, work: () => Promise<unknown>) => Promise<void>;
  /** as `run`, for what needs no login and makes none */
  readonly runOpen: (work: () => Promise<unknown>) => Promise<void>;
}

/** A group of commands. */
export const group = (parent: Command, name: string, description: string): Command =>
  parent.command(name).description(description);

/** A command that is about a cluster. */
export const leaf = (parent: Command, name: string, description: string): Command =>
  parent
    .command(name)
    .description(description)
    .option('--cluster-id <id>', "which cluster; the installation's own unless given");

export const roleOption = (): Option =>
  new Option('--role <role>', 'the role that the user has')
    .choices(CLI_ROLES)
    .makeOptionMandatory();

export const choiceOption = (flags: string, description: string, of: readonly string[]): Option =>
  new Option(flags, description).choices(of).makeOptionMandatory();

/** The approvals of an operation that M of N have to approve. */
export const approvable = (command: Command): Command =>
  command.option('--approval <file>', 'the token file with the signatures of those who approve');

/** Whom a command is about. */
export const aboutUser = (command: Command): Command =>
  command.requiredOption('--username <name>', 'whom it is about').addOption(roleOption());

/** A command with keys. */
export const withKeys = (command: Command): Command =>
  command.option(
    '--disable-key-availability-check',
    'also while fewer HSMs serve than new keys are put on',
  );

/** A command about one key. */
export const ofOneKey = (command: Command): Command =>
  withKeys(command).requiredOption(
    '--filter <filter...>',
    'key-reference=0x..., attr.NAME=VALUE; all must hold, and one key fit',
  );
