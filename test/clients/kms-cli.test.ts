import * as sdk from '@aws-sdk/client-kms';
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cliExamples, membersShown, type CliExample } from '../support/cli-examples.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { awsEnvironment, kmsClient } from '../support/kms-client.js';

/** The examples of the AWS CLI's manual are of two accounts, whose keys have the same ids. */
const ACCOUNTS = ['111122223333', '123456789012'] as const;
const KEY = '1234abcd-12ab-34cd-56ef-1234567890ab';
const OTHER = '0987dcba-09fe-87dc-65ba-ab0987654321';

const TEXT = 'hello world\n';

/** What the examples find in an account. */
function seedOf(account: string): unknown {
  const arn = (name: string): string => `arn:aws:iam::${account}:${name}`;
  const grant = (grantee: string, operations: string[]): object => ({
    grantee: arn(grantee),
    operations,
    retiring: arn('user/ExampleAdmin'),
    encryptionContextSubset: { Department: 'IT' },
  });
  const trust = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { AWS: account }, Action: 'sts:AssumeRole' }],
  };
  // of names that differ in capitals alone an account may have one
  const example = account === ACCOUNTS[0] ? 'ExampleUser' : 'exampleUser';
  const users = ['ExampleAdmin', example, 'test-user'];
  const roles = ['ExampleRole', 'adminRole'];
  return {
    accounts: {
      [account]: {
        users: users.map((name) => ({ name })),
        roles: roles.map((name) => ({ name, trust })),
      },
    },
    keys: [
      {
        id: KEY,
        account,
        aliases: ['alias/ExampleAlias', 'alias/oregon-test-key', 'alias/project121-test'],
        tags: { Dept: 'IT', Purpose: 'Test' },
        grants: [grant(`user/${example}`, ['Encrypt'])],
      },
      {
        id: OTHER,
        account,
        aliases: ['alias/test-key'],
        grants: [grant('role/ExampleRole', ['Decrypt'])],
      },
    ],
  };
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** An account with a folder to work in, and bash with Debian's AWS CLI. */
interface Desk {
  readonly daemon: DaemonFixture;
  readonly client: sdk.KMSClient;
  readonly folder: string;
  readonly bash: (script: string, cwd?: string) => Promise<Outcome>;
}

async function deskOf(account: string): Promise<Desk> {
  const daemon = DaemonFixture.prepare();
  const folder = join(daemon.home.root, 'desk');
  mkdirSync(folder, { recursive: true });
  const seed = join(folder, 'seed.json');
  writeFileSync(seed, JSON.stringify(seedOf(account)));
  await daemon.up({ hsms: 1, port: 0, account, region: 'us-west-2', seed });
  const told = await awsEnvironment(daemon);
  // as docs/kms.md has it: the CLI reads AWS_ENDPOINT_URL from 2.13 on
  const program = '#!/bin/sh\nexec /usr/bin/aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n';
  writeFileSync(join(folder, 'aws'), program, { mode: 0o700 });
  const PATH = `${folder}:/usr/bin:/bin`;
  const env = { ...told, PATH, HOME: folder, LC_ALL: 'C.UTF-8' };
  const bash = (script: string, cwd = folder): Promise<Outcome> =>
    new Promise((resolve) => {
      const args = ['-c', `set -eo pipefail\n${script}`];
      execFile('bash', args, { cwd, env }, (error, stdout, stderr) => {
        resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
      });
    });
  const client = await kmsClient(daemon);
  return { daemon, client, folder, bash };
}

const desks = new Map<string, Desk>();
beforeAll(async () => {
  await Promise.all(
    ACCOUNTS.map(async (account) => {
      desks.set(account, await deskOf(account));
    }),
  );
});
afterAll(async () => {
  for (const { client } of desks.values()) client.destroy();
  await Promise.all([...desks.values()].map(({ daemon }) => daemon[Symbol.asyncDispose]()));
});
const desk = (account: string = ACCOUNTS[0]): Desk => desks.get(account) as Desk;
/** The account that an example speaks of. */
const deskFor = ({ script }: CliExample): Desk =>
  desk(ACCOUNTS.find((account) => script.includes(account)));

const examples = cliExamples('kms');
const named = (name: string): CliExample => {
  const found = examples.find((example) => example.name === name);
  if (!found) throw new Error(`the manual has no example ${name}`);
  return found;
};

/** Examples of what is not built. */
const UNBUILT = [
  'connect-custom-key-store 1',
  'create-custom-key-store 1',
  'create-key 2',
  'create-key 3',
  'create-key 4',
  'create-key 5',
  'create-key 6',
  'create-key 7',
  'create-key 8',
  'delete-custom-key-store 1',
  'delete-imported-key-material 1',
  'describe-custom-key-stores 1',
  'describe-custom-key-stores 2',
  'describe-custom-key-stores 3',
  'disconnect-custom-key-store 1',
  'generate-data-key-pair 1',
  'generate-data-key-pair-without-plaintext 1',
  'get-parameters-for-import 1',
  'get-public-key 1',
  'get-public-key 2',
  'import-key-material 1',
  'sign 1',
  'sign 2',
  'update-custom-key-store 1',
  'update-custom-key-store 2',
  'update-custom-key-store 3',
  'update-custom-key-store 5',
  'verify 1',
];

/** Examples that no shell runs as they stand: why, and what must be put right. */
const MENDED: Readonly<Record<string, (script: string) => string>> = {
  // it has a prompt before the command
  'disconnect-custom-key-store 1': (script) => script.replace(/^\$ /, ''),
  // it begins with the action
  'delete-custom-key-store 1': (script) => `aws kms ${script}`,
  // its first line is an array's, and not what it means
  'sign 1': (script) => script.replace(/^msg=.*$/m, ''),
  // a line goes on after a backslash and spaces, so that the command ends there
  're-encrypt 1': (script) => script.replace(/\\ +$/m, '\\'),
};

const PATTERN = /\(ValidationException\).*'xksProxyAuthenticationCredential\.accessKeyId'/;

/** Examples that are of something else than the account has, and how they end. */
const ELSEWHERE: Readonly<Record<string, RegExp>> = {
  // of an RSA key, while these keys are symmetric
  'decrypt 2': /\(InvalidKeyUsageException\)/,
  'encrypt 2': /\(InvalidKeyUsageException\)/,
  // of a multi-Region key in another region
  'describe-key 3': /\(NotFoundException\).*Invalid arn ap-northeast-1/,
  // of access key ids that AWS's own pattern does not allow: it has neither 0 nor 1
  'create-custom-key-store 2': PATTERN,
  'create-custom-key-store 3': PATTERN,
  'update-custom-key-store 4': PATTERN,
  // KMS gives a grant its id
  'retire-grant 1': /\((?:NotFoundException|InvalidGrantIdException)\)/,
  'revoke-grant 1': /\((?:NotFoundException|InvalidGrantIdException)\)/,
};

/**
 * Members that an output has because it is of another kind of key, or of an older CLI: this one
 * takes it out of what it has put together from pages.
 */
const NOT_SHOWN = ['SigningAlgorithms', 'MacAlgorithms', 'Truncated'];

const script = ({ name, script: text }: CliExample): string => MENDED[name]?.(text) ?? text;

/** Prepares the keys, as far as an example needs more than the seed. */
const BEFORE: Readonly<Record<string, (at: Desk) => Promise<unknown>>> = {
  'cancel-key-deletion 1': ({ client }) =>
    client.send(new sdk.ScheduleKeyDeletionCommand({ KeyId: KEY })),
  'enable-key 1': ({ client }) => client.send(new sdk.DisableKeyCommand({ KeyId: KEY })),
  'get-key-rotation-status 1': ({ client }) =>
    client.send(new sdk.EnableKeyRotationCommand({ KeyId: KEY })),
};

async function run(example: CliExample, folder = deskFor(example).folder): Promise<Outcome> {
  const at = deskFor(example);
  // the failure of another example may have emptied it
  writeFileSync(join(folder, 'ExamplePlaintextFile'), TEXT);
  for (const [file, text] of example.files) writeFileSync(join(folder, file), text);
  await BEFORE[example.name]?.(at);
  return await at.bash(script(example), folder);
}

/** Files that examples read, beside those that they make. */
function fill(folder: string, ciphertext: Uint8Array): void {
  writeFileSync(join(folder, 'ExampleEncryptedFile'), ciphertext);
  const names = ['UnsignedMessage', 'EncodedMessage', 'ExampleSignature', 'customerCA.crt'];
  for (const name of [...names, 'EncryptedKeyMaterial.bin', 'ImportToken.bin']) {
    writeFileSync(join(folder, name), 'of no importance');
  }
}

describe('the examples of the AWS CLI’s manual', () => {
  let refusals: Promise<ReadonlyMap<string, Outcome>>;
  beforeAll(async () => {
    for (const { folder, client } of desks.values()) {
      const Plaintext = Buffer.from(TEXT);
      const made = await client.send(new sdk.EncryptCommand({ KeyId: KEY, Plaintext }));
      fill(folder, made.CiphertextBlob ?? Plaintext);
    }
    refusals = refusedOnes();
  });

  /** Runs what changes nothing beside the others, in a folder of its own. */
  async function refusedOnes(): Promise<ReadonlyMap<string, Outcome>> {
    const folder = join(desk().folder, 'refusals');
    mkdirSync(folder);
    const ends = new Map<string, Outcome>();
    for (const name of [...UNBUILT, ...Object.keys(ELSEWHERE)]) {
      // a failure empties the file that it was to write
      fill(folder, Buffer.from(TEXT));
      ends.set(name, await run(named(name), folder));
    }
    return ends;
  }

  test('are found, and the lists here name none that is not there', () => {
    expect(examples.length).toBeGreaterThan(60);
    const listed = [...UNBUILT, ...Object.keys(MENDED), ...Object.keys(ELSEWHERE)];
    expect(listed.filter((name) => !examples.some((one) => one.name === name))).toEqual([]);
  });

  const runnable = examples.filter(({ name }) => !UNBUILT.includes(name) && !ELSEWHERE[name]);
  test.each(runnable)('$name', async (example) => {
    // each one finds the key in use
    const { client, folder } = deskFor(example);
    const { KeyMetadata } = await client.send(new sdk.DescribeKeyCommand({ KeyId: KEY }));
    if (KeyMetadata?.KeyState === 'PendingDeletion') {
      await client.send(new sdk.CancelKeyDeletionCommand({ KeyId: KEY }));
    }
    await client.send(new sdk.EnableKeyCommand({ KeyId: KEY }));
    const { code, stdout, stderr } = await run(example);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    if (example.output === undefined) expect(stdout).toBe('');
    else {
      expect(() => JSON.parse(stdout) as unknown).not.toThrow();
      const answered = membersShown(stdout);
      const shown = [...membersShown(example.output)].filter((name) => !NOT_SHOWN.includes(name));
      expect(shown.filter((name) => !answered.has(name))).toEqual([]);
    }
    if (example.name === 'decrypt 1') {
      const text = readFileSync(join(folder, 'ExamplePlaintextFile'), 'utf8');
      expect(text).toBe(TEXT);
    }
    if (example.name === 'generate-random 1') {
      expect(readFileSync(join(folder, 'ExampleRandom'))).toHaveLength(32);
    }
  });

  test('of what is not built are refused by name', async () => {
    const ends = await refusals;
    for (const name of UNBUILT) {
      const { code, stderr } = ends.get(name) ?? {};
      expect([name, code, stderr]).toEqual([
        name,
        254,
        expect.stringMatching(/^\s*An error occurred \(UnsupportedOperationException\) when/),
      ]);
    }
  });

  test.each(Object.entries(ELSEWHERE))('%s is of something that is not here', async (name, end) => {
    const { code, stderr } = (await refusals).get(name) ?? {};
    expect([code, stderr]).toEqual([254, expect.stringMatching(end)]);
  });

  test.each(['retire-grant 1', 'revoke-grant 1'])('%s with an id that is there', async (name) => {
    const { client, bash } = deskFor(named(name));
    const { GrantId = '' } = await client.send(
      new sdk.CreateGrantCommand({
        KeyId: KEY,
        GranteePrincipal: `arn:aws:iam::${ACCOUNTS[0]}:user/ExampleUser`,
        Operations: ['Encrypt'],
      }),
    );
    const { stdout, code } = await bash(script(named(name)).replace(/[0-9a-f]{64}/, GrantId));
    expect([code, stdout]).toEqual([0, '']);
    const { Grants } = await client.send(new sdk.ListGrantsCommand({ KeyId: KEY }));
    expect(Grants?.map((grant) => grant.GrantId)).not.toContain(GrantId);
  });
});

/** What every introduction to KMS begins with. */
const TUTORIAL = `
KEY_ID=$(aws kms create-key --description 'my first key' --query KeyMetadata.KeyId --output text)
aws kms create-alias --alias-name alias/tutorial --target-key-id $KEY_ID
echo 'This is my secret' > secret.txt
aws kms encrypt --key-id alias/tutorial --plaintext fileb://secret.txt \\
  --output text --query CiphertextBlob | base64 --decode > secret.enc
! grep -q secret secret.enc
aws kms decrypt --ciphertext-blob fileb://secret.enc \\
  --output text --query Plaintext | base64 --decode
NEW=$(aws kms create-key --query KeyMetadata.Arn --output text)
aws kms re-encrypt --ciphertext-blob fileb://secret.enc --destination-key-id $NEW \\
  --output text --query CiphertextBlob | base64 --decode > secret.new
aws kms decrypt --key-id $NEW --ciphertext-blob fileb://secret.new \\
  --output text --query Plaintext | base64 --decode
aws kms enable-key-rotation --key-id $KEY_ID
aws kms get-key-rotation-status --key-id $KEY_ID --query KeyRotationEnabled
aws kms schedule-key-deletion --key-id $KEY_ID --pending-window-in-days 7 \\
  --query KeyState --output text
aws kms decrypt --ciphertext-blob fileb://secret.enc 2>&1 | tail -n 1 || true
aws kms cancel-key-deletion --key-id $KEY_ID --query KeyId --output text | sed 's|.*/||'
aws kms describe-key --key-id $KEY_ID --query KeyMetadata.KeyState --output text
aws kms enable-key --key-id $KEY_ID
aws kms decrypt --ciphertext-blob fileb://secret.enc \\
  --output text --query Plaintext | base64 --decode
`;

test('the transcript that tutorials begin with', async () => {
  const { code, stdout, stderr } = await desk().bash(TUTORIAL);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const pending = `arn:aws:kms:us-west-2:${ACCOUNTS[0]}:key/`;
  expect(stdout.split('\n')).toEqual([
    'This is my secret',
    'This is my secret',
    'true',
    'PendingDeletion',
    expect.stringMatching(
      new RegExp(`\\(KMSInvalidStateException\\).*: ${pending}.* is pending deletion\\.$`),
    ) as string,
    expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    'Disabled',
    'This is my secret',
    '',
  ]);
});
