import { execFileSync, spawnSync } from 'node:child_process';
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  X509Certificate,
} from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  certifyClient,
  certifyCluster,
  certifyHsm,
  makeAuthority,
  privateKeyPem,
  type KeyAndCertificate,
} from '../../src/cluster/certificates.js';

let folder: string;
let manufacturer: KeyAndCertificate;
let hardware: KeyAndCertificate;
let operator: KeyAndCertificate;
let clients: KeyAndCertificate;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyspan-certificates-'));
  manufacturer = await makeAuthority('Emulated manufacturer root');
  hardware = await makeAuthority('Emulated hardware', manufacturer);
  operator = await makeAuthority('Operator');
  clients = await makeAuthority('Clients');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** What OpenSSL says of a certificate as strictly as it can. */
function verify(
  certificate: string,
  trust: { root: string; chain?: string; more?: string[] },
): string {
  const { root, chain, more = [] } = trust;
  const args = ['verify', '-x509_strict', '-CAfile', file('root.crt', root)];
  if (chain !== undefined) args.push('-untrusted', file('chain.crt', chain));
  const path = file('leaf.crt', certificate);
  const { stdout, stderr } = spawnSync('openssl', [...args, ...more, path], { encoding: 'utf8' });
  return `${stdout}${stderr}`.replaceAll(path, 'leaf');
}

const text = (certificate: string): string =>
  execFileSync('openssl', ['x509', '-noout', '-text'], { input: certificate, encoding: 'utf8' });

const clusterKey = (): Uint8Array =>
  generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
    format: 'der',
    type: 'pkcs8',
  });

describe("an HSM's certificate", () => {
  test('leads over the hardware to the manufacturer', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = publicKey.export({ format: 'der', type: 'spki' });
    const hsm = 'hsm-abcdefghij2';
    const certificate = await certifyHsm({ hardware, hsm, publicKey: spki });
    const root = manufacturer.certificate;
    expect(verify(certificate, { root, chain: hardware.certificate })).toBe('leaf: OK\n');
    expect(verify(certificate, { root })).toContain('unable to get local issuer');
    expect(verify(certificate, { root: operator.certificate })).not.toContain('OK');
    const read = new X509Certificate(certificate);
    expect(read.subject).toContain(`CN=${hsm}`);
    expect(read.publicKey.export({ format: 'der', type: 'spki' })).toEqual(spki);
    expect(text(certificate)).toContain('emulated');
  });
});

describe("the cluster's certificate", () => {
  test('is checked by any client against customerCA.crt, its addresses included', async () => {
    const privateKey = clusterKey();
    const cluster = 'cluster-abcdefghij2';
    const addresses = ['127.70.1.10', '127.70.1.11'];
    const certificate = await certifyCluster({ operator, cluster, privateKey, addresses });
    const trust = { root: operator.certificate };
    for (const more of [
      ['-purpose', 'sslserver'],
      ['-verify_ip', '127.70.1.11'],
      ['-verify_hostname', 'localhost'],
    ]) {
      expect(verify(certificate, { ...trust, more })).toBe('leaf: OK\n');
    }
    const wrong = verify(certificate, { ...trust, more: ['-verify_ip', '127.70.1.12'] });
    expect(wrong).toContain('IP address mismatch');
    expect(verify(certificate, { ...trust, more: ['-purpose', 'sslclient'] })).not.toContain('OK');
    const read = new X509Certificate(certificate);
    expect(read.subject).toContain(`CN=HSM:${cluster}:PARTN:1`);
    const key = Buffer.from(privateKey);
    const pem = privateKeyPem(key);
    expect(read.publicKey.equals(createPublicKey(pem))).toBe(true);
  });
});

describe("a client's certificate", () => {
  test.each([
    'arn:aws:iam::123456789012:root',
    'arn:aws:iam::123456789012:user/a,b=c@d+e.f-g',
    'arn:aws:sts::123456789012:assumed-role/role/session',
  ])('names its principal: %s', async (principal) => {
    const made = await certifyClient({ authority: clients, principal, days: 7 });
    const trust = { root: clients.certificate, more: ['-purpose', 'sslclient'] };
    expect(verify(made.certificate, trust)).toBe('leaf: OK\n');
    expect(verify(made.certificate, { ...trust, root: operator.certificate })).not.toContain('OK');
    const read = new X509Certificate(made.certificate);
    expect(read.subjectAltName).toContain('URI:');
    expect(text(made.certificate)).toContain(`URI:${principal}`);
    expect(read.checkPrivateKey(keyOf(made))).toBe(true);
    const days = (Date.parse(read.validTo) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(6.9);
    expect(days).toBeLessThan(7.1);
  });
});

test('serial numbers are positive and well-formed, whatever their first byte', async () => {
  const serials = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const { certificate } = await makeAuthority('many');
      expect(verify(certificate, { root: certificate })).toBe('leaf: OK\n');
      return new X509Certificate(certificate).serialNumber;
    }),
  );
  expect(new Set(serials).size).toBe(40);
  for (const serial of serials) expect(serial).toMatch(/^[0-9A-F]{10,40}$/);
});

const keyOf = ({ privateKey }: KeyAndCertificate): ReturnType<typeof createPrivateKey> =>
  createPrivateKey(privateKeyPem(privateKey));
