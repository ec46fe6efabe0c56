import type { ErrorCode, KeyspanError } from '../core/errors.js';
import { toXml } from '../protocol/aws-query.js';
import type { QueryResult } from './query-service.js';

/** How IAM and STS call an error that has another name in the JSON protocols (Common Errors). */
const NAMES: Partial<Readonly<Record<ErrorCode, readonly [name: string, status: number]>>> = {
  AccessDeniedException: ['AccessDenied', 403],
  DeleteConflict: ['DeleteConflict', 409],
  EntityAlreadyExists: ['EntityAlreadyExists', 409],
  ExpiredTokenException: ['ExpiredToken', 403],
  IncompleteSignatureException: ['IncompleteSignature', 400],
  InternalFailure: ['InternalFailure', 500],
  InvalidSignatureException: ['SignatureDoesNotMatch', 403],
  LimitExceededException: ['LimitExceeded', 409],
  MalformedPolicyDocumentException: ['MalformedPolicyDocument', 400],
  MissingAuthenticationTokenException: ['MissingAuthenticationToken', 403],
  NoSuchEntity: ['NoSuchEntity', 404],
  RequestEntityTooLargeException: ['RequestEntityTooLarge', 413],
  SerializationException: ['MalformedInput', 400],
  ThrottlingException: ['Throttling', 400],
  UnknownOperationException: ['InvalidAction', 400],
  UnrecognizedClientException: ['InvalidClientTokenId', 403],
  ValidationException: ['ValidationError', 400],
};

/** What goes over the wire as the answer to one request of the Query protocol. */
export interface QueryAnswer {
  readonly status: number;
  readonly body: string;
}

export interface Answering {
  readonly action: string;
  readonly namespace: string;
  readonly requestId: string;
}

/** The result in XML; an action that answers nothing has the request's id alone. */
export function queryResult(result: QueryResult, answering: Answering): QueryAnswer {
  const { action, namespace, requestId } = answering;
  const members = Object.keys(result).length === 0 ? {} : { [`${action}Result`]: result };
  const content = toXml({ ...members, ResponseMetadata: { RequestId: requestId } });
  const name = `${action}Response`;
  return { status: 200, body: `<${name} xmlns="${namespace}">${content}</${name}>` };
}

/** An error in XML. */
export function queryError(
  { code, message }: Pick<KeyspanError, 'code' | 'message'>,
  { namespace, requestId }: Omit<Answering, 'action'>,
): QueryAnswer {
  const [name, status] = NAMES[code] ?? [code, 400];
  const Type = status >= 500 ? 'Receiver' : 'Sender';
  const Error = { Type, Code: name, Message: message };
  const content = toXml({ Error, RequestId: requestId });
  return {
    status,
    body: `<ErrorResponse xmlns="${namespace}">${content}</ErrorResponse>`,
  };
}
