import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { DoorSocket, refusedUpgrade } from '../support/door-socket.js';
import { presigned, signedHeaders, type SigningOptions } from '../support/sigv4-signer.js';

const run = promisify(execFile);
const ACCOUNT = '123456789012';

let daemon: DaemonFixture;
let endpoint: string;
let eni: string;
beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 1, port: 0, auth: 'any' });
  const { endpoints } = await daemon.status();
  endpoint = endpoints.aws;
  [eni = ''] = endpoints.websocket;
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

interface Credentials {
  readonly AccessKeyId: string;
  readonly SecretAccessKey: string;
  readonly SessionToken?: string;
}
const ROOT: Credentials = { AccessKeyId: 'test', SecretAccessKey: 'test' };

/** Debian's AWS CLI, as a user calls it. @returns what it prints, or what it says on failure */
async function aws(command: string, args: string[] = [], who = ROOT): Promise<string> {
  const env = {
    PATH: process.env['PATH'],
    HOME: daemon.home.root,
    AWS_ACCESS_KEY_ID: who.AccessKeyId,
    AWS_SECRET_ACCESS_KEY: who.SecretAccessKey,
    AWS_REGION: 'us-east-1',
    AWS_DEFAULT_REGION: 'us-east-1',
    ...(who.SessionToken !== undefined && { AWS_SESSION_TOKEN: who.SessionToken }),
  };
  const all = ['--endpoint-url', endpoint, '--output', 'json', ...command.split(' '), ...args];
  return await run('/usr/bin/aws', all, { env }).then(
    ({ stdout }) => stdout,
    ({ stderr }: { stderr: string }) => stderr.trim(),
  );
}

const signing = (who: Credentials): SigningOptions => ({
  accessKeyId: who.AccessKeyId,
  secretAccessKey: who.SecretAccessKey,
  ...(who.SessionToken !== undefined && { sessionToken: who.SessionToken }),
  service: 'kms',
});

const policy = (Action: string[]): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action, Resource: '*' }],
  });

describe('the AWS CLI sets the scene', () => {
  let alice: Credentials;
  let session: Credentials;

  test('a user with a key, who may assume a role', async () => {
    expect(JSON.parse(await aws('sts get-caller-identity'))).toMatchObject({ Account: ACCOUNT });
    await aws('iam create-user --user-name alice --path /team/');
    const made = JSON.parse(await aws('iam create-access-key --user-name alice')) as {
      AccessKey: Credentials;
    };
    alice = made.AccessKey;
    const document = policy(['sts:AssumeRole']);
    const put = 'iam put-user-policy --user-name alice --policy-name p --policy-document';
    await aws(put, [document]);
    const get = 'iam get-user-policy --user-name alice --policy-name p';
    expect(JSON.parse(await aws(get))).toMatchObject({
      PolicyDocument: JSON.parse(document) as object,
    });
    expect(JSON.parse(await aws('sts get-caller-identity', [], alice))).toMatchObject({
      Arn: `arn:aws:iam::${ACCOUNT}:user/team/alice`,
      UserId: expect.stringMatching(/^AIDA/) as string,
    });
    expect(await aws('iam list-users', [], alice)).toMatch(
      /An error occurred \(AccessDenied\) when calling the ListUsers operation: User: .*alice is/,
    );
  });

  test('the role’s session works, within the role’s policies', async () => {
    const trust = JSON.stringify({
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Principal: { AWS: ACCOUNT }, Action: 'sts:AssumeRole' }],
    });
    await aws('iam create-role --role-name reader --assume-role-policy-document', [trust]);
    const document = policy(['iam:ListUsers', 'kms:ListKeys']);
    const put = 'iam put-role-policy --role-name reader --policy-name p --policy-document';
    await aws(put, [document]);
    const RoleArn = `arn:aws:iam::${ACCOUNT}:role/reader`;
    const assume = `sts assume-role --role-arn ${RoleArn} --role-session-name one`;
    ({ Credentials: session } = JSON.parse(await aws(assume, [], alice)) as {
      Credentials: Credentials;
    });
    expect(JSON.parse(await aws('sts get-caller-identity', [], session))).toMatchObject({
      Arn: `arn:aws:sts::${ACCOUNT}:assumed-role/reader/one`,
    });
    expect(JSON.parse(await aws('iam list-users', [], session))).toMatchObject({
      Users: [{ UserName: 'alice' }],
    });
    expect(await aws('iam list-roles', [], session)).toMatch(/AccessDenied/);
  });

  test('what is not there has IAM’s own error', async () => {
    expect(await aws('iam get-role --role-name nobody')).toBe(
      'An error occurred (NoSuchEntity) when calling the GetRole operation: ' +
        'The role with name nobody cannot be found.',
    );
    expect(await aws('iam create-user --user-name alice')).toMatch(/\(EntityAlreadyExists\)/);
    expect(await aws('iam delete-user --user-name alice')).toMatch(/\(DeleteConflict\)/);
  });

  test('a WebSocket is opened by a signature, in the headers or the query', async () => {
    const { host, pathname: path } = new URL(eni);
    const { ca } = daemon.pems();
    const request = { method: 'GET', path, headers: { host }, body: '' };
    const headers = await signedHeaders(request, { ...signing(alice), applyChecksum: false });
    await using socket = await DoorSocket.open({ url: eni, ca, headers });
    expect(await socket.refusal('CreateKey')).toBe('AccessDeniedException');
    const { target } = await presigned(request, signing(session));
    const url = `${eni.slice(0, eni.indexOf('/', 6))}${target}`;
    await using other = await DoorSocket.open({ url, ca });
    expect((await other.call('Subscribe', { Events: ['hsm'] })).error).toBeUndefined();
    const forged = { ...signing(alice), secretAccessKey: 'x', applyChecksum: false };
    const wrong = await signedHeaders(request, forged);
    expect(await refusedUpgrade({ url: eni, ca, headers: wrong })).toBe(401);
    const elsewhere = { ...signing(alice), region: 'eu-west-1', applyChecksum: false };
    const foreign = await signedHeaders(request, elsewhere);
    expect(await refusedUpgrade({ url: eni, ca, headers: foreign })).toBe(401);
    const off = `--access-key-id ${alice.AccessKeyId} --status Inactive`;
    await aws(`iam update-access-key --user-name alice ${off}`);
    expect(await socket.refusal('ListKeys')).toBe('UnrecognizedClientException');
  });

  test('keys that were known stay refused; others are root, where any are taken', async () => {
    expect(await aws('sts get-caller-identity', [], alice)).toMatch(/\(InvalidClientTokenId\)/);
    const wrong = { ...ROOT, SecretAccessKey: 'wrong' };
    expect(await aws('sts get-caller-identity', [], wrong)).toMatch(/\(SignatureDoesNotMatch\)/);
    for (const [AccessKeyId, Account] of [
      ['made-up'.replace('-', '_'), ACCOUNT],
      ['000000000007', '000000000007'],
    ] as const) {
      const who = { AccessKeyId, SecretAccessKey: 'whatever' };
      expect(JSON.parse(await aws('sts get-caller-identity', [], who))).toMatchObject({
        Arn: `arn:aws:iam::${Account}:root`,
      });
    }
    expect(daemon.log()).toContain('auth is any');
  });
});
