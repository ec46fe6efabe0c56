import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);
const MODULUS_BITS = 2048;

/**
 * The private key of a cluster's CSR and certificate (PKCS #8, DER); the caller wipes it. It takes
 * a few hundred milliseconds of another thread.
 */
export function newClusterKey(): Promise<Buffer> {
  const made = generate('rsa', {
    modulusLength: MODULUS_BITS,
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  }).then(({ privateKey }) => privateKey);
  // whoever waits for it sees the failure
  made.catch(() => undefined);
  return made;
}
