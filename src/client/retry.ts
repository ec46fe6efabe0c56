import { isChange, isHsmSessionAction } from '../protocol/hsm-session.js';

/** Answers after which the same request may succeed a moment later. */
const PASSING = new Set([
  'DependencyTimeoutException',
  'KeyUnavailableException',
  'KMSInternalException',
  'ThrottlingException',
  // of the data plane
  'HsmBusy',
  'VaultBusy',
  'VaultTimeout',
  'VaultUnavailable',
]);

/** Whether an error of the service is worth another attempt. */
export const isPassing = (code: string): boolean => PASSING.has(code);

/** Actions that change nothing: sending them twice does no more than sending them once. */
const READING = /^(?:Describe|List|Get|Generate|Encrypt|Decrypt|ReEncrypt|Sign|Verify|Derive)/;
const CONNECTION = new Set(['Subscribe', 'Unsubscribe']);

/**
 * Whether a request needs an idempotency token so that it can be sent again on another ENI.
 * An unknown action counts as one that changes something.
 */
export const needsToken = (action: string): boolean =>
  !READING.test(action) &&
  !CONNECTION.has(action) &&
  !(isHsmSessionAction(action) && !isChange(action));
