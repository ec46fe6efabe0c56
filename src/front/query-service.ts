import type { Events } from '../audit/events.js';
import type { Call } from '../core/call.js';
import { monotonic } from '../core/clock.js';
import { isKeyspanError, KeyspanError } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { decideByAccount, deniedSentence } from '../iam/account-decision.js';
import { callerContext } from '../iam/caller-context.js';
import type { Identities } from '../iam/identities.js';
import { parseStructure, planOf } from '../protocol/aws-parser.js';
import { queryMembers, type QueryParameters, type XmlValue } from '../protocol/aws-query.js';
import type { Members, ParamsOf } from '../protocol/aws-shapes.js';
import { isInternal } from './aws-answer.js';
import type { AwsCaller, AwsOperations } from './aws-service.js';

/** The members of an answer; none: the action answers nothing. */
export type QueryResult = Readonly<Record<string, XmlValue>>;

/** Values of condition keys, in lower case. */
export type Conditions = Iterable<readonly [string, readonly string[]]>;

/** What an action of a service in the Query protocol is. */
export interface QueryAction<P = unknown> {
  readonly members: Members;
  /** the ARN of what it is about, or `*` */
  readonly resource: (params: P, caller: AwsCaller) => string;
  /** what it says beside, for conditions in policies */
  readonly conditions?: ((params: P, caller: AwsCaller) => Conditions) | undefined;
  /** decides for itself who may do it */
  readonly isOpen?: boolean | undefined;
  readonly run: (params: P, caller: AwsCaller) => QueryResult | Promise<QueryResult>;
}
export type QueryActions = Readonly<Record<string, QueryAction>>;

/** What was parsed by one of several tables of members. */
type ParamsOfEach<M> = M extends Members ? ParamsOf<M> : never;

/** An action whose functions are typed by its members. */
export function action<M extends Members>(
  members: M,
  parts: Omit<QueryAction<ParamsOfEach<M>>, 'members'>,
): QueryAction {
  // the members are what the parameters were parsed by
  return { members, ...parts } as unknown as QueryAction;
}

export interface QueryServiceOptions {
  /** as policies and audit lines name it: `iam`, `sts` */
  readonly name: 'iam' | 'sts';
  readonly actions: QueryActions;
  readonly identities: Identities;
  /** civil time in milliseconds since 1970 */
  readonly civil: () => number;
  /** @throws KeyspanError for a caller that the service takes nothing from */
  readonly admit?: ((caller: AwsCaller) => void) | undefined;
  readonly events: Events;
  readonly log: Logger;
}

interface Line {
  readonly name: string;
  readonly caller: AwsCaller;
  readonly call: Call;
  readonly beganMs: number;
  resource: string | undefined;
  /** once their form was found good */
  params?: Readonly<Record<string, unknown>>;
}

/** A service of the Query protocol: checks a request, decides, runs it, writes its line. */
export class QueryService implements AwsOperations {
  readonly #options: QueryServiceOptions;

  constructor(options: QueryServiceOptions) {
    this.#options = options;
  }

  /** @param params the request's QueryParameters. @throws KeyspanError with a code of the table */
  async perform(name: string, params: unknown, caller: AwsCaller, call: Call): Promise<object> {
    const line: Line = { name, caller, call, beganMs: monotonic(), resource: undefined };
    try {
      const answer = await this.#run(params as QueryParameters, line);
      this.#audit(line, answer);
      return answer;
    } catch (error) {
      const answered = this.#answered(error, call);
      this.#audit(line, undefined, answered);
      throw answered;
    }
  }

  async #run(parameters: QueryParameters, line: Line): Promise<QueryResult> {
    const { caller, name } = line;
    const found = this.#find(name);
    if (!found) {
      const sentence = `Could not find operation ${name.slice(0, 128)}`;
      throw new KeyspanError('UnknownOperationException', sentence);
    }
    this.#options.admit?.(caller);
    const given = queryMembers(found.members, parameters);
    const params = parseStructure(planOf(found.members), given, 'json');
    line.params = params;
    const resource = found.resource(params, caller);
    line.resource = resource === '*' ? undefined : resource;
    if (!found.isOpen) this.#authorize(line, resource, found.conditions?.(params, caller));
    return await found.run(params, caller);
  }

  #find(name: string): QueryAction | undefined {
    const { actions } = this.#options;
    return Object.hasOwn(actions, name) ? actions[name] : undefined;
  }

  /** @throws AccessDeniedException */
  #authorize({ caller, name }: Line, resource: string, conditions: Conditions = []): void {
    const { identities, civil } = this.#options;
    const { principal, region, origin } = caller;
    const identity = identities.of(principal);
    const context = (): Map<string, readonly string[]> =>
      new Map([
        ...callerContext({ principal, identity, region, origin, civilMs: civil() }),
        ...conditions,
      ]);
    const request = { principal, action: `${this.#options.name}:${name}`, resource, context };
    const decision = decideByAccount(request, identity);
    if (decision.allowed) return;
    const sentence = deniedSentence(request, decision.because);
    throw new KeyspanError('AccessDeniedException', sentence);
  }

  /** What comes from inside is a fault of the service, and the log alone has it. */
  #answered(error: unknown, { requestId }: Call): KeyspanError {
    if (isKeyspanError(error) && !isInternal(error.code)) return error;
    this.#options.log.error({ err: error, requestId }, 'a request failed');
    const sentence = 'The request could not be processed.';
    return new KeyspanError('InternalFailure', sentence, { cause: error });
  }

  #audit(line: Line, answer: QueryResult | undefined, error?: KeyspanError): void {
    const { name, caller, call, beganMs, resource, params } = line;
    const { name: service, identities, events } = this.#options;
    // who asks is known, but what is known of them may be gone with the store
    const principalId = error === undefined ? identities.of(caller.principal).userId : undefined;
    events.apiCallEvent({
      requestId: call.requestId,
      service,
      door: 'aws',
      caller: { ...caller, credentials: { ...caller.credentials, principalId } },
      action: this.#find(name) ? name : 'Unknown',
      isReadOnly: READING.test(name),
      params,
      answer,
      resource,
      code: error?.code,
      message: error?.message,
      latencyMs: monotonic() - beganMs,
    });
  }
}

/** As CloudTrail has it; what AssumeRole gives out is in the record all the same. */
const READING = /^(Get|List)/;
