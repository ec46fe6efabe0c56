import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The openssl command line on files of its own: what stands outside of Keyspan checks it. */
export class OpenSsl implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'keyspan-openssl-'));
  #count = 0;

  /** @returns the path of a file with these bytes */
  file(bytes: Uint8Array | string): string {
    this.#count += 1;
    const path = join(this.folder, `file-${this.#count}`);
    writeFileSync(path, bytes, { mode: 0o600 });
    return path;
  }

  run(...args: readonly string[]): Buffer {
    return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** Whether it says yes. */
  agrees(...args: readonly string[]): boolean {
    try {
      this.run(...args);
      return true;
    } catch {
      return false;
    }
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** An ECDSA signature as OpenSSL takes it (ECDSA-Sig-Value, RFC 3279), from r and s. */
export function ecdsaDer(raw: Uint8Array): Buffer {
  const half = raw.length / 2;
  const numbers = [raw.subarray(0, half), raw.subarray(half)].map((scalar) => {
    const first = scalar.findIndex((byte) => byte !== 0);
    const digits = Buffer.from(scalar.subarray(first));
    const sign = (digits[0] ?? 0) >= 0x80 ? Buffer.of(0) : Buffer.alloc(0);
    const value = Buffer.concat([sign, digits]);
    return Buffer.concat([Buffer.of(0x02, value.length), value]);
  });
  const body = Buffer.concat(numbers);
  const length = body.length < 0x80 ? [body.length] : [0x81, body.length];
  return Buffer.concat([Buffer.from([0x30, ...length]), body]);
}
