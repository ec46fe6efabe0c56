import { formatBase64 } from '../core/bytes.js';
import type { ErrorCode, KeyspanError } from '../core/errors.js';
import { toJson } from '../protocol/client-frames.js';

/** What goes over the wire as the answer to one AWS JSON request. */
export interface AwsAnswer {
  readonly status: number;
  readonly body: string;
}

const STATUSES: Partial<Readonly<Record<ErrorCode, number>>> = {
  CloudHsmInternalFailureException: 500,
  DependencyTimeoutException: 503,
  KMSInternalException: 500,
  KeyUnavailableException: 500,
  InternalFailure: 500,
  RequestEntityTooLargeException: 413,
};

/**
 * Whose member has a capital letter: CloudHSM's own errors (CloudHSM V2 API), and two that KMS
 * leaves to what stands in front of it.
 */
const HAS_CAPITAL = /^(CloudHsm|AccessDeniedException$|UnsupportedOperationException$)/;

/** The result of one request; blobs are in base64. */
export function resultAnswer(result: object): AwsAnswer {
  // most blobs are members of the answer itself: a replacer would be asked for every member
  const members: Record<string, unknown> = {};
  let isPlain = true;
  for (const [name, value] of Object.entries(result)) {
    const isBlob = value instanceof Uint8Array;
    members[name] = isBlob ? formatBase64(value) : value;
    if (typeof value === 'object' && !isBlob) isPlain = false;
  }
  return { status: 200, body: isPlain ? JSON.stringify(members) : toJson(result) };
}

/** An error in the form of AWS's JSON protocols: its name is `__type`. Some have no sentence. */
export function errorAnswer({ code, message }: Pick<KeyspanError, 'code' | 'message'>): AwsAnswer {
  const member = HAS_CAPITAL.test(code) ? 'Message' : 'message';
  return {
    status: STATUSES[code] ?? 400,
    body: JSON.stringify({ __type: code, ...(message !== '' && { [member]: message }) }),
  };
}

/** Errors from inside: they have a name for the log, and none for a caller. */
export const isInternal = (code: ErrorCode): boolean => /^(Hsm|Vault|Store|Keyspan)/.test(code);
