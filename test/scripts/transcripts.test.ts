import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { readdirSync } from 'node:fs';
import type { Command } from 'commander';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { buildProgram } from '../../src/cli/cloudhsm/program.js';
import { Session } from '../../src/cli/cloudhsm/session.js';
import { packageFile } from '../../src/core/entry.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';
import { commandsOf, Stage, transcript } from './transcript.js';

let daemon: DaemonFixture;
let known: Record<string, string>;
beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 2, port: 0 });
  const { admin, cryptoUser } = await callAdmin(daemon.home, 'Credentials');
  const { account } = await daemon.status();
  known = { admin: admin?.password ?? '', crypto_user: cryptoUser?.password ?? '', account };
});
afterAll(() => daemon?.[Symbol.asyncDispose]());

async function play(name: string, more: Record<string, string> = {}): Promise<void> {
  using stage = new Stage(daemon.home.root, { ...known, ...more });
  await stage.play(name, transcript(name));
}

/** They are played in turn on one cluster, so the one that asks for approvals is the last. */
const NAMES = ['users', 'factors', 'keys', 'wrap', 'crypto', 'single', 'policy'];
const LAST = ['key-quorum', 'quorum'];

test.each(NAMES)('%s', async (name) => play(name));

test('replicate', async () => {
  const source = (await daemon.status()).cluster.id;
  const destination = await cloneOf(source);
  await play('replicate', { source, destination });
});

test.each(LAST)('%s', async (name) => play(name));

/** A cluster that is made from a backup of another. */
async function cloneOf(source: string): Promise<string> {
  const { region, endpoints } = await daemon.status();
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new sdk.CloudHSMV2Client({ endpoint: endpoints.aws, region, credentials });
  const backup = await eventually(async () => {
    const { Backups = [] } = await client.send(new sdk.DescribeBackupsCommand({}));
    return Backups.find(
      ({ ClusterId, BackupState }) => ClusterId === source && BackupState === 'READY',
    );
  }, 'a backup');
  const SubnetIds = ['subnet-fd54af9b', 'subnet-49a1bc00'];
  const from = { HsmType: 'hsm2m.medium', SubnetIds, SourceBackupId: backup.BackupId };
  const { Cluster } = await client.send(new sdk.CreateClusterCommand(from));
  const ClusterId = Cluster?.ClusterId ?? '';
  for (const zone of ['a', 'b']) {
    const where = { ClusterId, AvailabilityZone: `${region}${zone}` };
    await client.send(new sdk.CreateHsmCommand(where));
  }
  await eventually(async () => {
    const { clusters } = await callAdmin(daemon.home, 'Status');
    const hsms = clusters.find(({ id }) => id === ClusterId)?.hsms ?? [];
    return hsms.length === 2 && hsms.every(({ state }) => state === 'ACTIVE') ? true : undefined;
  }, 'its HSMs');
  client.destroy();
  return ClusterId;
}

test('each command has a transcript', () => {
  const names = readdirSync(packageFile('test/scripts/transcripts'));
  expect(names.sort()).toEqual(
    [...NAMES, ...LAST, 'replicate'].map((name) => `${name}.txt`).sort(),
  );
  const typed = names
    .flatMap((name) => commandsOf(transcript(name.replace('.txt', ''))))
    .map((words) => words.join(' ').replaceAll(/ --\S+ [^\s-]\S*/g, ''));
  const context = {
    session: new Session(),
    terminal: { secret: async () => undefined, question: async () => undefined },
  };
  const program = buildProgram({ context, single: true }, () => undefined);
  const leaves = leavesOf(program);
  expect(leaves.length).toBeGreaterThan(60);
  const missing = leaves.filter((leaf) => !typed.some((line) => `${line} `.startsWith(`${leaf} `)));
  expect(missing).toEqual([]);
});

/** The words of each command that does something. */
function leavesOf(command: Command, words: readonly string[] = []): string[] {
  const below = command.commands.flatMap((one) => leavesOf(one, [...words, one.name()]));
  const isGroup = command.commands.length > 0;
  return isGroup ? below : [words.join(' ')];
}
