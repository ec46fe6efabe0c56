import * as sdk from '@aws-sdk/client-kms';
import { mkdirSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KmsAction } from '../../src/protocol/kms.js';
import { awsRequest, wire } from '../support/aws-request.js';
import { CONSOLE_POLICY } from '../support/console-policy.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { DoorSocket } from '../support/door-socket.js';
import { EXAMPLES, exampleOf, setScene, type KeyScene } from '../support/key-scene.js';
import { signedHeaders, type SigningOptions } from '../support/sigv4-signer.js';

const OWN = '123456789012';
const OTHER = '444455556666';
const REGION = 'us-east-1';
const iam = (name: string, account = OWN): string => `arn:aws:iam::${account}:${name}`;

interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}
const ROOT: Credentials = { accessKeyId: 'test', secretAccessKey: 'test' };

let daemon: DaemonFixture;
let endpoint: string;
let eni: string;
const users: Record<string, Credentials> = { root: ROOT };

/** One request to IAM or STS. @returns the elements of its answer that have no others in them */
async function query(
  service: 'iam' | 'sts',
  params: Record<string, string>,
  who: Credentials = ROOT,
): Promise<ReadonlyMap<string, string>> {
  const Version = service === 'iam' ? '2010-05-08' : '2011-06-15';
  const body = new URLSearchParams({ Version, ...params }).toString();
  const headers = {
    host: new URL(endpoint).host,
    'content-type': 'application/x-www-form-urlencoded',
  };
  const request = { method: 'POST', path: '/', headers, body };
  const signed = await signedHeaders(request, { ...who, service, region: REGION });
  const { status, text } = await wire(`${endpoint}/`, { ...request, headers: signed });
  if (status !== 200) throw new Error(`${params['Action']}: ${text}`);
  return new Map(
    [...text.matchAll(/<(\w+)>([^<]*)<\/\1>/g)].map(
      ([, name, value]) => [name, value] as [string, string],
    ),
  );
}

const policyOf = (Action: string | string[]): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action, Resource: '*' }],
  });

const credentialsOf = (answer: ReadonlyMap<string, string>): Credentials => {
  const sessionToken = answer.get('SessionToken');
  return {
    accessKeyId: answer.get('AccessKeyId') ?? '',
    secretAccessKey: answer.get('SecretAccessKey') ?? '',
    ...(sessionToken !== undefined && { sessionToken }),
  };
};

async function makeUser(UserName: string, actions?: string[], root = ROOT): Promise<void> {
  await query('iam', { Action: 'CreateUser', UserName }, root);
  if (actions) {
    const PolicyDocument = policyOf(actions);
    const policy = { Action: 'PutUserPolicy', UserName, PolicyName: 'p', PolicyDocument };
    await query('iam', policy, root);
  }
  users[UserName] = credentialsOf(
    await query('iam', { Action: 'CreateAccessKey', UserName }, root),
  );
}

/** What comes of one signed request to KMS: `ok`, or the name of the error. */
async function ask(
  action: string,
  params: object,
  who: Credentials,
  extra: Record<string, string> = {},
): Promise<string> {
  const target = `TrentService.${action}`;
  const answer = await awsRequest(endpoint, {
    target,
    ...who,
    service: 'kms',
    region: REGION,
    body: params,
    extra,
  });
  return answer.status === 200 ? 'ok' : (answer.json as { __type: string }).__type;
}

async function perform(action: string, params: object): Promise<object> {
  const target = `TrentService.${action}`;
  const signing = { ...ROOT, service: 'kms', region: REGION };
  const { status, json } = await awsRequest(endpoint, { target, ...signing, body: params });
  if (status !== 200) throw new Error(JSON.stringify(json));
  return json as object;
}

const GRANT = { GranteePrincipal: iam('user/grantee'), Operations: ['Encrypt', 'DescribeKey'] };
const sceneOf = (options: { Policy?: string } = {}): Promise<KeyScene> =>
  setScene(perform, { ...options, grant: GRANT, plaintext: 'Bw==' });

beforeAll(async () => {
  daemon = DaemonFixture.prepare();
  mkdirSync(daemon.home.root, { recursive: true });
  // grants take ten minutes to show, but by their tokens
  writeFileSync(daemon.home.config, 'trustServiceHeader: true\ngrantDelayMs: 600000\n');
  const { endpoints } = await daemon.up({ hsms: 1, port: 0, auth: 'any' });
  endpoint = endpoints.aws;
  [eni = ''] = endpoints.websocket;
  for (const name of ['keyadmin', 'keyuser', 'nobody', 'grantee']) await makeUser(name);
  await makeUser('delegate', ['kms:*']);
  await makeUser('foreigner', ['kms:*'], { accessKeyId: OTHER, secretAccessKey: 'any' });
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

/** Who may do what with a key of the console's policy; test/kms has all actions. */
const DECISIONS = `
action              root keyadmin keyuser nobody delegate foreigner
DescribeKey         ok   ok       ok      no     ok       no
Encrypt             ok   no       ok      no     ok       no
Decrypt             ok   no       ok      no     ok       no
GenerateDataKey     ok   no       ok      no     ok       no
CreateGrant         ok   ok       no      no     ok       no
PutKeyPolicy        ok   ok       no      no     ok       no
DisableKey          ok   ok       no      no     ok       no
EnableKey           ok   ok       no      no     ok       no
TagResource         ok   ok       no      no     ok       no
ListKeys            ok   no       no      no     ok       ok
ScheduleKeyDeletion ok   ok       no      no     ok       no
`;

test("the console's policy decides about users that IAM made", async () => {
  const [head = [], ...rows] = DECISIONS.trim()
    .split('\n')
    .map((line) => line.split(/ +/));
  for (const [at, name] of head.slice(1).entries()) {
    const scene = await sceneOf({ Policy: CONSOLE_POLICY });
    for (const [action = '', ...cells] of rows) {
      const who = iam(`user/${name}`);
      const params = exampleOf(action as KmsAction, scene, { who, Policy: CONSOLE_POLICY });
      const expected = cells[at] === 'ok' ? 'ok' : 'AccessDeniedException';
      const outcome = await ask(action, params, users[name] ?? ROOT);
      expect(`${name} ${action}: ${outcome}`).toBe(`${name} ${action}: ${expected}`);
    }
  }
});

test('grants of the user are for resources of AWS alone', async () => {
  const { keyuser = ROOT } = users;
  const { Arn: KeyId } = await sceneOf({ Policy: CONSOLE_POLICY });
  const via = { 'x-keyspan-via-service': `ec2.${REGION}.amazonaws.com` };
  expect(await ask('ListGrants', { KeyId }, keyuser)).toBe('AccessDeniedException');
  expect(await ask('ListGrants', { KeyId }, keyuser, via)).toBe('ok');
});

test("what a session may is for its role's policies", async () => {
  const RoleName = 'Lister';
  const trust = { AWS: iam('user/delegate') };
  const AssumeRolePolicyDocument = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: trust, Action: 'sts:AssumeRole' }],
  });
  await query('iam', { Action: 'CreateRole', RoleName, AssumeRolePolicyDocument });
  const policy = { RoleName, PolicyName: 'list' };
  const PolicyDocument = policyOf('kms:ListKeys');
  await query('iam', { Action: 'PutRolePolicy', ...policy, PolicyDocument });
  const assume = {
    Action: 'AssumeRole',
    RoleArn: iam(`role/${RoleName}`),
    RoleSessionName: 'one',
  };
  const credentials = credentialsOf(await query('sts', assume, users['delegate']));
  const client = new sdk.KMSClient({ endpoint, region: REGION, credentials, maxAttempts: 1 });
  const { KeyId } = await sceneOf();
  const { Keys = [] } = await client.send(new sdk.ListKeysCommand());
  expect(Keys.map((key) => key.KeyId)).toContain(KeyId);
  const arn = `arn:aws:sts::${OWN}:assumed-role/${RoleName}/one`;
  const denied = (action: string, on: string): string =>
    `User: ${arn} is not authorized to perform: kms:${action} on resource: ${on} ` +
    `because no identity-based policy allows the kms:${action} action`;
  await expect(client.send(new sdk.ListAliasesCommand())).rejects.toThrow(
    denied('ListAliases', '*'),
  );
  await query('iam', { Action: 'DeleteRolePolicy', ...policy });
  await expect(client.send(new sdk.ListKeysCommand())).rejects.toThrow(denied('ListKeys', '*'));
  client.destroy();
});

/** How a request reaches KMS. @returns its error's code and sentence, or `done` */
type Door = (action: string, params: object) => Promise<string>;

const byHttp: Door = (action, params) =>
  perform(action, params).then(
    () => 'done',
    (error: unknown) => (error as Error).message,
  );
const bySocket =
  (socket: DoorSocket): Door =>
  async (action, params) => {
    const { error } = await socket.call(action, params);
    return error ? `${error.code}: ${error.message}` : 'done';
  };

test('every action that is built is done through each door', async () => {
  await using json = await daemon.socket({ subprotocol: 'keyspan.v1.json' });
  await using cbor = await daemon.socket({ subprotocol: 'keyspan.v1.cbor' });
  const doors: [string, Door, 'bytes' | 'base64'][] = [
    ['http', byHttp, 'base64'],
    ['json', bySocket(json), 'base64'],
    ['cbor', bySocket(cbor), 'bytes'],
  ];
  const Policy = CONSOLE_POLICY;
  for (const action of Object.keys(EXAMPLES) as KmsAction[]) {
    for (const [name, door, form] of doors) {
      const made = await sceneOf();
      const blob = made.CiphertextBlob as string;
      const CiphertextBlob = form === 'bytes' ? Buffer.from(blob, 'base64') : blob;
      const { before } = EXAMPLES[action] ?? {};
      if (before) await perform(before, { KeyId: made.KeyId });
      const scene = { ...made, CiphertextBlob };
      const outcome = await door(action, exampleOf(action, scene, { who: iam('root'), Policy }));
      expect(`${action} by ${name}: ${outcome}`).toBe(`${action} by ${name}: done`);
    }
  }
});

describe('over a WebSocket that a user of IAM signed for', () => {
  const open = async (who: Credentials | undefined): Promise<DoorSocket> => {
    const { host, pathname: path } = new URL(eni);
    const request = { method: 'GET', path, headers: { host }, body: '' };
    const signing: SigningOptions = { ...who, service: 'kms', region: REGION };
    const headers = await signedHeaders(request, { ...signing, applyChecksum: false });
    return await DoorSocket.open({ url: eni, ca: daemon.pems().ca, headers });
  };

  test('a grant is used by its token, and DryRun asks whether it would be', async () => {
    const { Arn: KeyId } = await sceneOf();
    const grant = (await perform('CreateGrant', { KeyId, ...GRANT })) as { GrantToken: string };
    const GrantTokens = [grant.GrantToken];
    await using socket = await open(users['grantee']);
    const encrypt = { KeyId, Plaintext: 'Bw==' };
    expect(await socket.refusal('Encrypt', encrypt)).toBe('AccessDeniedException');
    const dry = { ...encrypt, GrantTokens, DryRun: true };
    expect(await bySocket(socket)('Encrypt', dry)).toBe(
      'DryRunOperationException: The request would have succeeded, but the DryRun option is set.',
    );
    const { result } = await socket.call('Encrypt', { ...encrypt, GrantTokens });
    expect(result).toHaveProperty('CiphertextBlob');
    const { CiphertextBlob } = result ?? {};
    const decrypt = { CiphertextBlob, GrantTokens };
    expect(await socket.refusal('Decrypt', decrypt)).toBe('AccessDeniedException');
    const wrong = { ...encrypt, GrantTokens: ['wrong'] };
    expect(await socket.refusal('Encrypt', wrong)).toBe('InvalidGrantTokenException');
  });

  test('policies decide as at the other doors', async () => {
    const { Arn: KeyId } = await sceneOf({ Policy: CONSOLE_POLICY });
    await using admin = await open(users['keyadmin']);
    expect(await bySocket(admin)('DescribeKey', { KeyId })).toBe('done');
    const encrypt = { KeyId, Plaintext: 'Bw==' };
    expect(await admin.refusal('Encrypt', encrypt)).toBe('AccessDeniedException');
    await using user = await open(users['keyuser']);
    expect(await bySocket(user)('Encrypt', encrypt)).toBe('done');
  });
});
