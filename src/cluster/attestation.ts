import 'reflect-metadata';
import {
  createPrivateKey,
  createPublicKey,
  webcrypto,
  X509Certificate as Certificate,
} from 'node:crypto';
import {
  BasicConstraintsExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  X509Certificate,
} from '@peculiar/x509';
import { assert } from '../core/assert.js';
import { caExtensions, issue, signerOf, type KeyAndCertificate } from './certificates.js';

/**
 * What a cluster shows before it is claimed. One hardware key has two certificates with one
 * subject, from two roots. The HSM's certificate is signed with that key, so it leads to both.
 * Loaded only when a cluster needs it, as the certificates are.
 */
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const;
const EC = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const DAYS = 3652 * 2;

/** The members of CloudHSM's Certificates that are there before initialization, as PEM. */
export interface Attestation {
  /** ClusterCsr */
  readonly csr: string;
  readonly hsmCertificate: string;
  readonly awsHardwareCertificate: string;
  readonly manufacturerHardwareCertificate: string;
}

/**
 * Makes the CSR (PKCS #10, RFC 2986) and the certificates (RFC 5280) that prove where the key of
 * a cluster was made, so that CloudHSM's documented verification passes.
 * @param options.privateKey PKCS #8 of the cluster's RSA key
 * @param options.hsm the HSM's name in the subject: `HSM:<hsm>:PARTN:1, for FIPS mode`
 * @param options.hardware issued by `manufacturer`
 */
export async function attest(options: {
  readonly privateKey: Uint8Array;
  readonly hsm: string;
  readonly aws: KeyAndCertificate;
  readonly manufacturer: KeyAndCertificate;
  readonly hardware: KeyAndCertificate;
}): Promise<Attestation> {
  const { privateKey, hsm, aws, manufacturer, hardware } = options;
  const [below, above] = [hardware, manufacturer].map((it) => new Certificate(it.certificate));
  assert(above && below?.checkIssued(above), 'the manufacturer certified the hardware');
  const keys = await pairOf(privateKey);
  const name = `HSM:${hsm}:PARTN:1\\, for FIPS mode`;
  const subject = `C=US, ST=CA, O=Cavium, OU=N3FIPS, L=SanJose, CN=${name}`;
  const [csr, hsmCertificate, awsHardwareCertificate] = await Promise.all([
    request(subject, keys),
    certifyKey({ subject, publicKey: keys.publicKey, hardware }),
    certifyHardware(hardware, aws),
  ]);
  const manufacturerHardwareCertificate = hardware.certificate;
  return { csr, hsmCertificate, awsHardwareCertificate, manufacturerHardwareCertificate };
}

async function pairOf(privateKey: Uint8Array): Promise<webcrypto.CryptoKeyPair> {
  const key = createPrivateKey({ key: Buffer.from(privateKey), format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const { subtle } = webcrypto;
  return {
    privateKey: await subtle.importKey('pkcs8', privateKey, RSA, false, ['sign']),
    publicKey: await subtle.importKey('spki', spki, RSA, true, ['verify']),
  };
}

async function request(name: string, keys: webcrypto.CryptoKeyPair): Promise<string> {
  const made = await Pkcs10CertificateRequestGenerator.create({
    name,
    keys: keys as never,
    signingAlgorithm: RSA,
  });
  return `${made.toString('pem')}\n`;
}

/** HsmCertificate: this hardware made the key. */
async function certifyKey(options: {
  subject: string;
  publicKey: webcrypto.CryptoKey;
  hardware: KeyAndCertificate;
}): Promise<string> {
  const { subject, publicKey, hardware } = options;
  return await issue({
    subject,
    publicKey,
    issuer: hardware,
    signingKey: await signerOf(hardware),
    days: DAYS,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
    ],
  });
}

/** AwsHardwareCertificate: the hardware's key and name once more, below the emulated AWS root. */
async function certifyHardware(
  hardware: KeyAndCertificate,
  aws: KeyAndCertificate,
): Promise<string> {
  const { subjectName, publicKey } = new X509Certificate(hardware.certificate);
  const { subtle } = webcrypto;
  return await issue({
    subject: subjectName,
    publicKey: await subtle.importKey('spki', publicKey.rawData, EC, true, ['verify']),
    issuer: aws,
    signingKey: await signerOf(aws),
    days: DAYS,
    extensions: caExtensions(),
  });
}
