import { execFileSync } from 'node:child_process';
import { createHash, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Somebody with a key pair in files, who signs tokens as CloudHSM's documentation says. */
export class TokenSigner implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'keyspan-signer-'));
  /** of the public key */
  readonly pem: string;

  constructor(bits = 2_048) {
    this.#openssl('genrsa', '-out', this.#path('key.pem'), String(bits));
    const out = this.#path('public.pem');
    this.#openssl('rsa', '-in', this.#path('key.pem'), '-pubout', '-out', out);
    this.pem = readFileSync(out, 'utf8');
  }

  /** SubjectPublicKeyInfo */
  get der(): Buffer {
    return createPublicKey(this.pem).export({ format: 'der', type: 'spki' });
  }

  /** @param data a token, or those of several HSMs one behind the other */
  sign(data: Uint8Array): Buffer {
    const [token, signature] = [this.#path('tok.bin'), this.#path('sig.bin')];
    writeFileSync(token, createHash('sha256').update(data).digest());
    const files = ['-in', token, '-out', signature, '-inkey', this.#path('key.pem')];
    const how = ['-pkeyopt', 'digest:sha256', '-keyform', 'PEM'];
    this.#openssl('pkeyutl', '-sign', ...how, ...files);
    return readFileSync(signature);
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #openssl(...args: readonly string[]): void {
    execFileSync('openssl', args, { stdio: 'pipe' });
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
