import type { IncomingMessage } from 'node:http';

/** So many times the bound is read and thrown away, so that the sender gets to hear the answer. */
const DISCARD_FACTOR = 16;

/**
 * Reads a body of at most `maxBytes`; undefined when it is longer: then nothing of it is kept.
 * @throws Error when the sender goes away, or sends without end
 */
export async function readBody(
  request: IncomingMessage,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= maxBytes) chunks.push(chunk);
    else chunks.length = 0;
    if (length > DISCARD_FACTOR * maxBytes) throw new Error('a body has no end');
  }
  return length <= maxBytes ? Buffer.concat(chunks, length) : undefined;
}
