import type { IncomingMessage } from 'node:http';
import type { Call } from '../core/call.js';
import { deadlineIn, within } from '../core/deadline.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { queryOf, readHeaders } from '../iam/canonical-request.js';
import type { AccessKeys } from '../iam/credentials.js';
import { verifySignature } from '../iam/sigv4.js';
import { readQuery, type QueryParameters } from '../protocol/aws-query.js';
import { isInternal } from './aws-answer.js';
import { originOf, type AwsCaller, type AwsQueryService } from './aws-service.js';
import { queryError, queryResult, type QueryAnswer } from './query-answer.js';
import type { QueryResult } from './query-service.js';

export interface QueryDoorOptions {
  readonly services: readonly AwsQueryService[];
  readonly keys: AccessKeys;
  /** wire time in milliseconds since 1970 */
  readonly wire: () => number;
  readonly log: Logger;
}

interface Admitted {
  readonly service: AwsQueryService;
  readonly action: string;
  readonly parameters: QueryParameters;
  readonly caller: AwsCaller;
}

/** Of answers to what names no service. */
const NO_NAMESPACE = 'https://iam.amazonaws.com/doc/2010-05-08/';

/** What AWS's Query protocol asks of the door: which service is meant its Version says. */
export class QueryDoor {
  readonly #options: QueryDoorOptions;

  constructor(options: QueryDoorOptions) {
    this.#options = options;
  }

  /**
   * @param body undefined when it was too large
   * @param isFull no further request can be served at the moment
   * @param refused told of what was turned away before a service was asked
   */
  async answer(
    request: IncomingMessage,
    body: Uint8Array | undefined,
    parts: { requestId: string; isFull: boolean; refused: (error: unknown) => void },
  ): Promise<QueryAnswer> {
    const { requestId } = parts;
    let namespace = NO_NAMESPACE;
    try {
      const { service, action, parameters, caller } = this.#admit(request, body, parts);
      ({ namespace } = service);
      const operations = await service.load();
      const deadline = deadlineIn(LIMITS.request_timeout_ms);
      const call: Call = { requestId, deadline };
      const work = operations.perform(action, parameters, caller, call);
      const result = (await within(work, deadline, action)) as QueryResult;
      return queryResult(result, { action, namespace, requestId });
    } catch (error) {
      return queryError(this.#answered(error, requestId), { namespace, requestId });
    }
  }

  #answered(error: unknown, requestId: string): Pick<KeyspanError, 'code' | 'message'> {
    if (isKeyspanError(error) && !isInternal(error.code)) return error;
    this.#options.log.error({ err: error, requestId }, 'an AWS request failed');
    return { code: 'InternalFailure', message: 'The request could not be processed.' };
  }

  #admit(
    request: IncomingMessage,
    body: Uint8Array | undefined,
    { isFull, refused }: { isFull: boolean; refused: (error: unknown) => void },
  ): Admitted {
    try {
      if (!body) throw new KeyspanError('RequestEntityTooLargeException');
      if (isFull) throw new KeyspanError('ThrottlingException', 'Rate exceeded');
      return this.#read(request, body);
    } catch (error) {
      refused(error);
      throw error;
    }
  }

  /** Nothing is decided, nor said of what there is, before it is known who asks. */
  #read(request: IncomingMessage, body: Uint8Array): Admitted {
    const { services, keys, wire } = this.#options;
    const { method = '', url = '', rawHeaders, socket } = request;
    const headers = readHeaders(rawHeaders);
    const parameters = readQuery(queryOf(url), body);
    const version = parameters.get('Version');
    const service = services.find((one) => one.version === version);
    const { key, region } = verifySignature(
      { method, target: url, headers, body },
      { keys, service: service?.signingName, nowMs: wire() },
    );
    const action = parameters.get('Action') ?? '';
    if (!service) {
      const sentence = `Could not find operation ${action.slice(0, 128)} for this version`;
      throw new KeyspanError('UnknownOperationException', sentence);
    }
    const credentials = {
      accessKeyId: key.id,
      issuedAtMs: key.principal.session?.issuedAtMs,
    };
    const origin = originOf(socket, headers);
    const caller = { principal: key.principal, region, origin, credentials };
    return { service, action, parameters, caller };
  }
}
