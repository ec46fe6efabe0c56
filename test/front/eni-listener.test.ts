import { execFile, spawn } from 'node:child_process';
import { Agent, request } from 'node:https';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  certifyClient,
  makeAuthority,
  privateKeyPem,
  type KeyAndCertificate,
} from '../../src/cluster/certificates.js';
import { Secrets } from '../../src/cluster/secrets.js';
import { readConfig } from '../../src/daemon/config.js';
import { ensureAuthorities, prepareHome } from '../../src/daemon/installation.js';
import type { StatusDocument } from '../../src/protocol/admin.js';
import { openStore } from '../../src/store/open.js';
import { Sealer, loadInstallationKey } from '../../src/store/sealed.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { refusedUpgrade } from '../support/door-socket.js';

let daemon: DaemonFixture;
let status: StatusDocument;
let url: string;
let authority: KeyAndCertificate;

beforeAll(async () => {
  daemon = DaemonFixture.prepare();
  authority = await foundAuthorities(daemon);
  status = await daemon.up({ hsms: 1 });
  [url = ''] = status.endpoints.websocket;
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

describe('who is not let in', () => {
  test('who has no certificate gets 401', async () => {
    const { ca } = daemon.pems();
    expect(await refusedUpgrade({ url, ca })).toBe(401);
    expect(await refusedUpgrade({ url, ca, maxVersion: 'TLSv1.2' })).toBe(401);
  });

  test('a certificate of another CA ends in TLS, without a word of HTTP', async () => {
    const foreign = await makeAuthority('Clients of this installation');
    const identity = await certificateFor('arn:aws:iam::123456789012:root', foreign);
    const { ca } = daemon.pems();
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      expect(await refusedUpgrade({ url, ca, ...identity, maxVersion })).toBe('cut');
    }
    const { hostname, port } = new URL(url);
    const options = { ca, cert: identity.certificate, key: identity.privateKey };
    const socket = connectTls({ host: hostname, port: Number(port), ...options });
    expect(await everything(socket, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')).toBe('');
  });

  test.each([
    'arn:aws:s3:::bucket',
    'https://example.org/',
    'arn:aws:iam::123456789012:group/x',
    'urn:uuid:1',
  ])('a certificate whose name is no principal gets 401: %s', async (name) => {
    const identity = await certificateFor(name);
    expect(await refusedUpgrade({ url, ...daemon.pems(), ...identity })).toBe(401);
  });

  test.each([[[]], [['other.v1']]])('subprotocols %j get 400', async (subprotocols) => {
    expect(await refusedUpgrade({ url, ...daemon.pems(), subprotocols })).toBe(400);
  });

  test.each([
    '/v2/us-east-1',
    '/v1/',
    '/v1/nowhere',
    '/v1/us-east-1/x',
    '/x',
    '/v1/us%2deast-1',
    '/v1//us-east-1',
  ])('the path %s gets 404', async (path) => {
    expect(await refusedUpgrade({ url, ...daemon.pems(), path })).toBe(404);
  });

  test('plain HTTP gets 426, HTTP without TLS nothing', async () => {
    const { ca, certificate, privateKey } = daemon.pems();
    const agent = new Agent({ ca, cert: certificate, key: privateKey });
    const code = await new Promise((resolve, reject) => {
      const target = url.replace('wss:', 'https:');
      request(target, { agent, checkServerIdentity: () => undefined }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .once('error', reject)
        .end();
    });
    expect(code).toBe(426);
    agent.destroy();
    const plain = spawn('curl', ['-s', '-m', '10', url.replace('wss:', 'http:')]);
    const output: Buffer[] = [];
    plain.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    plain.on('error', () => undefined);
    await new Promise((resolve) => plain.once('close', resolve));
    expect(Buffer.concat(output).toString()).toBe('');
  });
});

test('what is served is the cluster certificate, and any TLS client can check it', async () => {
  const { hostname, port } = new URL(url);
  const openssl = async (...args: string[]): Promise<string> => {
    const command = ['s_client', '-connect', `${hostname}:${port}`, '-brief', ...args];
    const running = promisify(execFile)('openssl', command, { timeout: 30_000 });
    running.child.stdin?.end();
    const { stdout, stderr } = await running;
    return stdout + stderr;
  };
  const trust = ['-CAfile', daemon.home.customerCa, '-verify_return_error'];
  const text = await openssl(...trust, '-verify_ip', hostname, '-x509_strict');
  expect(text).toContain('Verification: OK');
  expect(text).toContain(`CN=HSM:${status.cluster.id}:PARTN:1`.replace('CN=', 'CN = '));
  expect(text).toMatch(/Protocol version: TLSv1\.3/);
  await expect(openssl(...trust, '-verify_ip', '10.9.8.7')).rejects.toThrow(/IP address mismatch/);
  await expect(openssl('-tls1_1')).rejects.toThrow();
});

/** Makes the home's authorities as the daemon does, so that the test has the clients' CA too. */
async function foundAuthorities({ home }: DaemonFixture): Promise<KeyAndCertificate> {
  const config = await readConfig(['--home', home.root]);
  await prepareHome(config);
  await using store = await openStore({ kind: 'sqlite', directory: home.store });
  const secrets = new Secrets(
    store,
    new Sealer(await loadInstallationKey({ path: home.installationKey })),
  );
  await ensureAuthorities(store, secrets, config);
  return await secrets.authority('clients');
}

/** A client certificate whose URI name is whatever it is told. */
async function certificateFor(
  principal: string,
  issuer = authority,
): Promise<{ certificate: string; privateKey: string }> {
  const made = await certifyClient({ authority: issuer, principal, days: 1 });
  return { certificate: made.certificate, privateKey: privateKeyPem(made.privateKey) };
}

/** All that a server says to `text` until it ends the connection. */
async function everything(socket: TLSSocket, text: string): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('error', () => undefined);
  socket.write(text);
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks).toString('utf8');
}
