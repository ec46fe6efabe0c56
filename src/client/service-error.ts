/**
 * What the service answered instead of a result. `code` is the interface's own name
 * (`InvalidCiphertextException`, `AccessDeniedException`, ...): compare it, not the message.
 * Failures that the client finds itself (no connection, a deadline, a damaged file) are
 * KeyspanErrors.
 */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Reads `{code, message}` of an answer whose form nobody has checked yet. */
export function readServiceError(value: unknown): ServiceError {
  const { code, message } = (value ?? {}) as { code?: unknown; message?: unknown };
  return new ServiceError(
    typeof code === 'string' ? code : 'InternalFailure',
    typeof message === 'string' ? message : '',
  );
}
