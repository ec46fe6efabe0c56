import type { IncomingMessage } from 'node:http';

/** So many times the bound is read and thrown away, so that the sender gets to hear the answer. */
const DISCARD_FACTOR = 16;

/**
 * Reads a body of at most `maxBytes`; undefined when it is longer: then nothing of it is kept.
 * @throws Error when the sender goes away, or sends without end
 */
export function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  // events: an iterator of a stream costs a request as much as its signature does
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let length = 0;
    request.on('data', (chunk: Buffer) => {
      length += chunk.length;
      if (length <= maxBytes) chunks.push(chunk);
      else chunks = [];
      if (length > DISCARD_FACTOR * maxBytes) request.destroy(new Error('a body has no end'));
    });
    request.once('end', () => {
      if (length > maxBytes) resolve(undefined);
      else resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, length));
    });
    request.once('error', reject);
    request.once('close', () => {
      if (!request.complete) reject(new Error('the sender went away'));
    });
  });
}
