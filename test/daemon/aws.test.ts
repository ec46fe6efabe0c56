import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { afterEach, expect, onTestFinished, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { awsRequest } from '../support/aws-request.js';
import { DaemonFixture } from '../support/daemon-fixture.js';

const fixtures: DaemonFixture[] = [];
afterEach(async () => {
  for (const fixture of fixtures.splice(0)) await fixture[Symbol.asyncDispose]();
});

function prepare(): DaemonFixture {
  const fixture = DaemonFixture.prepare();
  fixtures.push(fixture);
  return fixture;
}

/** Takes a port, if nobody has it yet: then it is taken anyway. */
async function occupy(port: number): Promise<Server> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.once('error', () => resolve()).listen(port, '127.0.0.1', resolve);
  });
  onTestFinished(() => void server.close());
  return server;
}

const describeClusters = (url: string, accessKeyId = 'test', secretAccessKey = 'test') =>
  awsRequest(url, {
    target: 'BaldrApiService.DescribeClusters',
    accessKeyId,
    secretAccessKey,
  });

test('a second installation gets another port than clients try first, and keeps it', async () => {
  await occupy(4_599);
  const daemon = prepare();
  const { endpoints } = await daemon.up({ hsms: 1 });
  expect(endpoints.aws).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(endpoints.aws).not.toBe('http://127.0.0.1:4599');
  expect((await describeClusters(endpoints.aws)).status).toBe(200);
  await daemon.down();
  expect((await daemon.up({ hsms: 1 })).endpoints.aws).toBe(endpoints.aws);
});

test('a port that was asked for must be had', async () => {
  const server = await occupy(0);
  const { port } = server.address() as { port: number };
  await expect(prepare().up({ hsms: 1, port })).rejects.toMatchObject({
    code: 'KeyspanConfig',
    message: `The port ${port} of 127.0.0.1 cannot be listened on.`,
  });
});

test("the root's access key is the configured one, and outlives the daemon", async () => {
  const daemon = prepare();
  mkdirSync(daemon.home.root, { recursive: true });
  writeFileSync(daemon.home.config, 'accessKeyId: AKIDEXAMPLE\nsecretAccessKey: geheim\n');
  for (const config of [undefined, '', 'accessKeyId: other\nsecretAccessKey: other\n']) {
    if (config !== undefined) writeFileSync(daemon.home.config, config);
    const { endpoints } = await daemon.up({ hsms: 1, port: 0 });
    const { rootAccessKey } = await callAdmin(daemon.home, 'Credentials');
    const [id, secret] = config ? ['other', 'other'] : ['AKIDEXAMPLE', 'geheim'];
    expect(rootAccessKey).toEqual({ accessKeyId: id, secretAccessKey: secret });
    expect((await describeClusters(endpoints.aws, id, secret)).status).toBe(200);
    expect((await describeClusters(endpoints.aws)).json).toEqual({
      __type: 'UnrecognizedClientException',
      message: 'The security token included in the request is invalid.',
    });
    expect(daemon.log()).not.toContain('geheim');
    await daemon.down();
  }
});
