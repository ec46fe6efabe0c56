import 'reflect-metadata';
import { createPrivateKey, createPublicKey, randomBytes, webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectKeyIdentifierExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  X509Certificate,
  cryptoProvider,
  type Extension,
  type JsonGeneralName,
  type Name,
} from '@peculiar/x509';
import { RECOVERY_NAME } from '../protocol/hsm-frames.js';

/**
 * The certificates of an installation. Loaded only when one is made: the ASN.1 machinery costs
 * more to load than all the rest
 * of a start. Names say "emulated": nothing here was signed by AWS or by a maker of hardware.
 */
cryptoProvider.set(webcrypto as never);

const EC = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const RSA = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' } as const;
const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3652 * 2;
/** how far clocks of clients may be behind */
const SKEW_MS = 300_000;

/** A certificate (PEM) with its private key (PKCS #8, DER). */
export interface KeyAndCertificate {
  readonly certificate: string;
  readonly privateKey: Uint8Array;
}

export interface Issue {
  readonly subject: string | Name;
  readonly publicKey: webcrypto.CryptoKey;
  readonly issuer?: KeyAndCertificate;
  readonly signingKey: webcrypto.CryptoKey;
  readonly days: number;
  readonly extensions: Extension[];
}

/** An X.509 v3 certificate (RFC 5280), PEM, signed with ECDSA and SHA-256. */
export async function issue(options: Issue): Promise<string> {
  const { subject, publicKey, issuer, signingKey, days, extensions } = options;
  const now = Date.now();
  // strict clients (RFC 5280 §4.2.1) want both, and Python is one of them
  const issuerKey = issuer ? new X509Certificate(issuer.certificate).publicKey : publicKey;
  const identifiers = await Promise.all([
    SubjectKeyIdentifierExtension.create(publicKey as never),
    AuthorityKeyIdentifierExtension.create(issuerKey as never),
  ]);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: `00${randomBytes(15).toString('hex')}`,
    subject,
    issuer: issuer ? new X509Certificate(issuer.certificate).subjectName : subject,
    notBefore: new Date(now - SKEW_MS),
    notAfter: new Date(now + days * DAY_MS),
    publicKey: publicKey as never,
    signingKey: signingKey as never,
    signingAlgorithm: EC,
    extensions: [...extensions, ...identifiers],
  });
  return `${certificate.toString('pem')}\n`;
}

async function newPair(): Promise<{ pair: webcrypto.CryptoKeyPair; privateKey: Uint8Array }> {
  const pair = await webcrypto.subtle.generateKey(EC, true, ['sign', 'verify']);
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', pair.privateKey);
  return { pair, privateKey: new Uint8Array(pkcs8) };
}

/** The issuer's key, for WebCrypto. */
export const signerOf = (issuer: KeyAndCertificate): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', issuer.privateKey, EC, false, ['sign']);

export const caExtensions = (): Extension[] => [
  new BasicConstraintsExtension(true, undefined, true),
  new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
];

/** A certificate authority: self-signed, or below `issuer`. */
export async function makeAuthority(
  commonName: string,
  issuer?: KeyAndCertificate,
): Promise<KeyAndCertificate> {
  const { pair, privateKey } = await newPair();
  const certificate = await issue({
    subject: `O=Keyspan (emulated), CN=${commonName}`,
    publicKey: pair.publicKey,
    ...(issuer ? { issuer } : {}),
    signingKey: issuer ? await signerOf(issuer) : pair.privateKey,
    days: AUTHORITY_DAYS,
    extensions: caExtensions(),
  });
  return { certificate, privateKey };
}

/**
 * Says that the holder of the identity key is this HSM. @param publicKey SubjectPublicKeyInfo
 * of an EC P-256 key
 */
export async function certifyHsm(options: {
  hardware: KeyAndCertificate;
  hsm: string;
  publicKey: Uint8Array;
}): Promise<string> {
  const { hardware, hsm, publicKey } = options;
  return await issue({
    subject: `O=Keyspan (emulated), CN=${hsm}`,
    publicKey: await webcrypto.subtle.importKey('spki', publicKey, EC, true, ['verify']),
    issuer: hardware,
    signingKey: await signerOf(hardware),
    days: AUTHORITY_DAYS,
    extensions: [new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true)],
  });
}

/**
 * Says that HSMs may wrap their masking keys for this key. @param publicKey SubjectPublicKeyInfo of
 * an RSA key
 */
export async function certifyRecovery(options: {
  hardware: KeyAndCertificate;
  publicKey: Uint8Array;
}): Promise<string> {
  const { hardware, publicKey } = options;
  return await issue({
    subject: `O=Keyspan (emulated), CN=${RECOVERY_NAME}`,
    publicKey: await webcrypto.subtle.importKey('spki', publicKey, RSA, true, ['verify']),
    issuer: hardware,
    signingKey: await signerOf(hardware),
    days: AUTHORITY_DAYS,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyEncipherment, true),
    ],
  });
}

/**
 * The operator's CA signs the cluster: CN begins with `HSM:`, and the ENIs stand as alternative
 * names, so that any client can
 * check it. (What `openssl x509 -req` makes from a CSR has neither extensions nor alternative
 * names.)
 * @param privateKey PKCS #8 of the cluster's RSA key
 */
export async function certifyCluster(options: {
  operator: KeyAndCertificate;
  cluster: string;
  privateKey: Uint8Array;
  addresses: readonly string[];
}): Promise<string> {
  const { operator, cluster, privateKey, addresses } = options;
  const key = createPrivateKey({ key: Buffer.from(privateKey), format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const names: JsonGeneralName[] = addresses.map((value) => ({ type: 'ip', value }));
  return await issue({
    subject: `O=Keyspan (emulated), OU=${cluster}, CN=HSM:${cluster}:PARTN:1`,
    publicKey: await webcrypto.subtle.importKey('spki', spki, RSA, true, ['verify']),
    issuer: operator,
    signingKey: await signerOf(operator),
    days: 3652,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }, ...names]),
    ],
  });
}

/** A client certificate: the principal's ARN stands as a URI among the alternative names. */
export async function certifyClient(options: {
  authority: KeyAndCertificate;
  principal: string;
  days: number;
}): Promise<KeyAndCertificate> {
  const { authority, principal, days } = options;
  const { pair, privateKey } = await newPair();
  const certificate = await issue({
    subject: 'O=Keyspan (emulated), CN=client',
    publicKey: pair.publicKey,
    issuer: authority,
    signingKey: await signerOf(authority),
    days,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension([{ type: 'url', value: principal }]),
    ],
  });
  return { certificate, privateKey };
}

/** PKCS #8 as PEM. */
export function privateKeyPem(privateKey: Uint8Array): string {
  const key = createPrivateKey({ key: Buffer.from(privateKey), format: 'der', type: 'pkcs8' });
  return key.export({ format: 'pem', type: 'pkcs8' }).toString();
}
