import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { LIMITS } from '../core/limits.js';

/** A plain name: no separator, nothing hidden, nothing that climbs. */
const PATH = /^\/public\/([A-Za-z0-9_][A-Za-z0-9._-]{0,127})$/;
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export const isPublicRequest = ({ method, url }: IncomingMessage): boolean =>
  (method === 'GET' || method === 'HEAD') && url?.startsWith('/public/') === true;

/** Answers with a file of the home's public directory: certificates that anybody may read. */
export async function servePublicFile(
  directory: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const name = PATH.exec(request.url ?? '')?.[1];
  const content = name === undefined ? undefined : await readRegular(join(directory, name));
  if (!content) {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('There is no such file.\n');
    return;
  }
  const type = /\.(?:crt|pem)$/.test(name ?? '') ? 'application/x-pem-file' : 'text/plain';
  response.writeHead(200, {
    'content-type': type,
    'content-length': content.length,
    'x-content-type-options': 'nosniff',
  });
  response.end(request.method === 'HEAD' ? undefined : content);
}

/** Only a regular file, by its own name: what a link points at may be a secret. */
async function readRegular(path: string): Promise<Buffer | undefined> {
  try {
    await using handle = await open(path, FLAGS);
    const stats = await handle.stat();
    const isSmall = stats.size <= LIMITS.public_file_max_bytes;
    return stats.isFile() && isSmall ? await handle.readFile() : undefined;
  } catch {
    return undefined;
  }
}
