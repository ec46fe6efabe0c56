/**
 * Every error that Keyspan can answer, in one table. A code is stable: clients compare it. The
 * sentence is public,
 * the cause is for the log. Codes that stand in an AWS API are spelled as AWS spells them;
 * codes of an HSM begin
 * with `Hsm`, those of a vault with `Vault`, those of the store with `Store`, those of this
 * installation with `Keyspan`.
 */
export const ERRORS = {
  // AWS: common to all services
  AccessDeniedException: 'the caller may not do this',
  ExpiredTokenException: 'the session of these credentials is over',
  IncompleteSignatureException: "the request's signature lacks a part or has one of a wrong form",
  InternalFailure: 'a fault of the service',
  InvalidSignatureException: 'the signature does not fit the request, its scope or the time',
  MissingAuthenticationTokenException: 'the request is not signed',
  RequestEntityTooLargeException: 'the request is larger than the door takes',
  SerializationException: 'the request is not well-formed',
  ThrottlingException: 'a bound of the door or of the HSMs is reached; try again later',
  UnknownOperationException: 'there is no such action',
  UnrecognizedClientException: 'the caller is not known',
  ValidationException: 'a member of the request has a wrong form',
  // AWS: CloudHSM
  CloudHsmAccessDeniedException: 'the caller may not do this',
  CloudHsmInternalFailureException: 'a fault of the service; the request can be tried again',
  CloudHsmInvalidRequestException: 'the request is not valid, not now, or not built',
  CloudHsmResourceLimitExceededException: 'a quota is reached',
  CloudHsmResourceNotFoundException: 'there is no such cluster, HSM or backup',
  CloudHsmServiceException: 'the service failed',
  CloudHsmTagException: 'a tag is not valid',
  // AWS: IAM and STS
  DeleteConflict: 'what is to be deleted still has something that must go first',
  EntityAlreadyExists: 'there is a user, role or policy of this name',
  InvalidInput: 'a member of the request does not fit the others',
  NoSuchEntity: 'there is no such user, role, policy or access key',
  PackedPolicyTooLarge: "a session's policies and tags take more room than its token has",
  // AWS: KMS
  AlreadyExistsException: 'a resource with this name exists',
  DependencyTimeoutException: 'no HSM answered within the deadline',
  DisabledException: 'the KMS key is disabled',
  DryRunOperationException: 'the request would have succeeded, but the DryRun option is set',
  IncorrectKeyException: 'the ciphertext was made under another KMS key',
  InvalidAliasNameException: 'the alias name is not valid',
  InvalidArnException: 'an ARN is not valid',
  InvalidCiphertextException:
    'the ciphertext is foreign, damaged, or bound to another encryption context',
  InvalidGrantIdException: 'the key has no grant of this id',
  InvalidGrantTokenException: 'the grant token is not one that CreateGrant returned',
  InvalidKeyUsageException: 'the KMS key is not made for this operation',
  InvalidMarkerException: 'the marker is not one that a list call returned',
  KeyUnavailableException: 'the KMS key cannot be used at the moment; try again',
  KMSInternalException: 'a fault of the service; the request can be tried again',
  KMSInvalidStateException: 'the state of the KMS key does not allow this',
  LimitExceededException: 'a quota is reached',
  MalformedPolicyDocumentException: 'the policy is not well-formed',
  NotAuthorizedException: 'the name is reserved',
  NotFoundException: 'there is no such key or alias',
  TagException: 'a tag is not valid',
  UnsupportedOperationException: 'the operation is not supported for this key or not built',
  // HSM: what an HSM's authority answers
  HsmAlreadyExists: 'the HSM holds a user or key of this name',
  HsmAttributeRefused: 'an attribute of a key may not have this value',
  HsmBadFrame: 'the frame is not well-formed',
  HsmBadRecord: 'a masked object or record is not authentic or not readable',
  HsmBusy: 'the HSM cannot queue the request',
  HsmCredentialsRefused: 'the user name or the password is wrong',
  HsmDataInvalid: 'the data or its authentication tag is wrong',
  HsmDeadlineExceeded: 'the deadline passed before the HSM came to the request',
  HsmDeviceError: 'the token failed',
  HsmEpochStale: 'the frame belongs to an older membership of the cluster',
  HsmFactorRefused: 'the key cannot be registered, or it did not sign a token of this login',
  HsmKeyNotFound: 'the HSM holds no such key, or the session may not see it',
  HsmKeyUnproven: "the HSM's copy of the key failed its proof",
  HsmMechanismInvalid: 'the HSM has no such mechanism for this key',
  HsmMechanismParamInvalid: "the mechanism's parameter does not fit",
  HsmMfaRequired: 'the user logs in with a second factor, and the login came without it',
  HsmNotLoggedIn: 'the frame needs a session that logged in',
  HsmPhase: 'the HSM is not in the phase of its life that this needs',
  HsmProtocol: 'hello frames do not match: version, HSM id or cluster id',
  HsmQuorumRefused: 'Quorum Failed',
  HsmQuorumRequired: 'Quorum approval is required for this operation',
  HsmQuorumValueRefused: 'the number of approvals is not one that the service can have now',
  HsmRecordStale: 'the HSM has a newer record of this key, or another of the same revision',
  HsmRoleRefused: "the user's role does not allow this",
  HsmUsageRefused: "the key's attributes do not allow this",
  HsmUserLocked: 'the user is locked after too many wrong passwords',
  HsmUserNotFound: 'there is no such user',
  // vault: what a vault answers to KMS
  VaultBusy: 'every HSM has as much to do as it may queue',
  VaultDataInvalid: 'the data or its authentication tag is wrong',
  VaultKeyMissing: 'no HSM holds this key',
  VaultNotDurable: 'the key could not be put on as many HSMs as the key-availability rule asks for',
  VaultTimeout: 'no HSM answered within the deadline',
  VaultUnavailable: 'no HSM is active',
  // store
  StoreClosed: 'the store is closed',
  StoreCompacted: 'the revision asked for was compacted away',
  StoreConflict: 'a fact changed between reading and writing; read again',
  StoreCorrupt: 'a stored value cannot be read or unsealed',
  StoreFailed: 'the store could not read or write its files',
  StoreInUse: 'another daemon owns this store',
  StoreSessionLost: 'the session ended; its entries are gone',
  StoreTooLarge: 'a key, a value or a commit is over its bound',
  StoreVersion: 'the store was written by a newer Keyspan',
  // this installation
  KeyspanBackupRefused: 'the backup is truncated, altered or sealed by another key',
  KeyspanConfig: 'the configuration or the home cannot be used',
  KeyspanConnection: 'the connection was lost or could not be made',
  KeyspanDeadlineExceeded: 'the deadline passed',
  KeyspanNotRunning: 'no daemon runs on this home',
  KeyspanRefused: 'the daemon refuses the request in its present state',
  KeyspanUsage: 'the command was not called correctly',
  KeyspanFileFormat: 'the file is not one that keyspan encrypt wrote, or it was changed',
} as const;

export type ErrorCode = keyof typeof ERRORS;

/**
 * An expected failure with a stable code, a sentence for the caller and, for the log alone, its
 * cause.
 */
export class KeyspanError extends Error {
  override readonly name = 'KeyspanError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string = ERRORS[code], options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Whether `value` is a KeyspanError, and with `code` one of that code. */
export function isKeyspanError(value: unknown, code?: ErrorCode): value is KeyspanError {
  return value instanceof KeyspanError && (code === undefined || value.code === code);
}

/** Whether `code` names an error of the table: what a peer sent is checked before it is trusted. */
export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERRORS, code);
}
