import {
  HSM_SESSION_ACTIONS,
  type HsmSessionAction,
  type HsmSessionParams,
  type HsmSessionResults,
} from '../protocol/hsm-session.js';
import { KeyspanError } from '../core/errors.js';
import { FormError } from '../protocol/form.js';
import { CliSessions } from './cli-sessions.js';
import { keyActions } from './key-actions.js';
import { quorumActions } from './quorum-actions.js';
import type { HsmSessionHandlers, UserContext } from './user-context.js';
import { userActions } from './user-actions.js';

export type HsmSessionOptions = Omit<UserContext, 'sessions'>;

export function hsmSessionHandlers(options: HsmSessionOptions): HsmSessionHandlers {
  const shared = { ...options, sessions: new CliSessions() };
  return { ...userActions(shared), ...quorumActions(shared), ...keyActions(shared) };
}

/**
 * Runs one action of the data plane.
 * @throws KeyspanError ValidationException for params of another form, or what the action throws
 */
export async function performHsmSession<A extends HsmSessionAction>(
  handlers: HsmSessionHandlers,
  action: A,
  params: unknown,
): Promise<HsmSessionResults[A]> {
  return await handlers[action](readParams(action, params));
}

function readParams<A extends HsmSessionAction>(action: A, params: unknown): HsmSessionParams<A> {
  try {
    return HSM_SESSION_ACTIONS[action](params) as HsmSessionParams<A>;
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new KeyspanError('ValidationException', `${action}: ${error.message}`);
  }
}
