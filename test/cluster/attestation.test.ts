import { execFileSync, spawnSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attest, type Attestation } from '../../src/cluster/attestation.js';
import { makeAuthority, type KeyAndCertificate } from '../../src/cluster/certificates.js';
import { checkClaim } from '../../src/cluster/trust-anchor.js';

const HSM = 'hsm-abcdefghij2';
const ID = 'cluster-abcdefghij2';

const newKey = (): Uint8Array =>
  generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({
    format: 'der',
    type: 'pkcs8',
  });

let folder: string;
let aws: KeyAndCertificate;
let manufacturer: KeyAndCertificate;
let hardware: KeyAndCertificate;
let made: Attestation;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyspan-attestation-'));
  aws = await makeAuthority('Emulated AWS CloudHSM root');
  manufacturer = await makeAuthority('Emulated manufacturer root');
  hardware = await makeAuthority('Emulated hardware', manufacturer);
  made = await attest({ privateKey: newKey(), hsm: HSM, aws, manufacturer, hardware });
  const files = {
    [`${ID}_ClusterCsr.csr`]: made.csr,
    [`${ID}_HsmCertificate.crt`]: made.hsmCertificate,
    [`${ID}_AwsHardwareCertificate.crt`]: made.awsHardwareCertificate,
    [`${ID}_ManufacturerHardwareCertificate.crt`]: made.manufacturerHardwareCertificate,
    'AWS_CloudHSM_Root-G1.crt': aws.certificate,
    'liquid_security_certificate.crt': manufacturer.certificate,
  };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs one line of the documentation in the folder of its files. */
const run = (line: string): string =>
  execFileSync('bash', ['-euc', line.replaceAll('<ID>', ID)], {
    cwd: folder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });

describe('the documented verification', () => {
  test.each([
    ['AWS', 'AwsHardwareCertificate', 'AWS_CloudHSM_Root-G1.crt'],
    ['manufacturer', 'ManufacturerHardwareCertificate', 'liquid_security_certificate.crt'],
  ])('leads from the HSM to the root of %s', (chain, intermediate, root) => {
    run(`cat <ID>_${intermediate}.crt ${root} > <ID>_${chain}_chain.crt`);
    const said = run(`openssl verify -CAfile <ID>_${chain}_chain.crt <ID>_HsmCertificate.crt`);
    expect(said).toBe(`${ID}_HsmCertificate.crt: OK\n`);
    const strict = '-x509_strict -CAfile';
    run(`openssl verify ${strict} <ID>_${chain}_chain.crt <ID>_HsmCertificate.crt`);
  });

  test('finds one public key in the certificate and in the request', () => {
    run('openssl x509 -in <ID>_HsmCertificate.crt -pubkey -noout > <ID>_HsmCertificate.pub');
    run('openssl req -in <ID>_ClusterCsr.csr -pubkey -noout > <ID>_ClusterCsr.pub');
    expect(run('diff <ID>_HsmCertificate.pub <ID>_ClusterCsr.pub')).toBe('');
  });

  test('ends in a certificate that the cluster takes', async () => {
    run('openssl genrsa -aes256 -passout pass:secret -out customerCA.key 2048');
    run(
      'openssl req -new -x509 -days 3652 -key customerCA.key -passin pass:secret ' +
        '-subj "/C=US/O=Example/CN=Customer CA" -out customerCA.crt',
    );
    const signed = '<ID>_CustomerHsmCertificate.crt';
    run(
      'openssl x509 -req -days 3652 -in <ID>_ClusterCsr.csr -CA customerCA.crt ' +
        `-CAkey customerCA.key -passin pass:secret -CAcreateserial -out ${signed}`,
    );
    const said = run(`openssl verify -purpose sslserver -CAfile customerCA.crt ${signed}`);
    expect(said).toBe(`${ID}_CustomerHsmCertificate.crt: OK\n`);
    const claim = {
      signedCert: run(`cat ${signed}`),
      trustAnchor: run('cat customerCA.crt'),
      publicKey: new X509Certificate(made.hsmCertificate).publicKey.export({
        format: 'der',
        type: 'spki',
      }),
      nowMs: Date.now(),
    };
    expect(await checkClaim(claim)).toEqual({
      certificate: claim.signedCert,
      trustAnchor: claim.trustAnchor,
    });
  });
});

describe('the request', () => {
  test("has the subject of an AWS HSM's and is signed by its key", () => {
    const said = run('openssl req -in <ID>_ClusterCsr.csr -noout -subject -nameopt compat');
    const rest = `CN=HSM:${HSM}:PARTN:1, for FIPS mode`;
    expect(said.trim()).toBe(`subject=/C=US/ST=CA/O=Cavium/OU=N3FIPS/L=SanJose/${rest}`);
    const args = ['req', '-in', join(folder, `${ID}_ClusterCsr.csr`), '-noout', '-verify'];
    const { stdout, stderr, status } = spawnSync('openssl', args, { encoding: 'utf8' });
    expect(`${stdout}${stderr}`).toContain('self-signature verify OK');
    expect(status).toBe(0);
    const text = run('openssl req -in <ID>_ClusterCsr.csr -noout -text');
    expect(text).toContain('Signature Algorithm: sha256WithRSAEncryption');
    expect(text).toContain('Public-Key: (2048 bit)');
  });
});

describe('the hardware', () => {
  test('has one key and one name in both certificates, and different issuers', () => {
    const [ours, theirs] = [made.awsHardwareCertificate, made.manufacturerHardwareCertificate].map(
      (pem) => new X509Certificate(pem),
    );
    expect(theirs?.toString().trim()).toBe(hardware.certificate.trim());
    expect(ours?.subject).toBe(theirs?.subject);
    expect(ours?.publicKey.equals(theirs?.publicKey as never)).toBe(true);
    expect(ours?.issuer).toContain('Emulated AWS CloudHSM root');
    expect(theirs?.issuer).toContain('Emulated manufacturer root');
    expect(ours?.serialNumber).not.toBe(theirs?.serialNumber);
    expect(ours?.ca).toBe(true);
  });

  test('of another installation does not vouch for this HSM', async () => {
    const foreign = await makeAuthority('Emulated hardware', await makeAuthority('other root'));
    writeFileSync(join(folder, 'foreign.crt'), `${foreign.certificate}${aws.certificate}`);
    const line = 'openssl verify -CAfile foreign.crt <ID>_HsmCertificate.crt';
    expect(() => run(line)).toThrow(/Command failed/);
  });
});
