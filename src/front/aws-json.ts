import { isUtf8 } from 'node:buffer';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RefusedCall } from '../audit/api-call.js';
import type { Events } from '../audit/events.js';
import { asBuffer } from '../core/bytes.js';
import type { Call } from '../core/call.js';
import type { Clock } from '../core/clock.js';
import { deadlineIn, within } from '../core/deadline.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { newRequestId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { AccessKeys } from '../iam/credentials.js';
import { queryOf, readHeaders, type WireRequest } from '../iam/canonical-request.js';
import { verifySignature } from '../iam/sigv4.js';
import { errorAnswer, isInternal, resultAnswer, type AwsAnswer } from './aws-answer.js';
import { originOf, type AwsCaller, type AwsQueryService, type AwsService } from './aws-service.js';
import { isPublicRequest, servePublicFile } from './public-files.js';
import type { QueryDoor } from './query-door.js';
import { readBody } from './request-body.js';

export type { AwsCaller, AwsOperations, AwsService } from './aws-service.js';

export interface AwsDoorOptions {
  readonly services: readonly AwsService[];
  readonly queryServices?: readonly AwsQueryService[] | undefined;
  readonly keys: AccessKeys;
  /** callers say through which service they come (kms:ViaService): for tests alone */
  readonly trustServiceHeader?: boolean | undefined;
  /** what `GET /public/…` shows */
  readonly publicDirectory: string;
  readonly clock: Pick<Clock, 'wire'>;
  readonly events: Events;
  readonly log: Logger;
}

/** A request that a service is asked for. */
interface Admitted {
  readonly service: AwsService;
  readonly action: string;
  readonly params: unknown;
  readonly caller: AwsCaller;
}

/** Who signs asks from this machine; no name that a resolver could turn elsewhere. */
const ADDRESS = '127.0.0.1';
/** AWS JSON 1.1 */
const CONTENT_TYPE = 'application/x-amz-json-1.1';
const TARGET = /^(\w+)\.(\w+)$/;
/** of a header `Authorization`: the access key and the region of its scope */
const CREDENTIAL = /Credential=(\w{1,128})\/\d{8}\/([a-z0-9-]{1,64})\//;
const TOO_LARGE = `A request has at most ${LIMITS.request_size_max_bytes} bytes.`;

/** The door of AWS's JSON protocols: one URL for every service, each request signed. */
export class AwsDoor implements AsyncDisposable {
  readonly #options: AwsDoorOptions;
  readonly #server: Server;
  #inflight = 0;
  /** loaded with the first request of its kind */
  #queries: Promise<QueryDoor> | undefined;

  constructor(options: AwsDoorOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        maxHeaderSize: LIMITS.aws_header_max_bytes,
        headersTimeout: LIMITS.handshake_timeout_ms,
        requestTimeout: LIMITS.handshake_timeout_ms,
        keepAliveTimeout: LIMITS.aws_keep_alive_ms,
        connectionsCheckingInterval: LIMITS.close_grace_ms,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.maxConnections = LIMITS.aws_connections_max;
  }

  /** requests that wait for their answers */
  get inflight(): number {
    return this.#inflight;
  }

  /**
   * @param port 0 for any that is free
   * @returns the URL that answers from now on
   * @throws KeyspanError KeyspanConfig when the port cannot be had
   */
  async listen(port: number): Promise<string> {
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(port, ADDRESS, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
    } catch (cause) {
      const sentence = `The port ${port} of ${ADDRESS} cannot be listened on.`;
      throw new KeyspanError('KeyspanConfig', sentence, { cause });
    }
    const address = this.#server.address() as AddressInfo;
    return `http://${ADDRESS}:${address.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    setTimeout(() => this.#server.closeAllConnections(), LIMITS.close_grace_ms).unref();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = newRequestId();
    this.#inflight += 1;
    try {
      if (isPublicRequest(request)) {
        response.setHeader('x-amzn-RequestId', requestId);
        await servePublicFile(this.#options.publicDirectory, request, response);
        return;
      }
      const wire = wireOf(request);
      const isQuery = isQueryRequest(wire);
      const { status, body } = isQuery
        ? await this.#answerQuery(request, requestId)
        : await this.#answer(request, wire, requestId);
      // names and values in turn: what node:http need not look through
      response.writeHead(status, [
        'x-amzn-RequestId',
        requestId,
        'content-type',
        isQuery ? 'text/xml' : CONTENT_TYPE,
        'content-length',
        String(Buffer.byteLength(body)),
      ]);
      response.end(body);
    } catch (error) {
      // whoever asked went away in the middle of the request
      this.#options.log.debug({ err: error, requestId }, 'a request was cut off');
      response.destroy();
    } finally {
      this.#inflight -= 1;
    }
  }

  async #answer(request: IncomingMessage, wire: Wire, requestId: string): Promise<AwsAnswer> {
    const body = await readBody(request, LIMITS.request_size_max_bytes);
    try {
      const { service, action, params, caller } = this.#admit(request, { wire, body, requestId });
      const operations = await service.load();
      const deadline = deadlineIn(LIMITS.request_timeout_ms);
      const call: Call = { requestId, deadline };
      const work = operations.perform(action, params, caller, call);
      return resultAnswer(await (service.keepsDeadlines ? work : within(work, deadline, action)));
    } catch (error) {
      if (isKeyspanError(error) && !isInternal(error.code)) return errorAnswer(error);
      this.#options.log.error({ err: error, requestId }, 'an AWS request failed');
      const message = 'The request could not be processed.';
      return errorAnswer({ code: 'InternalFailure', message });
    }
  }

  async #answerQuery(request: IncomingMessage, requestId: string): Promise<AwsAnswer> {
    const body = await readBody(request, LIMITS.request_size_max_bytes);
    const door = await (this.#queries ??= this.#openQueries());
    return await door.answer(request, body, {
      requestId,
      isFull: this.#inflight > LIMITS.aws_inflight_max,
      refused: (error) => this.#refused(request, requestId, error),
    });
  }

  async #openQueries(): Promise<QueryDoor> {
    const { queryServices: services = [], keys, clock, log } = this.#options;
    const { QueryDoor: Door } = await import('./query-door.js');
    return new Door({ services, keys, wire: () => clock.wire(), log });
  }

  /** What is not for a service leaves its line here; the services write their own. */
  #admit(request: IncomingMessage, received: Received): Admitted {
    try {
      return this.#read(request, received);
    } catch (error) {
      this.#refused(request, received.requestId, error);
      throw error;
    }
  }

  /** Nothing is decided, nor said of what there is, before it is known who asks. */
  #read({ socket }: IncomingMessage, { wire, body }: Received): Admitted {
    const { services, keys, clock, trustServiceHeader = false } = this.#options;
    const { method, target: url, headers: values } = wire;
    if (method !== 'POST' || !isPresignedOrBare(url)) {
      throw new KeyspanError('UnknownOperationException');
    }
    if (!body) throw new KeyspanError('RequestEntityTooLargeException', TOO_LARGE);
    if (this.#inflight > LIMITS.aws_inflight_max) {
      throw new KeyspanError('ThrottlingException', 'Rate exceeded');
    }
    const [, target, action = ''] = TARGET.exec(targetOf(wire)) ?? [];
    const service = services.find((one) => one.target === target);
    const { key, region } = verifySignature(
      { method, target: url, headers: values, body },
      { keys, service: service?.signingName, nowMs: clock.wire() },
    );
    if (!service) throw new KeyspanError('UnknownOperationException');
    const { session } = key.principal;
    const credentials = { accessKeyId: key.id, issuedAtMs: session?.issuedAtMs };
    const origin = originOf(socket, values, { trustServiceHeader });
    const caller = { principal: key.principal, region, origin, credentials };
    return { service, action, params: parseJson(body), caller };
  }

  #refused(request: IncomingMessage, requestId: string, error: unknown): void {
    const code = isKeyspanError(error) ? error.code : 'InternalFailure';
    const message = isKeyspanError(error) ? error.message : undefined;
    const peer = request.socket.remoteAddress;
    const claimed = this.#claimOf(request);
    const call = claimed && { ...claimed, requestId, message };
    this.#options.events.refusalEvent({ door: 'aws', peer, code, call });
  }

  /** What a request says of itself, where it says what it is for: none of it was verified. */
  #claimOf(request: IncomingMessage): Omit<RefusedCall, 'requestId'> | undefined {
    const [, target, action = ''] = TARGET.exec(targetOf(wireOf(request))) ?? [];
    const service = this.#options.services.find((one) => one.target === target);
    if (!service) return undefined;
    const { authorization = '', 'user-agent': userAgent } = request.headers;
    const [, accessKeyId, region] = CREDENTIAL.exec(authorization) ?? [];
    return { service: service.signingName, action, region, accessKeyId, userAgent };
  }
}

/** A request as it came, with its headers read once. */
type Wire = Pick<WireRequest, 'method' | 'target' | 'headers'>;

interface Received {
  readonly wire: Wire;
  readonly body: Uint8Array | undefined;
  readonly requestId: string;
}

const wireOf = ({ method = '', url: target = '', rawHeaders }: IncomingMessage): Wire => ({
  method,
  target,
  headers: readHeaders(rawHeaders),
});

/**
 * A header that was sent twice is one that names no action. Signers that put a signature into the
 * query may put the header there, too.
 */
function targetOf({ headers, target: url }: Wire): string {
  const targets = headers.get('x-amz-target');
  if (targets) return targets.length === 1 ? (targets[0] ?? '') : targets.join(', ');
  if (url === '/') return '';
  const query = new URLSearchParams(queryOf(url));
  return query.get('X-Amz-Target') ?? query.get('x-amz-target') ?? '';
}

const isRoot = (url: string): boolean => url === '/' || url.startsWith('/?');
/** Actions of the JSON protocols take nothing from a query but a signature. */
const isPresignedOrBare = (url: string): boolean =>
  url === '/' || (isRoot(url) && url.includes('X-Amz-Signature='));

/** A form with the action's name in it, in the body or in the query. */
function isQueryRequest(wire: Wire): boolean {
  const { method, target: url, headers } = wire;
  if (!isRoot(url) || targetOf(wire) !== '') return false;
  if (/[?&]Action=/.test(url)) return method === 'GET' || method === 'POST';
  const [type = ''] = headers.get('content-type') ?? [];
  return method === 'POST' && type.startsWith('application/x-www-form-urlencoded');
}

/** @throws SerializationException when the body is not a JSON document in UTF-8 */
function parseJson(body: Uint8Array): unknown {
  if (body.length === 0) return {};
  try {
    if (!isUtf8(body)) throw new Error('not UTF-8');
    return JSON.parse(asBuffer(body).toString('utf8'));
  } catch (cause) {
    throw new KeyspanError('SerializationException', 'The body is not JSON.', { cause });
  }
}
