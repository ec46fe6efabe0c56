import * as sdk from '@aws-sdk/client-kms';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import { systemClock } from '../../src/core/clock.js';
import { silentLog } from '../../src/core/log.js';
import { AwsDoor } from '../../src/front/aws-json.js';
import { awsRequest } from '../support/aws-request.js';
import { ACCOUNT, KmsFixture, REGION, ROOT } from '../support/kms-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

interface Scene {
  readonly at: KmsFixture;
  readonly url: string;
  readonly client: sdk.KMSClient;
}

/** KMS behind the AWS door, on software vaults, with AWS's own SDK in front. */
async function scene(settings?: Parameters<typeof KmsFixture.open>[2]): Promise<Scene> {
  const at = await KmsFixture.open(undefined, undefined, settings);
  onTestFinished(() => at[Symbol.asyncDispose]());
  const directory = temporaryDirectory();
  const log = await AuditLog.open(directory);
  onTestFinished(() => log[Symbol.asyncDispose]());
  const key = { id: 'test', secret: Buffer.from('test'), principal: ROOT.principal };
  const perform = (
    action: string,
    params: unknown,
    ...[caller, call]: [Parameters<KmsFixture['kms']['perform']>[3], never]
  ): Promise<object> => at.kms.perform(action, params, 'json', caller, call, 'aws');
  const door = new AwsDoor({
    services: [{ target: 'TrentService', signingName: 'kms', load: async () => ({ perform }) }],
    keys: { find: (id) => (id === key.id ? key : undefined) },
    trustServiceHeader: true,
    publicDirectory: directory,
    clock: systemClock(),
    events: new Events(log, systemClock()),
    log: silentLog(),
  });
  onTestFinished(() => door[Symbol.asyncDispose]());
  const url = await door.listen(0);
  const client = new sdk.KMSClient({
    endpoint: url,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    maxAttempts: 1,
  });
  onTestFinished(() => client.destroy());
  return { at, url, client };
}

/** What AWS's SDK makes of a refusal. */
async function refusal(work: Promise<unknown>): Promise<unknown[]> {
  const error = (await work.then(
    () => new Error('it was not refused'),
    (cause: unknown) => cause,
  )) as sdk.KMSServiceException;
  return [error.name, error.$metadata?.httpStatusCode, error.message];
}

describe("AWS's SDK", () => {
  test('changes a key, and reads what it changed in pages', async () => {
    const { client } = await scene();
    const { KeyMetadata } = await client.send(
      new sdk.CreateKeyCommand({ Tags: [{ TagKey: 'a', TagValue: '1' }] }),
    );
    const KeyId = KeyMetadata?.KeyId;
    expect(KeyMetadata?.CreationDate).toEqual(new Date(1_800_000_000_123));
    const Tags = ['b', 'c'].map((TagKey) => ({ TagKey, TagValue: '' }));
    await client.send(new sdk.TagResourceCommand({ KeyId, Tags }));
    await client.send(new sdk.UntagResourceCommand({ KeyId, TagKeys: ['a'] }));
    await client.send(new sdk.UpdateKeyDescriptionCommand({ KeyId, Description: 'new' }));
    for (let n = 0; n < 3; n += 1) {
      const AliasName = `alias/app-${n}`;
      await client.send(new sdk.CreateAliasCommand({ AliasName, TargetKeyId: KeyId }));
    }
    const tags: unknown[] = [];
    for await (const page of sdk.paginateListResourceTags({ client, pageSize: 1 }, { KeyId })) {
      tags.push(...(page.Tags ?? []));
    }
    expect(tags).toEqual(Tags);
    const names: unknown[] = [];
    for await (const page of sdk.paginateListAliases({ client, pageSize: 2 }, { KeyId })) {
      names.push(...(page.Aliases ?? []).map((alias) => alias.AliasName));
    }
    expect(names).toEqual(['alias/app-0', 'alias/app-1', 'alias/app-2']);
    const { Policy } = await client.send(new sdk.GetKeyPolicyCommand({ KeyId }));
    await client.send(new sdk.PutKeyPolicyCommand({ KeyId, Policy }));
    const policies = await client.send(new sdk.ListKeyPoliciesCommand({ KeyId }));
    expect(policies).toMatchObject({ PolicyNames: ['default'], Truncated: false });
  });

  test("gets AWS's errors with their names, status and sentences", async () => {
    const { at, client } = await scene();
    const { KeyId, Arn } = await at.createKey();
    const Plaintext = Buffer.of(1);
    const { CiphertextBlob } = await client.send(new sdk.EncryptCommand({ KeyId, Plaintext }));
    const foreign = { CiphertextBlob: Buffer.from('foreign') };
    const opened = client.send(new sdk.DecryptCommand(foreign));
    await expect(opened).rejects.toBeInstanceOf(sdk.InvalidCiphertextException);
    expect((await refusal(client.send(new sdk.DecryptCommand(foreign)))).slice(0, 2)).toEqual([
      'InvalidCiphertextException',
      400,
    ]);
    const dry = new sdk.DecryptCommand({ CiphertextBlob, DryRun: true });
    expect(await refusal(client.send(dry))).toEqual([
      'DryRunOperationException',
      400,
      'The request would have succeeded, but the DryRun option is set.',
    ]);
    expect(await refusal(client.send(new sdk.GetPublicKeyCommand({ KeyId })))).toEqual([
      'UnsupportedOperationException',
      400,
      'Keyspan does not support the GetPublicKey operation.',
    ]);
    await client.send(new sdk.DisableKeyCommand({ KeyId }));
    expect(await refusal(client.send(new sdk.EncryptCommand({ KeyId, Plaintext })))).toEqual([
      'DisabledException',
      400,
      `${Arn} is disabled.`,
    ]);
    const absent = `arn:aws:kms:${REGION}:${ACCOUNT}:key/00000000-0000-4000-8000-000000000000`;
    expect(await refusal(client.send(new sdk.DescribeKeyCommand({ KeyId: absent })))).toEqual([
      'NotFoundException',
      400,
      `Key '${absent}' does not exist`,
    ]);
    expect(
      await refusal(client.send(new sdk.GenerateRandomCommand({ NumberOfBytes: 1025 }))),
    ).toEqual([
      'ValidationException',
      400,
      "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy " +
        'constraint: Member must have value less than or equal to 1024',
    ]);
    at.vault.failWith('VaultUnavailable');
    expect(
      (await refusal(client.send(new sdk.GenerateRandomCommand({ NumberOfBytes: 1 }))))[1],
    ).toBe(500);
  });

  test('is throttled where that is asked for', async () => {
    const { client } = await scene({ requestQuotas: { ListKeys: 0.001 } });
    await client.send(new sdk.ListKeysCommand());
    expect(await refusal(client.send(new sdk.ListKeysCommand()))).toEqual([
      'ThrottlingException',
      400,
      'You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.',
    ]);
  });
});

describe('on the wire', () => {
  const ask = (url: string, action: string, body: object | string, extra = {}): Promise<unknown> =>
    awsRequest(url, {
      target: `TrentService.${action}`,
      service: 'kms',
      region: REGION,
      body,
      extra,
    }).then(({ status, json }) => [status, json]);

  test('errors have the members that AWS gives them', async () => {
    const { at, url } = await scene();
    const { KeyId } = await at.createKey();
    const CiphertextBlob = Buffer.from('foreign').toString('base64');
    expect(await ask(url, 'Decrypt', { CiphertextBlob })).toEqual([
      400,
      { __type: 'InvalidCiphertextException' },
    ]);
    expect(await ask(url, 'Sign', { KeyId })).toMatchObject([
      400,
      {
        __type: 'ValidationException',
        message: expect.stringMatching(/^2 validation errors detected: /) as string,
      },
    ]);
    const sentence = 'NUMBER_VALUE cannot be converted to String';
    expect(await ask(url, 'Encrypt', { KeyId: 7 })).toEqual([
      400,
      { __type: 'SerializationException', message: sentence },
    ]);
    for (const body of ['{', '[1', 'null x', '{"KeyId":}']) {
      expect(await ask(url, 'Encrypt', body)).toMatchObject([
        400,
        { __type: 'SerializationException' },
      ]);
    }
    expect(await ask(url, 'NoSuchAction', {})).toMatchObject([
      400,
      { __type: 'UnknownOperationException' },
    ]);
  });

  test('a service that comes for its caller gets its key', async () => {
    const { url } = await scene();
    const body = { KeyId: 'alias/aws/s3', NumberOfBytes: 7 };
    expect(await ask(url, 'GenerateDataKey', body)).toMatchObject([
      400,
      { __type: 'NotFoundException' },
    ]);
    const extra = { 'x-keyspan-via-service': `s3.${REGION}.amazonaws.com` };
    expect(await ask(url, 'GenerateDataKey', body, extra)).toMatchObject([200, {}]);
  });
});
