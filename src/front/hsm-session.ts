import type { Events } from '../audit/events.js';
import type { Call } from '../core/call.js';
import { monotonic } from '../core/clock.js';
import { deadlineIn } from '../core/deadline.js';
import { KeyspanError, isKeyspanError, type ErrorCode } from '../core/errors.js';
import { newRequestId, type HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Principal } from '../iam/principal.js';
import { FormError } from '../protocol/form.js';
import {
  HSM_SESSION_ACTIONS,
  isOfCluster,
  type HsmSessionAction,
  type HsmSessionParams,
  type HsmSessionResults,
} from '../protocol/hsm-session.js';
import { CliSessions, type LoginOwner } from './cli-sessions.js';
import { keyActions } from './key-actions.js';
import { quorumActions } from './quorum-actions.js';
import { userActions } from './user-actions.js';
import type { HsmSessionHandlers, UserContext } from './user-context.js';

export interface DataPlaneOptions extends Omit<UserContext, 'sessions' | 'events'> {
  readonly events: Pick<Events, 'loginEvent' | 'operatorEvent' | 'requestEvent'>;
}

/** Who asks by an ENI. */
export interface EniCaller {
  readonly principal: Principal;
  /** the ENI's, which is meant where none is named */
  readonly cluster: string;
  /** the ENI's HSM, for the audit log */
  readonly entry: HsmId;
  readonly call: Call;
}

/** Each action for the operator, to whom the cluster that is not named is the installation's. */
export type OperatorHandlers = {
  readonly [A in HsmSessionAction]: (params: HsmSessionParams<A>) => Promise<HsmSessionResults[A]>;
};

const OPERATOR: LoginOwner = {
  name: 'operator',
  place: 'operator',
  logins_max: LIMITS.cli_sessions_max,
};

/** How many characters of a key's name go to the audit log; a reference has no more. */
const REFERENCE_CHARS = 18;

/**
 * What HSM users do with their clusters, for every door. A login belongs to the principal that
 * made it, or to the operator, and to nobody else who hears its name.
 */
export class DataPlane {
  readonly #events: DataPlaneOptions['events'];
  readonly #sessions = new CliSessions();
  readonly #handlers: HsmSessionHandlers;

  /** @param handlers in place of the daemon's own, for tests */
  constructor(options: DataPlaneOptions, handlers?: HsmSessionHandlers) {
    this.#events = options.events;
    const shared = { ...options, sessions: this.#sessions };
    this.#handlers = handlers ?? {
      ...userActions(shared),
      ...quorumActions(shared),
      ...keyActions(shared),
    };
  }

  /** The actions as the operator has them; their params were read before. */
  operator(): OperatorHandlers {
    const actions = Object.keys(HSM_SESSION_ACTIONS) as HsmSessionAction[];
    const handlers = actions.map((action) => {
      const handler = (params: HsmSessionParams<typeof action>): Promise<unknown> => {
        const deadline = deadlineIn(LIMITS.request_timeout_ms);
        const call = { requestId: newRequestId(), deadline };
        return this.#perform({ action, params, call }, OPERATOR);
      };
      return [action, handler] as const;
    });
    return Object.fromEntries(handlers) as unknown as OperatorHandlers;
  }

  /**
   * Runs one action that came in by an ENI; it leaves a line in the audit log either way.
   * @throws KeyspanError ValidationException for params of another form, or what the action throws
   */
  async perform<A extends HsmSessionAction>(
    action: A,
    params: Readonly<Record<string, unknown>>,
    caller: EniCaller,
  ): Promise<HsmSessionResults[A]> {
    const { call } = caller;
    const begin = monotonic();
    try {
      const isUnnamed = isOfCluster(action) && params['cluster'] === undefined;
      const { cluster: own } = caller;
      const read = readParams(action, isUnnamed ? { ...params, cluster: own } : params);
      const { cluster = own } = read as { cluster?: string };
      const owner = ownerOf(caller.principal, cluster);
      const result = await this.#perform({ action, params: read, call }, owner);
      this.#audit({ action, params, caller, begin });
      return result;
    } catch (error) {
      const answered = forClients(error);
      const code = answered instanceof KeyspanError ? answered.code : 'InternalFailure';
      this.#audit({ action, params, caller, begin }, code);
      throw answered;
    }
  }

  /** Not async, as the actions themselves. */
  #perform<A extends HsmSessionAction>(
    request: { readonly action: A; readonly params: HsmSessionParams<A>; readonly call: Call },
    owner: LoginOwner,
  ): Promise<HsmSessionResults[A]> {
    const { action, params, call } = request;
    const { session, destination } = params as { session?: string; destination?: string };
    for (const token of [session, destination]) {
      if (token !== undefined) this.#sessions.check(token, owner);
    }
    const work = (): Promise<HsmSessionResults[A]> => this.#handlers[action](params, call);
    if (action !== 'UserLogin') return work();
    type Login = () => Promise<HsmSessionResults[A] & HsmSessionResults['UserLogin']>;
    return this.#sessions.admit(owner, work as Login);
  }

  #audit(
    line: {
      readonly action: HsmSessionAction;
      readonly params: Readonly<Record<string, unknown>>;
      readonly caller: EniCaller;
      readonly begin: number;
    },
    code?: ErrorCode,
  ): void {
    const { action, params, caller, begin } = line;
    const { requestId, servedBy, hsmMs } = caller.call;
    const { key } = params;
    this.#events.requestEvent({
      requestId,
      door: 'websocket',
      principal: caller.principal.arn,
      action,
      resource: typeof key === 'string' ? key.slice(0, REFERENCE_CHARS) : undefined,
      code,
      hsm: servedBy,
      latencyMs: monotonic() - begin,
      hsmMs,
      entry: caller.entry,
    });
  }
}

/** A cluster that is not there is a member of the request, and no command line. */
function forClients(error: unknown): unknown {
  if (!isKeyspanError(error, 'KeyspanUsage')) return error;
  return new KeyspanError('ValidationException', error.message, { cause: error });
}

const ownerOf = (principal: Principal, cluster: string): LoginOwner => ({
  name: principal.arn,
  place: cluster,
  logins_max: LIMITS.cluster_logins_max,
});

function readParams<A extends HsmSessionAction>(action: A, params: unknown): HsmSessionParams<A> {
  try {
    return HSM_SESSION_ACTIONS[action](params) as HsmSessionParams<A>;
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new KeyspanError('ValidationException', `${action}: ${error.message}`);
  }
}

const VAULT_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'VaultBusy',
  'VaultNotDurable',
  'VaultTimeout',
  'VaultUnavailable',
]);

/** Whether an error of the data plane is its interface's own, and not one of what is behind it. */
export const isDataPlaneCode = (code: ErrorCode): boolean =>
  code.startsWith('Hsm') || code === 'KeyspanRefused' || VAULT_CODES.has(code);
