import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { LIMITS } from '../../src/core/limits.js';
import { DaemonFixture } from '../support/daemon-fixture.js';

let daemon: DaemonFixture;
beforeAll(async () => {
  daemon = await DaemonFixture.start({ ephemeral: true, hsms: 1 });
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

const codeOf = (body: string): string =>
  (JSON.parse(body) as { error: { code: string } }).error.code;

test('only its own user can open the socket', () => {
  const { adminSocket } = daemon.home;
  expect(statSync(adminSocket).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(adminSocket)).mode & 0o777).toBe(0o700);
});

test.each([
  ['/v1/Dance', 'POST'],
  ['/v1/constructor', 'POST'],
  ['/v1/Status/x', 'POST'],
  ['/', 'POST'],
  ['/v1/Status', 'GET'],
  ['/v1/Status', 'DELETE'],
])('%s by %s is no operation', async (path, method) => {
  const { status, body } = await daemon.adminRequest(path, '{}', method);
  expect([status, codeOf(body)]).toEqual([404, 'UnknownOperationException']);
});

test.each([
  ['{', 'SerializationException'],
  ['null', 'ValidationException'],
  ['[]', 'ValidationException'],
  ['{"more":1}', 'ValidationException'],
])('a Status of %s is refused', async (text, code) => {
  const { status, body } = await daemon.adminRequest('/v1/Status', text);
  expect([status, codeOf(body)]).toEqual([400, code]);
});

test('no body is an empty one', async () => {
  const { status, body } = await daemon.adminRequest('/v1/Status', '');
  expect([status, JSON.parse(body)]).toMatchObject([200, { state: 'READY', pid: daemon.pid }]);
});

test('a body over the bound is answered so, and the next request is served', async () => {
  const large = Buffer.alloc(4 * LIMITS.admin_body_max_bytes, ' ');
  const { status, body } = await daemon.adminRequest('/v1/Status', large);
  expect([status, codeOf(body)]).toEqual([400, 'SerializationException']);
  expect((await daemon.status()).pid).toBe(daemon.pid);
});

test('what it refuses says why', async () => {
  const calls = [
    callAdmin(daemon.home, 'HsmKill', { id: 'hsm-aaaaaaaaaaa' }),
    callAdmin(daemon.home, 'HsmCrash', { id: 'hsm-aaaaaaaaaaa' }),
    callAdmin(daemon.home, 'IssueCertificate', { principal: 'arn:aws:s3:::bucket' }),
    callAdmin(daemon.home, 'IssueCertificate', { principal: 'arn:aws:iam::1:root', days: 0 }),
  ];
  const reasons = (await Promise.allSettled(calls)).map((call) => {
    const { code } = (call as PromiseRejectedResult).reason as { code: string };
    return code;
  });
  expect(reasons).toEqual([
    'KeyspanUsage',
    'KeyspanUsage',
    'ValidationException',
    'ValidationException',
  ]);
});

test('the certificate that it issues opens the door for its principal alone', async () => {
  const principal = 'arn:aws:iam::123456789012:user/alice';
  const { certificate, privateKey, serverCa } = await callAdmin(daemon.home, 'IssueCertificate', {
    principal,
  });
  expect(serverCa).toBe(daemon.pems().ca);
  await using client = await daemon.client({ certificate, privateKey, ca: serverCa });
  // the account's own user may not make keys before a policy says so; the sentence names it
  await expect(client.kms.createKey()).rejects.toThrow(principal);
});

test('credentials are those of the HSM users', async () => {
  const { admin, cryptoUser } = await callAdmin(daemon.home, 'Credentials');
  expect(admin?.username).toBe('admin');
  expect(cryptoUser?.username).toBe('crypto_user');
  expect(admin?.password).toMatch(/^[A-Za-z0-9]{24}$/);
  expect(cryptoUser?.password).not.toBe(admin?.password);
});
