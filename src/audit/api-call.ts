import { randomUUID } from 'node:crypto';
import { LIMITS } from '../core/limits.js';
import { fitsLine } from './audit-log.js';
import { quoted, shownMembers } from './shown-members.js';

/** With what a caller showed who it is, as far as its door knows. */
export interface CredentialFacts {
  readonly accessKeyId?: string | undefined;
  /** the user's or role's unique id; of a session `ROLE-ID:SESSION-NAME` */
  readonly principalId?: string | undefined;
  /** when a session's credentials were issued, in milliseconds since 1970 */
  readonly issuedAtMs?: number | undefined;
  readonly isMfaAuthenticated?: boolean | undefined;
}

/** Who asks, in which region, and how the request came. */
export interface ApiCaller {
  readonly principal: {
    readonly arn: string;
    readonly type: 'Account' | 'User' | 'Role' | 'AssumedRole';
    readonly account: string;
    readonly names: readonly string[];
  };
  readonly region: string;
  readonly origin?:
    | {
        readonly sourceIp?: string | undefined;
        readonly userAgent?: string | undefined;
        readonly viaService?: string | undefined;
      }
    | undefined;
  readonly credentials?: CredentialFacts | undefined;
}

type Members = Readonly<Record<string, unknown>>;

/** One call of an AWS API that was answered, at any door. */
export interface ApiCallEvent {
  /** made by us: nothing in it has a meaning in JSON */
  readonly requestId: string;
  readonly service: 'kms' | 'cloudhsm' | 'sts' | 'iam';
  /** the interface: `websocket`, `aws`, … */
  readonly door: string;
  readonly caller: ApiCaller;
  /** a known action, or `Unknown`: a caller's own text would make counters without end */
  readonly action: string;
  /** it changes nothing: its answer is not shown */
  readonly isReadOnly: boolean;
  /** what was asked, once its form was found good */
  readonly params?: Members | undefined;
  /** what was answered; absent after a refusal */
  readonly answer?: Members | undefined;
  /** the ARN of what was worked on */
  readonly resource?: string | undefined;
  /** the ARN of the key, where the resource is an alias */
  readonly key?: string | undefined;
  /** the error that was answered, with its sentence; absent after a success */
  readonly code?: string | undefined;
  readonly message?: string | undefined;
  /** the HSM that did the work */
  readonly hsm?: string | undefined;
  /** the HSM whose ENI the request came in by */
  readonly entry?: string | undefined;
  readonly latencyMs: number;
  /** from its arrival to the first question to a vault; absent where none was asked */
  readonly decideMs?: number | undefined;
  /** what the HSM that did the work took */
  readonly hsmMs?: number | undefined;
}

/** What is the same in the records of many calls, in JSON. */
export interface CallWording {
  /** to the time */
  readonly start: string;
  /** from behind the time to what the caller gave */
  readonly place: string;
  /** from the door to the latency */
  readonly means: string;
  /** from behind the event's id to the resources */
  readonly reads: string;
  /** from behind the resources */
  readonly end: string;
}

const VERSION = '1.11';
const OMITTED = 'the record would be too long';
const TYPES = { Account: 'Root', User: 'IAMUser', Role: 'Role', AssumedRole: 'AssumedRole' };

const cut = (text: string): string => text.slice(0, LIMITS.audit_text_max_chars);
const nameIn = (arn: string): string => arn.slice(arn.lastIndexOf('/') + 1);

/** To the second, as CloudTrail writes it. */
export const civilSecond = (ms: number): string => `${new Date(ms).toISOString().slice(0, 19)}Z`;

/** CloudTrail's userIdentity. */
function identityOf({ principal, origin, credentials = {} }: ApiCaller): object {
  const { arn, type, account, names } = principal;
  const isRoot = type === 'Account';
  const isUser = type === 'User';
  return {
    type: TYPES[type],
    principalId: credentials.principalId ?? (isRoot ? account : undefined),
    arn,
    accountId: account,
    accessKeyId: credentials.accessKeyId,
    userName: isUser ? nameIn(arn) : undefined,
    sessionContext: sessionOf(type, account, names[1], credentials),
    invokedBy: origin?.viaService === undefined ? undefined : cut(origin.viaService),
  };
}

function sessionOf(
  type: string,
  accountId: string,
  role: string | undefined,
  { principalId, issuedAtMs, isMfaAuthenticated = false }: CredentialFacts,
): object | undefined {
  if (type !== 'AssumedRole' && issuedAtMs === undefined) return undefined;
  const issuer = type === 'AssumedRole' && role !== undefined ? role : undefined;
  return {
    sessionIssuer: issuer && {
      type: 'Role',
      principalId: principalId?.split(':')[0],
      arn: issuer,
      accountId,
      userName: nameIn(issuer),
    },
    attributes: {
      creationDate: issuedAtMs === undefined ? undefined : civilSecond(issuedAtMs),
      mfaAuthenticated: String(isMfaAuthenticated),
    },
  };
}

/** Writes down what records of calls like this one have in common. */
export function wordCalls(event: ApiCallEvent): CallWording {
  const { service, caller, action, door, hsm, entry, isReadOnly } = event;
  const { region, origin = {}, principal } = caller;
  const identity = JSON.stringify({ eventVersion: VERSION, userIdentity: identityOf(caller) });
  const place = JSON.stringify({
    eventSource: `${service}.amazonaws.com`,
    eventName: action,
    awsRegion: region,
    sourceIPAddress: cut(origin.sourceIp ?? 'unknown'),
    userAgent: origin.userAgent === undefined ? undefined : cut(origin.userAgent),
  });
  const means = JSON.stringify({ door, hsm, entry });
  const end = JSON.stringify({
    eventType: 'AwsApiCall',
    managementEvent: true,
    recipientAccountId: principal.account,
    eventCategory: 'Management',
  });
  return {
    start: `${identity.slice(0, -1)},"eventTime":"`,
    place: `",${place.slice(1, -1)}`,
    means: `${means.slice(1, -1)},"latencyMs":`,
    reads: `","readOnly":${isReadOnly},"resources":`,
    end: `,${end.slice(1, -1)}`,
  };
}

/** Whether the records of both have all of a wording in common. */
export const isWordedAlike = (one: ApiCallEvent, other: ApiCallEvent): boolean =>
  one.hsm === other.hsm &&
  one.entry === other.entry &&
  one.door === other.door &&
  one.code === other.code &&
  one.service === other.service &&
  one.isReadOnly === other.isReadOnly &&
  (one.caller === other.caller || isAlike(one.caller, other.caller));

function isAlike(one: ApiCaller, other: ApiCaller): boolean {
  if (one.region !== other.region) return false;
  const [from, of] = [one.origin, other.origin];
  return (
    from?.sourceIp === of?.sourceIp &&
    from?.userAgent === of?.userAgent &&
    from?.viaService === of?.viaService &&
    one.principal.type === other.principal.type &&
    areAlike(one.credentials, other.credentials)
  );
}

const areAlike = (one: CredentialFacts | undefined, other: CredentialFacts | undefined): boolean =>
  one === other ||
  (one?.accessKeyId === other?.accessKeyId &&
    one?.principalId === other?.principalId &&
    one?.issuedAtMs === other?.issuedAtMs &&
    one?.isMfaAuthenticated === other?.isMfaAuthenticated);

/** Milliseconds to three places; whole numbers are written faster than fractions. */
export function inMs(ms: number): string {
  const us = Math.round(ms * 1_000);
  const rest = us % 1_000;
  return `${(us - rest) / 1_000}.${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}`;
}

/** What refused a call, in words that hold nothing of what records do not show. */
function refusalOf({ code, message }: ApiCallEvent): string {
  if (code === undefined) return '';
  const isPublic = message !== undefined && message !== '' && !/^(Hsm|Vault|Store)/.test(code);
  const sentence = isPublic ? `,"errorMessage":${quoted(cut(withoutValues(message)))}` : '';
  return `,"errorCode":${quoted(code)}${sentence}`;
}

/** Sentences that repeat what was given: also where that is a grant token or a password. */
const REPEATING = / at '(?:grantToken|keyStorePassword|xksProxyAuthenticationCredential|tokenCode)/;

const withoutValues = (message: string): string =>
  REPEATING.test(message) ? message.slice(0, message.indexOf(':')) : message;

/** AWS writes down which material worked. */
function materialOf(answer: Members | undefined): string {
  if (answer === undefined) return '';
  const { KeyMaterialId: id, SourceKeyMaterialId: from, DestinationKeyMaterialId: to } = answer;
  if (typeof id === 'string') return `"keyMaterialId":"${id}",`;
  if (typeof from !== 'string' || typeof to !== 'string') return '';
  return `"sourceKeyMaterialId":"${from}","destinationKeyMaterialId":"${to}",`;
}

/** What a change answered, with the key that it was about. */
function elementsOf({ isReadOnly, answer, key }: ApiCallEvent): string {
  if (isReadOnly || answer === undefined) return 'null';
  return shownMembers(key === undefined ? answer : { KeyId: key, ...answer });
}

const KMS_ARN = /^arn:[^:]*:kms:/;

/** One entry of CloudTrail's `resources`. */
function resourceIn(arn: string): string {
  const accountId = arn.split(':')[4] ?? '';
  const service = KMS_ARN.test(arn) ? 'KMS::Key' : undefined;
  return JSON.stringify({ accountId, type: service && `AWS::${service}`, ARN: arn });
}

/** A call that was refused before anybody knew who made it. */
export interface RefusedCall {
  readonly requestId: string;
  readonly service: string;
  /** as the request has it */
  readonly action: string;
  /** what the request claims */
  readonly region?: string | undefined;
  readonly accessKeyId?: string | undefined;
  readonly userAgent?: string | undefined;
  readonly message?: string | undefined;
}

/** The record of a call of nobody that is known, without its closing brace. */
export function refusalRecord(
  call: RefusedCall & {
    readonly door: string;
    readonly peer?: string | undefined;
    readonly code: string;
  },
  time: string,
): string {
  const { accessKeyId, userAgent, message } = call;
  const record = {
    eventVersion: VERSION,
    userIdentity: { type: 'Unknown', accessKeyId: accessKeyId && cut(accessKeyId) },
    eventTime: time,
    eventSource: `${call.service}.amazonaws.com`,
    eventName: cut(call.action),
    awsRegion: call.region && cut(call.region),
    sourceIPAddress: call.peer ?? 'unknown',
    userAgent: userAgent && cut(userAgent),
    errorCode: call.code,
    errorMessage: message && cut(message),
    requestParameters: null,
    responseElements: null,
    additionalEventData: { door: call.door },
    requestID: call.requestId,
    eventID: randomUUID(),
    resources: [],
    eventType: 'AwsApiCall',
    managementEvent: true,
    eventCategory: 'Management',
  };
  return JSON.stringify(record).slice(0, -1);
}

/** Writes the records of calls; what calls have in common it keeps. */
export class CallRecords {
  /** of the ids of events, all but their number */
  readonly #ids = randomUUID().slice(0, 24);
  #events = 0;
  readonly #resources = new Map<string, string>();

  /**
   * A record in CloudTrail's form (its event version 1.11), without its closing brace.
   * @param time to the second
   */
  record(event: ApiCallEvent, wording: CallWording, time: string): string {
    const params = event.params === undefined ? 'null' : shownMembers(event.params, event.action);
    const elements = elementsOf(event);
    const line = this.#line(event, wording, { time, params, elements });
    if (fitsLine(line)) return line;
    return this.#line(event, wording, {
      time,
      params: omitted(params),
      elements: omitted(elements),
    });
  }

  #line(
    event: ApiCallEvent,
    wording: CallWording,
    { time, params, elements }: { time: string; params: string; elements: string },
  ): string {
    const { start, place, means, reads, end } = wording;
    const given = `,"requestParameters":${params},"responseElements":${elements}`;
    const extras = `,"additionalEventData":{${materialOf(event.answer)}${means}`;
    const ids = `},"requestID":"${event.requestId}","eventID":"${this.#newId()}`;
    const head = start + time + place + (event.code === undefined ? '' : refusalOf(event)) + given;
    return head + extras + inMs(event.latencyMs) + ids + reads + this.#resourcesOf(event) + end;
  }

  /** Of one run of the daemon they differ in the number at their end. */
  #newId(): string {
    this.#events += 1;
    return this.#ids + this.#events.toString(16).padStart(12, '0');
  }

  #resourcesOf({ resource, key, answer }: ApiCallEvent): string {
    if (resource === undefined) return '[]';
    const from = answer?.['SourceKeyId'];
    const to = answer?.['KeyId'];
    // AWS names both keys of ReEncrypt, and a key with its alias
    if (typeof from === 'string' && typeof to === 'string') return this.#listed(from, to);
    return key === undefined || key === resource
      ? this.#listed(resource)
      : this.#listed(key, resource);
  }

  #listed(first: string, second?: string): string {
    const rest = second === undefined ? '' : `,${this.#entry(second)}`;
    return `[${this.#entry(first)}${rest}]`;
  }

  #entry(arn: string): string {
    const known = this.#resources.get(arn);
    if (known !== undefined) return known;
    if (this.#resources.size >= LIMITS.audit_wordings_max) this.#resources.clear();
    const entry = resourceIn(arn);
    this.#resources.set(arn, entry);
    return entry;
  }
}

/** As CloudTrail leaves out what is too large for it. */
const omitted = (json: string): string =>
  json === 'null'
    ? json
    : JSON.stringify({
        omitted: true,
        originalSize: Buffer.byteLength(json),
        reason: OMITTED,
      });
