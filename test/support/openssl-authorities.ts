import { execFileSync } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const EC = ['-algorithm', 'EC', '-pkeyopt'];
const RSA = ['-algorithm', 'RSA', '-pkeyopt'];

/** What `openssl genpkey` is told for each kind of key. */
const KEYS = {
  'P-256': [...EC, 'ec_paramgen_curve:P-256'],
  'P-384': [...EC, 'ec_paramgen_curve:P-384'],
  'P-521': [...EC, 'ec_paramgen_curve:P-521'],
  secp256k1: [...EC, 'ec_paramgen_curve:secp256k1'],
  'P-256 in numbers': [...EC, 'ec_paramgen_curve:P-256', '-pkeyopt', 'ec_param_enc:explicit'],
  'RSA-1024': [...RSA, 'rsa_keygen_bits:1024'],
  'RSA-2048': [...RSA, 'rsa_keygen_bits:2048'],
  'RSA-3072': [...RSA, 'rsa_keygen_bits:3072'],
  'RSA-4096': [...RSA, 'rsa_keygen_bits:4096'],
  'RSA-PSS-2048': ['-algorithm', 'RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048'],
  Ed25519: ['-algorithm', 'ED25519'],
} as const;

export type KeyKind = keyof typeof KEYS;

export const CA = ['basicConstraints=critical,CA:TRUE'];
export const PSS = ['-sigopt', 'rsa_padding_mode:pss'];

export interface Wanted {
  /** its own key where no other's is named */
  readonly key?: KeyKind;
  readonly keyOf?: string;
  /** self-signed without one */
  readonly issuer?: string;
  readonly subject?: string;
  /** without them the certificate is of X.509 v1 */
  readonly extensions?: readonly string[];
  readonly days?: number;
  /** more arguments of `openssl x509` */
  readonly more?: readonly string[];
}

/** Keys and certificates as an operator makes them, with openssl, in a folder of their own. */
export class OpensslAuthorities implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'keyspan-openssl-'));
  #serial = 1;

  newKey(name: string, kind: KeyKind): void {
    this.openssl('genpkey', ...KEYS[kind], '-out', `${name}.key`);
  }

  /** SubjectPublicKeyInfo. */
  publicKey(name: string): Buffer {
    return createPublicKey(this.#read(`${name}.key`)).export({ format: 'der', type: 'spki' });
  }

  /** A certificate in PEM; as `name` it can issue others. */
  certify(name: string, wanted: Wanted = {}): string {
    const { key = 'P-256', keyOf, issuer, subject = `/CN=${name}`, extensions } = wanted;
    if (keyOf === undefined) this.newKey(name, key);
    else writeFileSync(this.#path(`${name}.key`), this.#read(`${keyOf}.key`));
    const { days = 3652, more = [] } = wanted;
    this.openssl('req', '-new', '-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`);
    const signer =
      issuer === undefined
        ? ['-signkey', `${name}.key`]
        : ['-CA', `${issuer}.crt`, '-CAkey', `${issuer}.key`];
    const serial = ['-set_serial', String((this.#serial += 1))];
    const extra = extensions ? ['-extfile', this.#write(`${name}.ext`, extensions)] : [];
    const args = ['-days', String(days), ...signer, ...serial, ...extra, ...more];
    this.openssl('x509', '-req', '-in', `${name}.csr`, ...args, '-out', `${name}.crt`);
    return this.#read(`${name}.crt`);
  }

  /** What `openssl x509 -req` makes of somebody's request (PEM): a certificate of X.509 v1. */
  signRequest(request: string, issuer: string): string {
    writeFileSync(this.#path('request.csr'), request);
    const signer = ['-CA', `${issuer}.crt`, '-CAkey', `${issuer}.key`];
    const serial = ['-set_serial', String((this.#serial += 1))];
    return this.openssl('x509', '-req', '-in', 'request.csr', ...signer, ...serial);
  }

  openssl(...args: readonly string[]): string {
    return execFileSync('openssl', args, { cwd: this.#folder, encoding: 'utf8', stdio: 'pipe' });
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #read(name: string): string {
    return readFileSync(this.#path(name), 'utf8');
  }

  #write(name: string, lines: readonly string[]): string {
    writeFileSync(this.#path(name), `${lines.join('\n')}\n`);
    return name;
  }
}
