import type { P11Args, P11CallName, P11Values } from '../../protocol/p11-calls.js';
import type { Application } from './application.js';
import { fail } from './failure.js';
import type { P11Session } from './session.js';
import type { TokenView } from './token-view.js';

/** What a call does; what needs no HSM is answered at once. @throws P11Failure */
export type Handler<N extends P11CallName> = (
  application: Application,
  args: P11Args<N>,
) => P11Values<N> | Promise<P11Values<N>>;

/** Calls that are not there answer CKR_FUNCTION_NOT_SUPPORTED. */
export type Handlers = { readonly [N in P11CallName]?: Handler<N> };

/** A session that may change what is on the token. @throws P11Failure SESSION_READ_ONLY */
export function writable(session: P11Session, isToken: boolean): void {
  if (isToken && !session.isReadWrite) throw fail('SESSION_READ_ONLY');
}

/** Who logged in as a crypto-user. @throws P11Failure USER_NOT_LOGGED_IN */
export function needUser(view: TokenView): void {
  if (view.user !== 'user') throw fail('USER_NOT_LOGGED_IN');
}
