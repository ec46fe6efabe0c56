import { chmodSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Metrics } from '../audit/metrics.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { ADMIN_ACTIONS, type AdminAction, type AdminResults } from '../protocol/admin.js';
import { encodeMessage } from '../protocol/client-frames.js';
import { FormError, type FormOf } from '../protocol/form.js';
import { isMetricsRequest, serveMetrics } from './metrics.js';

type Params<A extends AdminAction> = FormOf<(typeof ADMIN_ACTIONS)[A]>;

/** What the daemon does for its operator. */
export type AdminHandlers = {
  readonly [A in AdminAction]: (params: Params<A>) => Promise<AdminResults[A]>;
};

const isAction = (name: string): name is AdminAction => Object.hasOwn(ADMIN_ACTIONS, name);

/** The operator's door: HTTP on a unix socket that only the daemon's own user can open. */
export class AdminDoor {
  readonly #handlers: AdminHandlers;
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #server: Server;

  constructor(options: { handlers: AdminHandlers; metrics: Metrics; log: Logger }) {
    this.#handlers = options.handlers;
    this.#metrics = options.metrics;
    this.#log = options.log;
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.requestTimeout = LIMITS.handshake_timeout_ms;
  }

  async listen(path: string): Promise<void> {
    rmSync(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(path, resolve);
    });
    chmodSync(path, 0o600);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    setTimeout(() => this.#server.closeAllConnections(), LIMITS.close_grace_ms).unref();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (isMetricsRequest(request)) {
        return await serveMetrics(response, this.#metrics, this.#log);
      }
      const name = /^\/v1\/(\w+)$/.exec(request.url ?? '')?.[1] ?? '';
      if (request.method !== 'POST' || !isAction(name)) {
        return reply(response, 404, failure(new KeyspanError('UnknownOperationException')));
      }
      reply(response, 200, await this.#perform(name, await readBody(request)));
    } catch (error) {
      const known = error instanceof KeyspanError;
      if (!known) this.#log.error({ err: error }, 'an operator request failed');
      reply(
        response,
        known ? 400 : 500,
        failure(known ? error : new KeyspanError('InternalFailure')),
      );
    }
  }

  async #perform(name: AdminAction, body: string): Promise<object> {
    const params = readParams(name, parseJson(body));
    return await (this.#handlers[name] as (params: unknown) => Promise<object>)(params);
  }
}

function readParams(name: AdminAction, value: unknown): unknown {
  try {
    return ADMIN_ACTIONS[name](value);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new KeyspanError('ValidationException', `${name}: ${error.message}`);
  }
}

const failure = ({ code, message }: KeyspanError): object => ({ error: { code, message } });

function reply(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${encodeMessage('keyspan.v1.json', body) as string}\n`);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > LIMITS.admin_body_max_bytes) throw new KeyspanError('SerializationException');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text === '' ? '{}' : text);
  } catch {
    throw new KeyspanError('SerializationException', 'the body is not JSON');
  }
}
