import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { AuditLog } from '../../src/audit/audit-log.js';
import { Events } from '../../src/audit/events.js';
import { SEAL_START } from '../../src/core/audit-seal.js';
import { systemClock } from '../../src/core/clock.js';
import { KeyspanError } from '../../src/core/errors.js';
import { LIMITS } from '../../src/core/limits.js';
import { silentLog } from '../../src/core/log.js';
import { AwsDoor, type AwsDoorOptions, type AwsOperations } from '../../src/front/aws-json.js';
import type { AccessKey } from '../../src/iam/credentials.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import { awsRequest, wire } from '../support/aws-request.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const ROOT: AccessKey = {
  id: 'test',
  secret: Buffer.from('test'),
  principal: parsePrincipal('arn:aws:iam::123456789012:root'),
};

interface Scene {
  readonly url: string;
  readonly door: AwsDoor;
  /** what the service was asked */
  readonly asked: unknown[];
  /** how often its operations were asked for */
  readonly loads: { readonly count: number };
  readonly publicDirectory: string;
  /** closes the log and reads its lines */
  readonly lines: () => Promise<Record<string, unknown>[]>;
}

/** A door with one service that says what it was asked, or does what `perform` does. */
async function scene(
  perform?: AwsOperations['perform'],
  more: Pick<AwsDoorOptions, 'trustServiceHeader'> = {},
): Promise<Scene> {
  const directory = temporaryDirectory();
  const log = await AuditLog.open(join(directory, 'audit'));
  onTestFinished(() => log[Symbol.asyncDispose]());
  const publicDirectory = join(directory, 'public');
  mkdirSync(publicDirectory);
  const asked: unknown[] = [];
  const loads = { count: 0 };
  const echo: AwsOperations['perform'] = async (action, params, caller) => {
    asked.push({ action, params, region: caller.region, principal: caller.principal.arn });
    return { Action: action };
  };
  const door = new AwsDoor({
    services: [
      {
        target: 'Service',
        signingName: 'cloudhsm',
        load: async () => {
          loads.count += 1;
          return { perform: perform ?? echo };
        },
      },
    ],
    keys: { find: (id) => (id === ROOT.id ? ROOT : undefined) },
    ...more,
    publicDirectory,
    clock: systemClock(),
    events: new Events(log, systemClock()),
    log: silentLog(),
  });
  onTestFinished(() => door[Symbol.asyncDispose]());
  const lines = async (): Promise<Record<string, unknown>[]> => {
    await log[Symbol.asyncDispose]();
    const text = readFileSync(join(directory, 'audit', 'audit.jsonl'), 'utf8');
    return text
      .trimEnd()
      .split('\n')
      .filter((line) => !line.startsWith(SEAL_START))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  return { url: await door.listen(0), door, asked, loads, publicDirectory, lines };
}

describe('a signed request', () => {
  test('reaches its service, with who asks and for which region', async () => {
    const { url, asked } = await scene();
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const request = { target: 'Service.DoThis', body: { Äpfel: [1] }, region: 'eu-west-3' };
    const { status, headers, json } = await awsRequest(url, request);
    expect([status, json]).toEqual([200, { Action: 'DoThis' }]);
    expect(headers['content-type']).toBe('application/x-amz-json-1.1');
    expect(headers['x-amzn-requestid']).toMatch(/^[0-9a-f-]{36}$/);
    expect(asked).toEqual([
      {
        action: 'DoThis',
        params: { Äpfel: [1] },
        region: 'eu-west-3',
        principal: 'arn:aws:iam::123456789012:root',
      },
    ]);
  });

  const WAY = ['s3.eu-west-3.amazonaws.com', 'arn:aws:s3:::letters', 'vpc-1'];
  const NOTHING = [undefined, undefined, undefined];

  test.each([
    [true, WAY],
    [false, NOTHING],
    [undefined, NOTHING],
  ])('says by which way it comes, where that is trusted: %s', async (trust, said) => {
    const origins: unknown[] = [];
    const perform: AwsOperations['perform'] = async (_action, _params, { origin }) => {
      origins.push([origin.viaService, origin.sourceArn, origin.sourceVpc]);
      return {};
    };
    const { url } = await scene(perform, { trustServiceHeader: trust });
    const [service = '', arn = '', vpc = ''] = WAY;
    const extra = {
      'x-keyspan-via-service': service,
      'x-keyspan-source-arn': arn,
      'x-keyspan-source-vpc': vpc,
    };
    await awsRequest(url, { target: 'Service.A', extra });
    await awsRequest(url, { target: 'Service.A' });
    expect(origins).toEqual([said, NOTHING]);
  });

  test('may be empty, and is at most as long as the bound', async () => {
    const { url, asked } = await scene();
    expect((await awsRequest(url, { target: 'Service.A', body: '' })).status).toBe(200);
    expect(asked).toMatchObject([{ params: {} }]);
    const text = (length: number): string => `"${'x'.repeat(length - 2)}"`;
    const longest = text(LIMITS.request_size_max_bytes);
    expect((await awsRequest(url, { target: 'Service.A', body: longest })).status).toBe(200);
    const tooLong = await awsRequest(url, { target: 'Service.A', body: `${longest} ` });
    expect([tooLong.status, tooLong.json]).toEqual([
      413,
      {
        __type: 'RequestEntityTooLargeException',
        message: 'A request has at most 262144 bytes.',
      },
    ]);
  });

  test.each([
    ['no JSON', '{'],
    ['no UTF-8', Buffer.from([0x22, 0xff, 0x22])],
  ])('is not one when it is %s', async (...[, body]) => {
    const { url, asked } = await scene();
    const { status, json } = await awsRequest(url, { target: 'Service.A', body });
    expect([status, json]).toEqual([
      400,
      { __type: 'SerializationException', message: 'The body is not JSON.' },
    ]);
    expect(asked).toEqual([]);
  });

  test.each(['x', 'Other.A', 'Service', 'Service.', '.A', 'Service.A.B', 'service.A'])(
    'to the target %j is unknown',
    async (target) => {
      const { url, asked } = await scene();
      const { status, json } = await awsRequest(url, { target });
      expect([status, json]).toMatchObject([400, { __type: 'UnknownOperationException' }]);
      expect(asked).toEqual([]);
    },
  );

  test('is the first to load the operations: neither the start nor a refusal does', async () => {
    const { url, loads } = await scene();
    await awsRequest(url, { target: 'Service.A', signed: false });
    await awsRequest(url, { target: 'Other.A' });
    expect(loads.count).toBe(0);
    await awsRequest(url, { target: 'Service.A' });
    expect(loads.count).toBe(1);
  });

  test('has headers within their bound', async () => {
    const { url, asked } = await scene();
    const extra = { 'x-long': 'x'.repeat(LIMITS.aws_header_max_bytes) };
    expect((await awsRequest(url, { target: 'Service.A', extra })).status).toBe(431);
    expect(asked).toEqual([]);
  });

  test('that is cut off is forgotten', async () => {
    const { url, door, asked } = await scene();
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{');
    await expect.poll(() => door.inflight).toBe(1);
    socket.destroy();
    await expect.poll(() => door.inflight).toBe(0);
    expect(asked).toEqual([]);
  });
});

describe('a refusal', () => {
  test.each([
    ['no signature', { signed: false }, 'MissingAuthenticationTokenException'],
    [
      'no signature, unknown target',
      { signed: false, target: 'X.Y' },
      'MissingAuthenticationTokenException',
    ],
    ['an unknown key', { accessKeyId: 'AKIAOTHER' }, 'UnrecognizedClientException'],
    ['another secret', { secretAccessKey: 'x' }, 'InvalidSignatureException'],
    ['another service', { service: 'kms' }, 'InvalidSignatureException'],
    ['an old date', { date: new Date(Date.now() - 301_000) }, 'InvalidSignatureException'],
    ['a foreign header', { extra: { 'X-Amz-Foreign': 'x' } }, 'InvalidSignatureException'],
    ['a target that is none', { target: 'X.Y' }, 'UnknownOperationException'],
    ['what is no JSON', { body: '{' }, 'SerializationException'],
    [
      'a bad header',
      { extra: { authorization: 'Bearer x' }, signed: false },
      'IncompleteSignatureException',
    ],
  ])('for %s', async (_, changes, code) => {
    const { url, asked, lines } = await scene();
    const { status, headers, json } = await awsRequest(url, { target: 'Service.A', ...changes });
    expect([status, json]).toMatchObject([400, { __type: code }]);
    expect(json).toHaveProperty('message');
    expect(headers['x-amzn-requestid']).toBeDefined();
    expect(asked).toEqual([]);
    const [refusal, ...more] = await lines();
    expect(more).toEqual([]);
    if (refusal?.['event'] === undefined) {
      expect(refusal).toMatchObject({
        userIdentity: { type: 'Unknown' },
        eventName: 'A',
        errorCode: code,
        sourceIPAddress: '127.0.0.1',
        additionalEventData: { door: 'aws' },
        requestID: headers['x-amzn-requestid'],
      });
    } else {
      expect(refusal).toMatchObject({ event: 'client.refused', door: 'aws', code });
      expect(refusal).toMatchObject({ peer: '127.0.0.1' });
    }
  });

  test.each([
    ['GET', '/'],
    ['PUT', '/'],
    ['POST', '/x'],
    ['POST', '/?a=b'],
    ['GET', '/metrics'],
  ])('for %s %s', async (method, path) => {
    const { url } = await scene();
    const { status, json } = await wire(url + path, { method });
    expect([status, json]).toMatchObject([400, { __type: 'UnknownOperationException' }]);
  });

  test('of the service keeps its name; what comes from inside has none', async () => {
    const failures = [
      new KeyspanError('CloudHsmInvalidRequestException', 'no'),
      new KeyspanError('VaultUnavailable', 'secret of the inside'),
      new Error('secret of the inside'),
    ];
    const { url } = await scene(async () => {
      throw failures.shift() ?? new Error('no more');
    });
    const ask = (): ReturnType<typeof awsRequest> => awsRequest(url, { target: 'Service.A' });
    expect(await ask()).toMatchObject({
      status: 400,
      json: { __type: 'CloudHsmInvalidRequestException', Message: 'no' },
    });
    for (let count = 0; count < 2; count += 1) {
      expect(await ask()).toMatchObject({
        status: 500,
        json: { __type: 'InternalFailure', message: 'The request could not be processed.' },
      });
    }
  });

  test('when too many wait', async () => {
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { url, door } = await scene(async () => {
      await gate;
      return {};
    });
    const ask = (): ReturnType<typeof awsRequest> => awsRequest(url, { target: 'Service.A' });
    const waiting = Array.from({ length: LIMITS.aws_inflight_max }, ask);
    await expect.poll(() => door.inflight).toBe(LIMITS.aws_inflight_max);
    expect(await ask()).toMatchObject({
      status: 400,
      json: { __type: 'ThrottlingException', message: 'Rate exceeded' },
    });
    open();
    for (const { status } of await Promise.all(waiting)) expect(status).toBe(200);
    expect(door.inflight).toBe(0);
  });
});

describe('GET /public/', () => {
  test('shows regular files by their names', async () => {
    const { url, publicDirectory } = await scene();
    writeFileSync(join(publicDirectory, 'customerCA.crt'), 'PEM\n');
    const path = `${url}/public/customerCA.crt`;
    const { status, headers, text } = await wire(path);
    expect([status, text]).toEqual([200, 'PEM\n']);
    expect(headers).toMatchObject({
      'content-type': 'application/x-pem-file',
      'content-length': '4',
    });
    expect(await wire(path, { method: 'HEAD' })).toMatchObject({ status: 200, text: '' });
  });

  test('shows nothing else', async () => {
    const { url, publicDirectory } = await scene();
    writeFileSync(join(publicDirectory, '..', 'secret.key'), 'secret');
    writeFileSync(join(publicDirectory, '.hidden'), 'secret');
    writeFileSync(join(publicDirectory, 'large'), Buffer.alloc(LIMITS.public_file_max_bytes + 1));
    symlinkSync(join(publicDirectory, '..', 'secret.key'), join(publicDirectory, 'link.crt'));
    mkdirSync(join(publicDirectory, 'folder'));
    writeFileSync(join(publicDirectory, 'folder', 'inner.crt'), 'secret');
    const names = ['', '../secret.key', '..%2fsecret.key', '.hidden', 'link.crt', 'folder'];
    for (const name of [...names, 'folder/inner.crt', 'absent.crt', 'large', '%00', 'a?b']) {
      const { status, text } = await wire(`${url}/public/${name}`);
      expect([status, text], name).toEqual([404, 'There is no such file.\n']);
    }
    expect(await wire(`${url}/public/x`, { method: 'POST' })).toMatchObject({ status: 400 });
  });
});

test('a port that is taken is named', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => new Promise<void>((resolve) => other.close(() => resolve())));
  const { port } = other.address() as { port: number };
  const { door } = await scene();
  await door[Symbol.asyncDispose]();
  await expect(door.listen(port)).rejects.toThrow(
    expect.objectContaining({
      code: 'KeyspanConfig',
      message: `The port ${port} of 127.0.0.1 cannot be listened on.`,
    }),
  );
});
