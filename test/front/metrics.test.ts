import { request, type IncomingMessage } from 'node:http';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Metrics } from '../../src/audit/metrics.js';
import { silentLog } from '../../src/core/log.js';
import { MetricsDoor } from '../../src/front/metrics.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';
import { parseMetrics, type Samples } from '../support/metrics-text.js';

async function get(
  url: string,
  method = 'GET',
): Promise<{ status: number; type: string; body: string }> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request(url, { method, agent: false }, resolve).once('error', reject).end();
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  const type = response.headers['content-type'] ?? '';
  return { status: response.statusCode ?? 0, type, body: Buffer.concat(chunks).toString('utf8') };
}

describe('the door', () => {
  test('answers GET /metrics alone', async () => {
    await using door = new MetricsDoor(new Metrics(), silentLog());
    const url = await door.listen(0);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/);
    const { status, type, body } = await get(url);
    expect([status, type]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
    expect(parseMetrics(body).has('process_resident_memory_bytes')).toBe(true);
    for (const [path, method] of [
      ['/', 'GET'],
      ['/metrics/x', 'GET'],
      ['/metrics', 'POST'],
      ['/v1/Status', 'POST'],
    ] as const) {
      expect((await get(new URL(path, url).href, method)).status).toBe(404);
    }
  });

  test('says 500 when the metrics cannot be read', async () => {
    const metrics = new Metrics();
    metrics.watch(() => Promise.reject(new Error('no')));
    await using door = new MetricsDoor(metrics, silentLog());
    expect((await get(await door.listen(0))).status).toBe(500);
  });

  test('says which port cannot be had', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    await using door = new MetricsDoor(new Metrics(), silentLog());
    await expect(door.listen(port)).rejects.toMatchObject({
      code: 'KeyspanConfig',
      message: expect.stringContaining(String(port)) as unknown,
    });
    await new Promise((resolve) => other.close(resolve));
  });
});

describe('a daemon', () => {
  let daemon: DaemonFixture;
  beforeAll(async () => {
    daemon = await DaemonFixture.start({ ephemeral: true, hsms: 2, metrics: 0 });
  });
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
  });

  const scrape = async (): Promise<string> =>
    (await get((await daemon.status()).endpoints.metrics ?? '')).body;
  const samples = async (): Promise<Samples> => parseMetrics(await scrape());

  test('serves the same metrics on its own socket', async () => {
    const { status, body } = await daemon.adminRequest('/metrics', '', 'GET');
    expect(status).toBe(200);
    const names = (text: string): string[] =>
      [...parseMetrics(text).keys()].filter((name) => name.startsWith('keyspan_'));
    expect(names(await scrape())).toEqual(names(body));
    expect((await daemon.adminRequest('/metrics', '', 'POST')).status).toBe(404);
  });

  test('counts requests as they come, by stage, and tells no key and no secret', async () => {
    const client = await daemon.client();
    const before = await samples();
    const { KeyId, Arn } = await client.kms.createKey();
    const Plaintext = Buffer.from('a plaintext that nobody may read');
    const sealed = await client.kms.encrypt({ KeyId, Plaintext });
    for (let i = 0; i < 4; i += 1) await client.kms.encrypt({ KeyId, Plaintext });
    await client.kms.decrypt({ CiphertextBlob: sealed.CiphertextBlob });
    await expect(client.kms.encrypt({ KeyId: 'alias/none', Plaintext })).rejects.toThrow();
    const text = await scrape();
    const after = parseMetrics(text);
    const grown = (name: string): number => (after.get(name) ?? 0) - (before.get(name) ?? 0);
    const requests = (action: string, code: string): number =>
      grown(`keyspan_requests_total{door="websocket",action="${action}",code="${code}"}`);
    expect(requests('CreateKey', 'ok')).toBe(1);
    expect(requests('Encrypt', 'ok')).toBe(5);
    expect(requests('Encrypt', 'NotFoundException')).toBe(1);
    expect(requests('Decrypt', 'ok')).toBe(1);
    const duration = (part: string, stage: string): number =>
      grown(`keyspan_request_duration_seconds_${part}{action="Encrypt",stage="${stage}"}`);
    expect(duration('count', 'whole')).toBe(6);
    // the refused one came to no HSM
    expect(duration('count', 'decide')).toBe(5);
    expect(duration('count', 'hsm')).toBe(5);
    const [whole, decide, hsm] = ['whole', 'decide', 'hsm'].map((stage) => duration('sum', stage));
    expect(decide).toBeGreaterThan(0);
    expect(hsm).toBeGreaterThan(0);
    expect(whole).toBeGreaterThan((decide ?? 0) + (hsm ?? 0));
    const { admin } = await adminPasswords();
    const secrets = [KeyId, Arn, 'arn:aws', 'plaintext', admin, sealed.CiphertextBlob];
    for (const secret of secrets) {
      const written = typeof secret === 'string' ? secret : Buffer.from(secret).toString('base64');
      expect(text).not.toContain(written);
    }
  });

  async function adminPasswords(): Promise<{ admin: string }> {
    const { body } = await daemon.adminRequest('/v1/Credentials', '');
    return { admin: (JSON.parse(body) as { admin: { password: string } }).admin.password };
  }

  test('tells of its HSMs: state, keys, operations, restarts, repairs', async () => {
    const [first, second] = await daemon.allActive();
    const id = second?.id ?? '';
    const state = (all: Samples, name: string): number | undefined =>
      all.get(`keyspan_hsm_state{hsm="${id}",state="${name}"}`);
    const before = await samples();
    expect([state(before, 'ACTIVE'), state(before, 'KILLED')]).toEqual([1, 0]);
    expect(before.get(`keyspan_hsm_keys{hsm="${id}"}`)).toBeGreaterThan(0);
    expect(before.get(`keyspan_hsm_operations_total{hsm="${id}"}`)).toBeGreaterThan(0);
    expect(before.get(`keyspan_hsm_restarts_total{hsm="${id}"}`)).toBe(0);
    expect(before.get('keyspan_queue_depth{queue="create"}')).toBe(0);
    expect(before.get(`keyspan_queue_depth{queue="channel",hsm="${id}"}`)).toBe(0);
    expect(before.get('keyspan_inflight_requests')).toBe(0);
    await daemon.adminRequest('/v1/HsmKill', JSON.stringify({ id }));
    await daemon.hsm(id, 'KILLED');
    const dead = await samples();
    expect([state(dead, 'ACTIVE'), state(dead, 'KILLED')]).toEqual([0, 1]);
    expect(dead.has(`keyspan_hsm_keys{hsm="${id}"}`)).toBe(false);
    expect(dead.get(`keyspan_hsm_state{hsm="${first?.id ?? ''}",state="ACTIVE"}`)).toBe(1);
    await daemon.adminRequest('/v1/HsmStart', JSON.stringify({ id }));
    await daemon.hsm(id);
    const again = await eventually(async () => {
      const all = await samples();
      return state(all, 'ACTIVE') === 1 ? all : undefined;
    }, 'the HSM in the metrics');
    expect(again.get(`keyspan_hsm_restarts_total{hsm="${id}"}`)).toBe(1);
    // counted on over the channels of both processes
    const asked = `keyspan_hsm_operations_total{hsm="${id}"}`;
    expect(again.get(asked)).toBeGreaterThan(before.get(asked) ?? 0);
  });

  test('counts repairs', async () => {
    const id = (await daemon.allActive())[1]?.id;
    const { body } = await daemon.adminRequest('/v1/HsmWipe', JSON.stringify({ id }));
    const joined = (JSON.parse(body) as { id: string }).id;
    const copied = `keyspan_repairs_total{hsm="${joined}",kind="copied"}`;
    expect((await samples()).get(copied)).toBeGreaterThan(0);
  });
});
