import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { authenticatedData, parseCiphertext } from '../../src/kms/ciphertext.js';
import type { BackupStatus } from '../../src/protocol/admin.js';
import { CloudHsmAccount, REGION } from '../support/cloudhsm-account.js';
import { keyspan, type Outcome } from '../support/command.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';
import { FrameClient } from '../support/hsm-host.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const PASSPHRASE = 'correct horse';
const PLAINTEXT = Buffer.from('what only the first installation knew');

/** A cluster with a KMS key, and another installation without a cluster. */
let here: DaemonFixture;
let there: CloudHsmAccount;
let folder: string;
beforeAll(async () => {
  [here, there] = await Promise.all([
    DaemonFixture.start({ hsms: 1, port: 0 }),
    CloudHsmAccount.open(),
  ]);
  folder = join(here.home.root, 'moved');
  mkdirSync(folder);
});
afterAll(async () => {
  await Promise.all([here?.[Symbol.asyncDispose](), there?.[Symbol.asyncDispose]()]);
});

const run = (args: readonly string[], home = here.home, input = ''): Promise<Outcome> =>
  keyspan(['backup', ...args], { home: home.root, input: Buffer.from(input) });
const text = ({ stdout }: Outcome): string => stdout.toString();
const file = (name: string, content: string): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

async function firstBackup(): Promise<BackupStatus> {
  return await eventually(async () => {
    const [backup] = JSON.parse(text(await run(['list', '--json']))) as BackupStatus[];
    return backup?.state === 'READY' ? backup : undefined;
  }, 'the first backup');
}

describe('backup', () => {
  let ciphertext: Buffer;
  let exported: string;

  test('list shows what was taken', async () => {
    const { id } = (await here.status()).cluster;
    const backup = await firstBackup();
    expect(backup).toMatchObject({ cluster: id, account: '123456789012', region: 'us-east-1' });
    const lines = text(await run(['list']))
      .trimEnd()
      .split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[1]).toContain(`${backup.id}  READY`);
  });

  test('export writes a file that the passphrase alone opens', async () => {
    const home = here.home.root;
    const made = await keyspan(['call', 'CreateKey', '{}'], { home });
    const KeyId = (JSON.parse(text(made)) as { KeyMetadata: { KeyId: string } }).KeyMetadata.KeyId;
    const params = JSON.stringify({ KeyId, Plaintext: PLAINTEXT.toString('base64') });
    const answer = JSON.parse(text(await keyspan(['call', 'Encrypt', params], { home })));
    ciphertext = Buffer.from((answer as { CiphertextBlob: string }).CiphertextBlob, 'base64');
    // a change of membership brings the backup that has the key
    const hsm = await callAdmin(here.home, 'HsmAdd', {}, 60_000);
    const backups = await eventually(async () => {
      const all = (await callAdmin(here.home, 'BackupList')).backups;
      return all.length === 2 ? all : undefined;
    }, 'another backup');
    expect(hsm.state).toBe('ACTIVE');
    const { id } = backups[1] ?? expect.unreachable();
    exported = join(folder, 'exported');
    const key = file('passphrase', `${PASSPHRASE}\nand a remark\n`);
    const outcome = await run(['export', id, '-o', exported, '--passphrase-file', key]);
    expect([outcome.code, outcome.stderr]).toEqual([0, '']);
    expect(text(outcome)).toBe(`${id} is in ${exported}. Who has the passphrase has its keys.\n`);
    expect(readFileSync(exported).includes('app_user')).toBe(false);
  });

  test('import takes it up in another installation, and its keys open what they made', async () => {
    const { home } = there.daemon;
    const wrong = await run(['import', exported], home, 'another passphrase\n');
    expect(wrong).toMatchObject({
      code: 254,
      stderr: expect.stringContaining('sealed by another'),
    });
    const outcome = await run(['import', exported, '--json'], home, `${PASSPHRASE}\n`);
    const { id, cluster, region } = JSON.parse(text(outcome)) as BackupStatus;
    expect({ cluster, region }).toEqual({
      cluster: (await here.status()).cluster.id,
      region: REGION,
    });
    const { ClusterId } = await there.create({ SourceBackupId: id });
    const { HsmId = '' } = await there.createHsm(ClusterId);
    await there.active(ClusterId, 1);

    const { admin } = await callAdmin(here.home, 'Credentials');
    const client = (await FrameClient.connect(join(home.runtime, `${HsmId}.sock`))).greet();
    const as = { session: await client.login('admin', admin?.password ?? ''), epoch: 1_000 };
    const user = { username: 'kmsuser', role: 'crypto-user', password: 'another-password' };
    await client.ask('user-change-password', user, as);
    const session = await client.login('kmsuser', user.password);
    const page = { after: '', limit: 10 };
    const { keys } = await client.ask<'find'>('find', page, { session });
    const [key] = keys;
    expect(keys).toHaveLength(1);
    const { header, iv, tag, ...parts } = parseCiphertext(ciphertext) ?? expect.unreachable();
    const data = Buffer.concat([parts.ciphertext, tag]);
    const fields = { keyId: key?.id, iv, aad: authenticatedData(header), data };
    const opened = await client.ask<'decrypt'>('decrypt', fields, { session });
    expect(Buffer.from(opened.data)).toEqual(PLAINTEXT);
  });

  test('import refuses a damaged file whole', async () => {
    const damaged = join(folder, 'damaged');
    writeFileSync(damaged, readFileSync(exported).subarray(0, -1));
    const { home } = there.daemon;
    // the cluster that was made here is backed up by itself meanwhile
    const { id } = (await here.status()).cluster;
    const imported = async (): Promise<BackupStatus[]> =>
      (JSON.parse(text(await run(['list', '--json'], home))) as BackupStatus[]).filter(
        ({ cluster }) => cluster === id,
      );
    const before = await imported();
    expect(before).toHaveLength(1);
    const outcome = await run(['import', damaged], home, `${PASSPHRASE}\n`);
    expect(outcome.code).toBe(254);
    expect(outcome.stderr).toContain('KeyspanBackupRefused');
    expect(await imported()).toEqual(before);
  });

  test.each([
    ['a short passphrase', ['import', '/nowhere'], 'short\n'],
    ['no passphrase', ['import', '/nowhere'], ''],
    [
      'two passphrases',
      ['export', 'backup-abcdefghijk', '-o', 'x'],
      `${PASSPHRASE}\nanother one\n`,
    ],
    ['no such backup', ['export', 'backup-abcdefghijk', '-o', 'x'], `${PASSPHRASE}\n`.repeat(2)],
    ['no file to write', ['export', 'backup-abcdefghijk'], ''],
    ['a region that is none', ['import', 'x', '--region', 'nowhere'], ''],
  ])('with %s does nothing', async (_what, args, input) => {
    const { code } = await run(args, here.home, input);
    expect([252, 254]).toContain(code);
    expect(existsSync('x')).toBe(false);
  });

  test('import of what is not there', async () => {
    const nowhere = join(temporaryDirectory(), 'nothing');
    const outcome = await run(['import', nowhere], here.home, `${PASSPHRASE}\n`);
    expect([outcome.code, outcome.stderr]).toEqual([254, expect.stringContaining('Refused')]);
  });
});

test('what is exported can be restored here again', async () => {
  const { id } = await firstBackup();
  const again = join(folder, 'again');
  const key = file('passphrase', PASSPHRASE);
  await run(['export', id, '-o', again, '--passphrase-file', key]);
  const outcome = await run(['import', again, '--passphrase-file', key, '--region', 'eu-west-1']);
  expect(text(outcome)).toMatch(/^backup-[a-z2-7]{11} is of cluster-[a-z2-7]{11}, taken at /);
  const client = new sdk.CloudHSMV2Client({
    endpoint: (await here.status()).endpoints.aws,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  const { Backups } = await client.send(new sdk.DescribeBackupsCommand({}));
  client.destroy();
  expect(Backups).toMatchObject([{ BackupState: 'READY', CopyTimestamp: expect.any(Date) }]);
});
