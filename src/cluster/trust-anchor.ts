import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import type {
  BasicConstraintsExtension,
  KeyUsagesExtension,
  X509Certificate as ParsedCertificate,
} from '@peculiar/x509';
import { assert } from '../core/assert.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';

/**
 * Whether an operator may claim a cluster with what InitializeCluster brings. A claim cannot be
 * taken back, so each rule of CloudHSM is checked here, and each refusal says which piece breaks
 * it. Node shows most of a certificate; the rest (extensions, signature algorithm) is read with
 * the ASN.1 machinery, which is loaded with the first claim.
 */
const KEY_BITS: readonly (number | undefined)[] = [2048, 3072, 4096];
const CURVES: readonly (string | undefined)[] = ['prime256v1', 'secp384r1', 'secp521r1'];
const DIGESTS: readonly string[] = ['SHA-224', 'SHA-256', 'SHA-384', 'SHA-512'];
const SIGNATURES: readonly string[] = ['RSASSA-PKCS1-v1_5', 'RSA-PSS', 'ECDSA'];
/** Algorithms that the parser knows by number alone, and what refusals call some others. */
const NAMED: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.14': 'SHA-224',
  '1.2.840.10045.4.3.1': 'SHA-224',
  '2.16.840.1.101.3.4.2.4': 'SHA-224',
  '1.2.840.113549.1.1.4': 'MD5',
};
const BASIC_CONSTRAINTS = '2.5.29.19';
const KEY_USAGE = '2.5.29.15';
/** its bit 5 in DER */
const KEY_CERT_SIGN = 32;
/** how far the clock of the operator's CA may be ahead */
const SKEW_MS = 300_000;

interface Certificate {
  /** how a refusal calls it */
  readonly name: string;
  readonly x509: X509Certificate;
  readonly key: KeyObject;
  /** as the key names it; a key may also have the numbers of a curve */
  readonly curve: string | undefined;
  readonly digest: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** each with its object identifier */
  readonly extensions: readonly string[];
  readonly constraints: BasicConstraintsExtension | null;
  /** the bits of Key Usage */
  readonly usages: number | undefined;
}

/**
 * Checks SignedCert and TrustAnchor of CloudHSM's InitializeCluster (certificates: RFC 5280, in
 * PEM, RFC 7468) and returns both as plain PEM, without text around it.
 * @param options.publicKey SubjectPublicKeyInfo of the cluster's key
 * @throws KeyspanError CloudHsmInvalidRequestException, and nothing else for any text
 */
export async function checkClaim(options: {
  readonly signedCert: string;
  readonly trustAnchor: string;
  readonly publicKey: Uint8Array;
  readonly nowMs: number;
}): Promise<{ certificate: string; trustAnchor: string }> {
  const { nowMs } = options;
  const anchorBlocks = pemBlocks('TrustAnchor', options.trustAnchor);
  const signedBlocks = pemBlocks('SignedCert', options.signedCert);
  const max = LIMITS.trust_anchor_certificates_max;
  if (anchorBlocks.length > max) {
    refuse(`TrustAnchor has ${anchorBlocks.length} certificates. It may have at most ${max}.`);
  }
  if (signedBlocks.length > 1) {
    refuse(`SignedCert has ${signedBlocks.length} certificates. It must be the cluster's alone.`);
  }
  const parse = await loadParser();
  const chain = anchorBlocks.map((der, index) => {
    const single = anchorBlocks.length === 1;
    const name = single ? 'TrustAnchor' : `Certificate ${index + 1} of TrustAnchor`;
    return readCertificate(name, der, parse);
  });
  const [signed] = signedBlocks.map((der) => readCertificate('SignedCert', der, parse));
  const [issuer] = chain;
  assert(signed && issuer, 'a text without certificates was refused before');
  for (const certificate of [...chain, signed]) checkForm(certificate, nowMs);
  for (const certificate of chain) checkAuthority(certificate);
  checkOrder(chain);
  checkPathLengths(chain);
  checkSigned(signed, { issuer, publicKey: options.publicKey });
  return {
    certificate: signed.x509.toString(),
    trustAnchor: chain.map(({ x509 }) => x509.toString()).join(''),
  };
}

function refuse(sentence: string, cause?: unknown): never {
  throw new KeyspanError('CloudHsmInvalidRequestException', sentence, { cause });
}

/** The DER of each certificate in a text; what stands around the blocks says nothing. */
function pemBlocks(member: string, text: string): Buffer[] {
  const max = LIMITS.trust_anchor_max_bytes;
  if (Buffer.byteLength(text) > max) refuse(`${member} is larger than ${max} bytes.`);
  const labels = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]{1,40})-----/g)].map(([, label]) => label);
  const foreign = labels.find((label) => label !== 'CERTIFICATE');
  if (foreign !== undefined) refuse(`${member} holds a ${foreign}. It may hold certificates only.`);
  const blocks = text.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g);
  const bodies = [...blocks].map(([, body]) => (body ?? '').replaceAll(/\s/g, ''));
  if (labels.length === 0) refuse(`${member} holds no certificate in PEM form.`);
  const isWhole = bodies.every((body) => /^[A-Za-z0-9+/]+={0,2}$/.test(body));
  if (labels.length > bodies.length || !isWhole) refuse(`${member} has a damaged PEM block.`);
  return bodies.map((body) => Buffer.from(body, 'base64'));
}

type Parse = (der: Buffer) => ParsedCertificate;

async function loadParser(): Promise<Parse> {
  await import('reflect-metadata');
  const parser = await import('@peculiar/x509');
  return (der) => new parser.X509Certificate(der);
}

function readCertificate(name: string, der: Buffer, parse: Parse): Certificate {
  const read = <T>(part: () => T): T => {
    try {
      return part();
    } catch (error) {
      return refuse(`${name} is not an X.509 certificate that can be read.`, error);
    }
  };
  const x509 = read(() => new X509Certificate(der));
  const key = read(() => x509.publicKey);
  // before it is parsed: the parser does not know every curve
  if (!isAllowedKey(key)) refuseKey(name);
  return read(() => {
    // of what OpenSSL read: bytes that follow the certificate are no part of it
    const parsed = parse(x509.raw);
    return {
      name,
      x509,
      key,
      curve: (parsed.publicKey.algorithm as { namedCurve?: string }).namedCurve,
      digest: digestOf(parsed),
      notBeforeMs: parsed.notBefore.getTime(),
      notAfterMs: parsed.notAfter.getTime(),
      extensions: parsed.extensions.map(({ type }) => type),
      constraints: parsed.getExtension<BasicConstraintsExtension>(BASIC_CONSTRAINTS),
      usages: parsed.getExtension<KeyUsagesExtension>(KEY_USAGE)?.usages,
    };
  });
}

function refuseKey(name: string): never {
  const allowed = 'RSA 2048, 3072 or 4096, P-256, P-384 or P-521';
  return refuse(`The key of ${inSentence(name)} must be ${allowed}.`);
}

const inSentence = (name: string): string => name.replace(/^Certificate/, 'certificate');

function isAllowedKey(key: KeyObject): boolean {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  if (type === 'ec') return CURVES.includes(details?.namedCurve);
  return (type === 'rsa' || type === 'rsa-pss') && KEY_BITS.includes(details?.modulusLength);
}

/** The digest of the signature, or the algorithm's name where there is none that is allowed. */
function digestOf({ signatureAlgorithm }: ParsedCertificate): string {
  const { name, hash } = signatureAlgorithm as { name: string; hash?: { name: string } };
  if (!SIGNATURES.includes(name)) return NAMED[name] ?? name;
  // RSASSA-PSS without parameters means SHA-1 (RFC 4055 §3.1)
  const digest = hash?.name ?? 'SHA-1';
  return NAMED[digest] ?? digest;
}

/** What holds for every certificate. */
function checkForm(certificate: Certificate, nowMs: number): void {
  const { name, key, curve, digest, extensions, notBeforeMs, notAfterMs } = certificate;
  // RFC 5480 §2.1.1: a certificate names its curve
  if (key.asymmetricKeyType === 'ec' && curve === undefined) refuseKey(name);
  if (!DIGESTS.includes(digest)) {
    const allowed = 'SHA-224, SHA-256, SHA-384 or SHA-512 with RSA or ECDSA';
    refuse(`${name} is signed with ${digest}. It must be signed with ${allowed}.`);
  }
  if (new Set(extensions).size < extensions.length) {
    refuse(`${name} has an extension twice.`);
  }
  // also where a date cannot be read
  if (!(notAfterMs >= nowMs)) refuse(`${name} has expired.`);
  if (!(notBeforeMs <= nowMs + SKEW_MS)) refuse(`${name} is not valid yet.`);
}

/** From the CA that signed to the root. */
function checkOrder(chain: readonly Certificate[]): void {
  for (const [index, certificate] of chain.entries()) {
    const { name } = certificate;
    const next = chain[index + 1];
    const isSelfSigned = isIssuedBy(certificate, certificate);
    if (!next) {
      if (isSelfSigned) return;
      const sentence = chain.length === 1 ? name : `${name}, the last,`;
      refuse(`${sentence} is not self-signed. The root must stand last.`);
    }
    if (isSelfSigned) refuse(`${name} is self-signed. Only the root may be, and it stands last.`);
    if (!isIssuedBy(certificate, next)) {
      const order = 'The order is from the CA that signed SignedCert to the root';
      refuse(`${name} was not issued by the next one. ${order}.`);
    }
  }
}

/** Both: it names the issuer, and the issuer's key signed it. */
const isIssuedBy = (certificate: Certificate, issuer: Certificate): boolean =>
  namesIssuer(certificate, issuer) && isSignedBy(certificate, issuer);

const namesIssuer = ({ x509 }: Certificate, issuer: Certificate): boolean =>
  x509.checkIssued(issuer.x509);

function isSignedBy({ x509 }: Certificate, issuer: Certificate): boolean {
  try {
    return x509.verify(issuer.key);
  } catch {
    return false;
  }
}

/** That it may sign certificates. */
function checkAuthority(certificate: Certificate): void {
  const { name, extensions, constraints, usages } = certificate;
  // a root may be of X.509 v1: then it has no extensions at all
  if (extensions.length === 0 && isIssuedBy(certificate, certificate)) return;
  if (!constraints) refuse(`${name} has no Basic Constraints, which a CA must have.`);
  if (!constraints.ca) refuse(`${name} is not a CA: its Basic Constraints do not say so.`);
  if (usages !== undefined && (usages & KEY_CERT_SIGN) === 0) {
    refuse(`${name} is a CA, but its Key Usage does not allow it to sign certificates.`);
  }
}

/** How many CAs may stand between one of the chain and SignedCert (RFC 5280 §4.2.1.9). */
function checkPathLengths(chain: readonly Certificate[]): void {
  for (const [below, { name, constraints }] of chain.entries()) {
    const pathLength = constraints?.pathLength;
    if (pathLength !== undefined && pathLength < below) {
      refuse(`${name} allows only ${pathLength} CAs below it, but TrustAnchor has ${below}.`);
    }
  }
}

function checkSigned(
  signed: Certificate,
  expected: { readonly issuer: Certificate; readonly publicKey: Uint8Array },
): void {
  const { issuer } = expected;
  const key = Buffer.from(expected.publicKey);
  if (!signed.key.equals(createPublicKey({ key, format: 'der', type: 'spki' }))) {
    refuse("SignedCert has another public key than the cluster's CSR.");
  }
  const by = inSentence(issuer.name);
  if (!namesIssuer(signed, issuer)) {
    refuse(`SignedCert was not issued by ${by}: it names another issuer.`);
  }
  if (!isSignedBy(signed, issuer)) {
    refuse(`SignedCert was not signed with the key of ${by}.`);
  }
}
