import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { principalOf, uriNames } from '../../src/front/client-principal.js';

const ALICE = 'arn:aws:iam::123456789012:user/alice';

describe('uriNames', () => {
  test.each([
    ['', []],
    ['DNS:localhost, IP Address:127.0.0.1', []],
    [`URI:${ALICE}`, [ALICE]],
    [`DNS:a, URI:${ALICE}, DNS:b`, [ALICE]],
    [`URI:${ALICE}, URI:urn:x`, [ALICE, 'urn:x']],
    ['URI:"arn:aws:iam::123456789012:user/a,b"', ['arn:aws:iam::123456789012:user/a,b']],
    ['URI:"a\\"b", DNS:c', ['a"b']],
    // a name that was made to look like two stands in quotes
    [`DNS:"x, URI:${ALICE}"`, []],
  ])('%s', (text, names) => {
    expect(uriNames(text)).toEqual(names);
  });
});

/** A certificate with exactly these alternative names. */
function certificate(names: string): X509Certificate {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const more = ['-keyout', '/dev/null', '-subj', '/CN=x'];
  if (names !== '') more.push('-addext', `subjectAltName=${names}`);
  return new X509Certificate(execFileSync('openssl', [...args, ...more], { stdio: 'pipe' }));
}

const peer = (names: string, authorized = true): TLSSocket =>
  ({ authorized, getPeerX509Certificate: () => certificate(names) }) as unknown as TLSSocket;

describe('principalOf', () => {
  test('is the one ARN of the certificate', () => {
    expect(principalOf(peer(`URI:${ALICE}`))?.arn).toBe(ALICE);
    expect(principalOf(peer(`DNS:a,URI:${ALICE},email:a@b`))?.arn).toBe(ALICE);
  });

  test.each([
    ['no names', ''],
    ['no URI', 'DNS:localhost'],
    ['two principals', `URI:${ALICE},URI:arn:aws:iam::123456789012:root`],
    ['twice the same', `URI:${ALICE},URI:${ALICE}`],
    ['no ARN', 'URI:https://example.org'],
    ['an ARN of something else', 'URI:arn:aws:kms:us-east-1:123456789012:key/x'],
    ['a DNS name that looks like one', `DNS:${ALICE}`],
    ['an e-mail address that holds one', `email:URI:${ALICE}`],
  ])('%s is nobody', (_what, names) => {
    expect(principalOf(peer(names))).toBeUndefined();
  });

  test('who was not authorized is nobody, whatever the certificate says', () => {
    expect(principalOf(peer(`URI:${ALICE}`, false))).toBeUndefined();
  });

  test('no certificate is nobody', () => {
    const socket = { authorized: true, getPeerX509Certificate: () => undefined };
    expect(principalOf(socket as unknown as TLSSocket)).toBeUndefined();
  });
});
