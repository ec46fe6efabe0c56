import { X509Certificate } from 'node:crypto';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkClaim } from '../../src/cluster/trust-anchor.js';
import { isKeyspanError } from '../../src/core/errors.js';
import { CA, OpensslAuthorities, PSS, type KeyKind } from '../support/openssl-authorities.js';

const DAY_MS = 86_400_000;
const CSR_SUBJECT = '/CN=HSM:hsm-abcdefghij2:PARTN:1, for FIPS mode';
const cluster = { keyOf: 'cluster', subject: CSR_SUBJECT };

const openssl = new OpensslAuthorities();
let publicKey: Buffer;
let root: string;
let signed: string;

interface Claim {
  readonly signedCert?: string;
  readonly trustAnchor?: string;
  readonly nowMs?: number;
}

const claim = (changes: Claim = {}): ReturnType<typeof checkClaim> =>
  checkClaim({ signedCert: signed, trustAnchor: root, publicKey, nowMs: Date.now(), ...changes });

async function refusal(changes: Claim): Promise<string> {
  const error = await claim(changes).then(
    () => new Error('the claim was taken'),
    (reason: unknown) => reason,
  );
  if (isKeyspanError(error, 'CloudHsmInvalidRequestException')) return error.message;
  throw error;
}

/** A CA of its own and the cluster's certificate from it. */
function pair(
  name: string,
  ca: Parameters<OpensslAuthorities['certify']>[1],
  more: readonly string[] = [],
): Claim {
  const trustAnchor = openssl.certify(name, { extensions: CA, ...ca, more });
  const signedCert = openssl.certify(`${name} cluster`, { ...cluster, issuer: name });
  return { trustAnchor, signedCert };
}

beforeAll(() => {
  openssl.newKey('cluster', 'RSA-2048');
  publicKey = openssl.publicKey('cluster');
  root = openssl.certify('root', { extensions: CA });
  signed = openssl.certify('signed', { ...cluster, issuer: 'root' });
});
afterAll(() => openssl[Symbol.dispose]());

describe('a claim is taken', () => {
  test('with a self-signed root and a certificate of X.509 v1', async () => {
    expect(await claim()).toEqual({ certificate: signed, trustAnchor: root });
  });

  test('with a root of X.509 v1', async () => {
    const trustAnchor = openssl.certify('v1 root');
    const signedCert = openssl.certify('under v1', { ...cluster, issuer: 'v1 root' });
    await expect(claim({ signedCert, trustAnchor })).resolves.toBeDefined();
  });

  test('with alternative names and other extensions', async () => {
    const extensions = ['subjectAltName=IP:127.70.1.10', 'extendedKeyUsage=serverAuth'];
    const signedCert = openssl.certify('v3', { ...cluster, issuer: 'root', extensions });
    expect((await claim({ signedCert })).certificate).toBe(signedCert);
  });

  test('with text around the certificates, which is left out', async () => {
    const text = (name: string): string => openssl.openssl('x509', '-in', name, '-text');
    const claimed = {
      signedCert: `${text('signed.crt')}\nsigned by hand\n`,
      trustAnchor: `\ufeff${text('root.crt').replaceAll('\n', '\r\n')}`,
    };
    expect(await claim(claimed)).toEqual({ certificate: signed, trustAnchor: root });
  });

  test.each<KeyKind>([
    'P-256',
    'P-384',
    'P-521',
    'RSA-2048',
    'RSA-3072',
    'RSA-4096',
    'RSA-PSS-2048',
  ])('with a root of %s', async (key) => {
    await expect(claim(pair(key, { key }))).resolves.toBeDefined();
  });

  test.each(['sha224', 'sha256', 'sha384', 'sha512'])('with %s', async (digest) => {
    for (const [key, more] of [
      ['P-256', []],
      ['RSA-2048', []],
      ['RSA-2048', PSS],
    ] as const) {
      const claimed = pair(`${digest} ${key}`, { key }, [`-${digest}`, ...more]);
      await expect(claim(claimed)).resolves.toBeDefined();
    }
  });
});

describe('a chain', () => {
  const chain: string[] = [];
  let bottom: string;

  /** The root comes last; each other is issued by the next. */
  beforeAll(() => {
    const extensions = [...CA, 'keyUsage=critical,keyCertSign,cRLSign'];
    chain.unshift(openssl.certify('c5', { extensions }));
    for (const place of [4, 3, 2, 1]) {
      chain.unshift(openssl.certify(`c${place}`, { extensions, issuer: `c${place + 1}` }));
    }
    bottom = openssl.certify('under c1', { ...cluster, issuer: 'c1' });
  });

  const under = (name: string): string =>
    openssl.certify(`under ${name}`, { ...cluster, issuer: name });

  test('of 2 and of 4 is taken as it is', async () => {
    for (const first of [3, 1]) {
      const trustAnchor = chain.slice(first).join('');
      const claimed = { signedCert: under(`c${first + 1}`), trustAnchor };
      expect((await claim(claimed)).trustAnchor).toBe(trustAnchor);
    }
  });

  test('of 5 is too long', async () => {
    expect(await refusal({ signedCert: bottom, trustAnchor: chain.join('') })).toBe(
      'TrustAnchor has 5 certificates. It may have at most 4.',
    );
  });

  test('has an order', async () => {
    const signedCert = under('c3');
    const [c3 = '', c4 = '', c5 = ''] = chain.slice(2);
    const refused = (...parts: string[]): Promise<string> =>
      refusal({ signedCert, trustAnchor: parts.join('') });
    expect(await refused(c5, c4, c3)).toMatch(
      /^Certificate 1 of TrustAnchor is self-signed\. Only/,
    );
    expect(await refused(c4, c3, c5)).toMatch(
      /^Certificate 1 of TrustAnchor was not issued by the/,
    );
    expect(await refused(c3, c5)).toMatch(
      /^Certificate 1 of TrustAnchor was not issued by the next/,
    );
    expect(await refused(c4, c5)).toMatch(/^SignedCert was not issued by certificate 1 of TrustAn/);
    expect(await refused(c3, c5, c5)).toMatch(/^Certificate 1 of TrustAnchor was not issued by/);
    expect(await refused(c5, c5)).toMatch(/^Certificate 1 of TrustAnchor is self-signed/);
  });

  test('goes up to the root', async () => {
    const signedCert = under('c3');
    expect(await refusal({ signedCert, trustAnchor: chain.slice(2, 4).join('') })).toBe(
      'Certificate 2 of TrustAnchor, the last, is not self-signed. The root must stand last.',
    );
    expect(await refusal({ signedCert, trustAnchor: chain[2] ?? '' })).toBe(
      'TrustAnchor is not self-signed. The root must stand last.',
    );
  });

  test('has CAs only', async () => {
    const refused = (name: string, extensions?: readonly string[]): Promise<string> => {
      const wanted = { issuer: 'root', ...(extensions ? { extensions } : {}) };
      const trustAnchor = openssl.certify(name, wanted) + root;
      return refusal({ signedCert: under(name), trustAnchor });
    };
    const name = 'Certificate 1 of TrustAnchor';
    expect(await refused('v1')).toBe(`${name} has no Basic Constraints, which a CA must have.`);
    expect(await refused('leaf', ['basicConstraints=CA:FALSE'])).toBe(
      `${name} is not a CA: its Basic Constraints do not say so.`,
    );
  });

  test('keeps to the path length of its CAs', async () => {
    const extensions = ['basicConstraints=critical,CA:TRUE,pathlen:0'];
    const short = openssl.certify('short', { extensions });
    const below = openssl.certify('below', { extensions: CA, issuer: 'short' });
    expect(await refusal({ signedCert: under('below'), trustAnchor: below + short })).toBe(
      'Certificate 2 of TrustAnchor allows only 0 CAs below it, but TrustAnchor has 1.',
    );
    await expect(claim({ signedCert: under('short'), trustAnchor: short })).resolves.toBeDefined();
  });

  test('is not signed by another CA of the same name', async () => {
    const other = openssl.certify('other', { subject: '/CN=c4', extensions: CA, issuer: 'root' });
    const trustAnchor = [chain[2] ?? '', other, root].join('');
    expect(await refusal({ signedCert: under('c3'), trustAnchor })).toMatch(
      /^Certificate 1 of TrustAnchor was not issued by the next one/,
    );
  });
});

describe('the trust anchor', () => {
  test.each<KeyKind>(['RSA-1024', 'secp256k1', 'P-256 in numbers', 'Ed25519'])(
    'has no key of %s',
    async (key) => {
      const more = key === 'Ed25519' ? [] : ['-sha256'];
      expect(await refusal(pair(`weak ${key}`, { key }, more))).toBe(
        'The key of TrustAnchor must be RSA 2048, 3072 or 4096, P-256, P-384 or P-521.',
      );
    },
  );

  test.each([
    ['SHA-1', ['-sha1'], 'RSA-2048'],
    ['SHA-1', ['-sha1'], 'P-256'],
    ['SHA-1', ['-sha1', ...PSS], 'RSA-2048'],
    ['MD5', ['-md5'], 'RSA-2048'],
    ['2.16.840.1.101.3.4.3.14', ['-sha3-256'], 'RSA-2048'],
  ] as const)('is not signed with %s (%s)', async (digest, more, key) => {
    const refused = await refusal(pair('digest', { key }, more));
    expect(refused).toContain(`TrustAnchor is signed with ${digest}. It must be signed with SHA-`);
  });

  test('is a CA', async () => {
    expect(await refusal(pair('none', { extensions: ['keyUsage=keyCertSign'] }))).toBe(
      'TrustAnchor has no Basic Constraints, which a CA must have.',
    );
    expect(await refusal(pair('false', { extensions: ['basicConstraints=CA:FALSE'] }))).toBe(
      'TrustAnchor is not a CA: its Basic Constraints do not say so.',
    );
    const extensions = [...CA, 'keyUsage=digitalSignature'];
    expect(await refusal(pair('usage', { extensions }))).toBe(
      'TrustAnchor is a CA, but its Key Usage does not allow it to sign certificates.',
    );
  });

  test('is valid now', async () => {
    const short = pair('short-lived', { days: 10 });
    expect(await refusal({ ...short, nowMs: Date.now() + 11 * DAY_MS })).toBe(
      'TrustAnchor has expired.',
    );
    expect(await refusal({ ...short, nowMs: Date.now() - DAY_MS })).toBe(
      'TrustAnchor is not valid yet.',
    );
    const nowMs = Date.now() - 60_000;
    await expect(claim({ ...short, nowMs })).resolves.toBeDefined();
  });

  test('signed itself', async () => {
    const twin = openssl.certify('twin', { subject: '/CN=root', extensions: CA });
    const names = openssl.certify('names', { subject: '/CN=root', extensions: CA, issuer: 'root' });
    expect(await refusal({ trustAnchor: names })).toContain('TrustAnchor is not self-signed.');
    expect(await refusal({ trustAnchor: twin })).toBe(
      'SignedCert was not signed with the key of TrustAnchor.',
    );
  });

  test('is not too large', async () => {
    expect(await refusal({ trustAnchor: root + ' '.repeat(16_384) })).toBe(
      'TrustAnchor is larger than 16384 bytes.',
    );
  });
});

describe('the signed certificate', () => {
  test("carries the key of the cluster's CSR", async () => {
    const signedCert = openssl.certify('stranger', { key: 'RSA-2048', issuer: 'root' });
    expect(await refusal({ signedCert })).toBe(
      "SignedCert has another public key than the cluster's CSR.",
    );
  });

  test('was issued by the trust anchor', async () => {
    const trustAnchor = openssl.certify('elsewhere', { extensions: CA });
    expect(await refusal({ trustAnchor })).toBe(
      'SignedCert was not issued by TrustAnchor: it names another issuer.',
    );
  });

  test('is valid now', async () => {
    const signedCert = openssl.certify('brief', { ...cluster, issuer: 'root', days: 1 });
    expect(await refusal({ signedCert, nowMs: Date.now() + 2 * DAY_MS })).toBe(
      'SignedCert has expired.',
    );
  });

  test('has an allowed digest', async () => {
    const signedCert = openssl.certify('old', { ...cluster, issuer: 'root', more: ['-sha1'] });
    expect(await refusal({ signedCert })).toContain('SignedCert is signed with SHA-1.');
  });

  test('stands alone', async () => {
    expect(await refusal({ signedCert: signed + root })).toBe(
      "SignedCert has 2 certificates. It must be the cluster's alone.",
    );
  });
});

describe('a text', () => {
  const block = (label: string, body: string): string =>
    `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;

  test.each(['signedCert', 'trustAnchor'] as const)(
    'that is no certificate: %s',
    async (member) => {
      const name = member === 'signedCert' ? 'SignedCert' : 'TrustAnchor';
      const der = new X509Certificate(root).raw;
      const unreadable = `${name} is not an X.509 certificate that can be read.`;
      const none = `${name} holds no certificate in PEM form.`;
      const damaged = `${name} has a damaged PEM block.`;
      const half = block('CERTIFICATE', der.subarray(0, 100).toString('base64'));
      for (const [text, sentence] of [
        ['', none],
        ['garbage', none],
        [der.toString('base64'), none],
        [block('CERTIFICATE', 'AAAA'), unreadable],
        [half, unreadable],
        [block('CERTIFICATE', ''), damaged],
        [block('CERTIFICATE', 'A?=='), damaged],
        [root.slice(0, -10), damaged],
        [openssl.openssl('req', '-in', 'root.csr'), `${name} holds a CERTIFICATE REQUEST. It`],
        [openssl.openssl('pkey', '-in', 'root.key') + root, `${name} holds a PRIVATE KEY. It`],
      ] as const) {
        expect(await refusal({ [member]: text })).toContain(sentence);
      }
    },
  );

  test('that was changed is taken as it was, or refused', async () => {
    const edit = fc.record({
      at: fc.double({ min: 0, max: 1, noNaN: true }),
      length: fc.nat({ max: 8 }),
      text: fc.oneof(fc.string({ maxLength: 8 }), fc.base64String({ maxLength: 8 })),
    });
    const flip = fc.record({ at: fc.double({ min: 0, max: 1, noNaN: true }), to: fc.nat(255) });
    const texts = fc.oneof(
      fc.array(edit, { minLength: 1, maxLength: 3 }).map((edits) => (text: string) => {
        let changed = text;
        for (const { at, length, text: put } of edits) {
          const from = Math.floor(at * changed.length);
          changed = changed.slice(0, from) + put + changed.slice(from + length);
        }
        return changed;
      }),
      fc.array(flip, { minLength: 1, maxLength: 3 }).map((flips) => (text: string) => {
        const der = Buffer.from(new X509Certificate(text).raw);
        for (const { at, to } of flips) der[Math.floor(at * (der.length - 1))] = to;
        return block('CERTIFICATE', der.toString('base64'));
      }),
      fc.string().map((text) => () => text),
    );
    await fc.assert(
      fc.asyncProperty(texts, fc.boolean(), async (change, ofAnchor) => {
        const changes = ofAnchor ? { trustAnchor: change(root) } : { signedCert: change(signed) };
        try {
          expect(await claim(changes)).toEqual({ certificate: signed, trustAnchor: root });
        } catch (error) {
          if (!isKeyspanError(error, 'CloudHsmInvalidRequestException')) throw error;
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
