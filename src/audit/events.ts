import type { ChainHead } from '../core/audit-seal.js';
import type { Clock } from '../core/clock.js';
import { LIMITS } from '../core/limits.js';
import {
  CallRecords,
  civilSecond,
  inMs,
  isWordedAlike,
  refusalRecord,
  wordCalls,
  type ApiCallEvent,
  type CallWording,
  type RefusedCall,
} from './api-call.js';
import { fitsLine, type AuditLog, type AuditRecord } from './audit-log.js';
import { Metrics, type Counter, type Histogram } from './metrics.js';

/** One request that was answered, at a door that is not AWS's: those are calls of an API. */
export interface RequestEvent extends Pick<
  ApiCallEvent,
  | 'requestId'
  | 'door'
  | 'action'
  | 'resource'
  | 'code'
  | 'hsm'
  | 'entry'
  | 'latencyMs'
  | 'decideMs'
  | 'hsmMs'
> {
  /** the caller's ARN, or an HSM user's name */
  readonly principal: string;
}

export interface HsmStateEvent {
  readonly cluster: string;
  readonly hsm: string;
  readonly from: string;
  readonly to: string;
  readonly reason?: string | undefined;
}

export interface ClusterStateEvent {
  readonly cluster: string;
  readonly from: string;
  readonly to: string;
  readonly reason?: string | undefined;
}

/** A login of an HSM user. */
export interface LoginEvent {
  readonly cluster: string;
  readonly hsm?: string | undefined;
  readonly user: string;
  readonly role?: string | undefined;
  /** why it was refused; absent after a success */
  readonly code?: string | undefined;
}

/** A client or a request that a door turned away before any service was asked. */
export interface RefusalEvent {
  readonly door: string;
  readonly peer?: string | undefined;
  readonly code: string;
  /** where it is known which API was called */
  readonly call?: RefusedCall | undefined;
}

/**
 * A step in the life of an HSM key: `live`, `abandoned`, `destroyed`, `quarantined`,
 * `repaired`.
 */
export interface KeyEvent {
  readonly cluster: string;
  readonly key: string;
  readonly step: string;
  readonly hsm?: string | undefined;
}

/** An HSM was compared with the ledger; how many keys were repaired or found odd. */
export interface RepairEvent {
  readonly cluster: string;
  readonly hsm: string;
  readonly copied: number;
  readonly updated: number;
  readonly discarded: number;
  readonly unknown: number;
  readonly conflicting: number;
}

export interface CertificateEvent {
  readonly principal: string;
  readonly serial: string;
  readonly notAfter: string;
}

/** What the operator had done through the admin socket. */
export interface OperatorEvent {
  readonly action: string;
  readonly target?: string | undefined;
  readonly code?: string | undefined;
}

export interface DaemonEvent {
  readonly step: 'started' | 'stopping' | 'stopped';
  readonly version: string;
  readonly pid: number;
}

/** What is the same for many requests. */
interface Wording {
  readonly of: RequestEvent;
  readonly series: RequestSeries;
  // of their audit lines, in JSON:
  /** from behind the request's id to the resource */
  readonly subject: string;
  /** from behind the resource to the latency */
  readonly outcome: string;
  /** from behind the latency */
  readonly end: string;
}

/** The order of the members is the order in the file; absent ones are left out. */
function requestLine(event: RequestEvent, wording: Wording, time: string): string {
  const { requestId, resource, latencyMs } = event;
  const { subject, outcome, end } = wording;
  const on = resource === undefined ? '' : `,"resource":${JSON.stringify(resource)}`;
  const head = `{"time":"${time}","event":"request","requestId":"${requestId}`;
  return head + subject + on + outcome + inMs(latencyMs) + end;
}

const isWordedSo = (one: RequestEvent, other: RequestEvent): boolean =>
  one.hsm === other.hsm &&
  one.entry === other.entry &&
  one.code === other.code &&
  one.door === other.door;

/** Of calls of an API. */
interface KnownCall {
  /** without what was asked and answered */
  readonly of: ApiCallEvent;
  readonly series: RequestSeries;
  readonly wording: CallWording;
}

/** What both kinds of requests are counted by. */
interface Measured {
  readonly latencyMs: number;
  readonly decideMs?: number | undefined;
  readonly hsmMs?: number | undefined;
}

function count(series: RequestSeries, { latencyMs, decideMs, hsmMs }: Measured): void {
  series.counter.value += 1;
  series.whole.observe(latencyMs);
  if (decideMs !== undefined) series.decide.observe(decideMs);
  if (hsmMs !== undefined) series.hsm.observe(hsmMs);
}

interface RequestSeries {
  readonly counter: Counter;
  readonly whole: Histogram;
  readonly decide: Histogram;
  readonly hsm: Histogram;
}

/**
 * What happens in the business, one function for each event: it writes the audit line and moves
 * the counter together, so that neither can be forgotten.
 */
export class Events {
  readonly #log: AuditLog;
  readonly #clock: Clock;
  readonly metrics = new Metrics();
  readonly #requests = new Map<string, RequestSeries>();
  /** the last few of each action and principal: an HSM user's work goes to all HSMs in turn */
  readonly #wordings = new Map<string, Map<string, Wording[]>>();
  readonly #calls = new Map<string, Map<string, KnownCall[]>>();
  readonly #records = new CallRecords();
  #timeMs = Number.NaN;
  #time = '';
  #second = Number.NaN;
  #secondTime = '';

  constructor(log: AuditLog, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
    this.metrics.watch(() => [
      { name: 'keyspan_audit_lines_dropped_total', value: log.droppedTotal },
    ]);
  }

  /** the newest seal that is in the audit file */
  get auditHead(): ChainHead {
    return this.#log.head;
  }

  /** Called for each call of AWS's APIs: cheap, and it neither blocks nor throws. */
  apiCallEvent(event: ApiCallEvent): void {
    const { series, wording } = this.#callLike(event);
    count(series, event);
    const time = this.#now();
    this.#log.writeLine(this.#records.record(event, wording, this.#nowToTheSecond()), time);
  }

  /** As `apiCallEvent`, for what HSM users and PKCS #11 applications ask. */
  requestEvent(event: RequestEvent): void {
    const wording = this.#wordingOf(event);
    count(wording.series, event);
    const time = this.#now();
    const line = requestLine(event, wording, time);
    if (fitsLine(line)) this.#log.writeLine(line, time);
    else this.#log.write({ event: 'request', ...event, time });
  }

  #callLike(event: ApiCallEvent): KnownCall {
    const { action, caller, door, code } = event;
    const { arn } = caller.principal;
    const ofAction = this.#calls.get(action) ?? new Map<string, KnownCall[]>();
    const calls = ofAction.get(arn) ?? [];
    for (const known of calls) if (isWordedAlike(known.of, event)) return known;
    // secrets are not kept with it
    const of = { ...event, params: undefined, answer: undefined, message: undefined };
    const series = this.#requestSeries(door, action, code ?? 'ok');
    const call: KnownCall = { of, series, wording: wordCalls(event) };
    if (calls.length >= LIMITS.audit_wordings_each_max) calls.length = 0;
    calls.push(call);
    if (ofAction.size >= LIMITS.audit_wordings_max) ofAction.clear();
    this.#calls.set(action, ofAction.set(arn, calls));
    return call;
  }

  /**
   * There are tens of thousands of requests a second, and most differ from another in their time,
   * id and latency alone: the rest is kept.
   */
  #wordingOf(event: RequestEvent): Wording {
    const { action, principal } = event;
    const ofAction = this.#wordings.get(action) ?? new Map<string, Wording[]>();
    const wordings = ofAction.get(principal) ?? [];
    for (const known of wordings) if (isWordedSo(known.of, event)) return known;
    const { door, code, hsm, entry } = event;
    const last = JSON.stringify({ code, hsm });
    const wording: Wording = {
      of: event,
      series: this.#requestSeries(door, action, code ?? 'ok'),
      subject: `",${JSON.stringify({ door, principal, action }).slice(1, -1)}`,
      outcome: `${last === '{}' ? '' : ','}${last.slice(1, -1)},"latencyMs":`,
      end: entry === undefined ? '' : `,"entry":${JSON.stringify(entry)}`,
    };
    if (wordings.length >= LIMITS.audit_wordings_each_max) wordings.length = 0;
    wordings.push(wording);
    if (ofAction.size >= LIMITS.audit_wordings_max) ofAction.clear();
    this.#wordings.set(action, ofAction.set(principal, wordings));
    return wording;
  }

  hsmStateEvent(event: HsmStateEvent): void {
    this.metrics.counter('keyspan_hsm_state_changes_total', { to: event.to }).value += 1;
    this.#write('hsm.state', event);
  }

  clusterStateEvent(event: ClusterStateEvent): void {
    this.metrics.counter('keyspan_cluster_state_changes_total', { to: event.to }).value += 1;
    this.#write('cluster.state', event);
  }

  loginEvent(event: LoginEvent): void {
    const result = event.code ?? 'ok';
    this.metrics.counter('keyspan_logins_total', { result }).value += 1;
    this.#write('user.login', event);
  }

  refusalEvent(event: RefusalEvent): void {
    const { door, peer, code, call } = event;
    this.metrics.counter('keyspan_refusals_total', { door, code }).value += 1;
    if (!call) return this.#write('client.refused', { door, peer, code });
    const time = this.#now();
    const record = refusalRecord({ ...call, door, peer, code }, this.#nowToTheSecond());
    this.#log.writeLine(record, time);
  }

  keyEvent(event: KeyEvent): void {
    this.metrics.counter('keyspan_key_steps_total', { step: event.step }).value += 1;
    this.#write('key.step', event);
  }

  repairEvent(event: RepairEvent): void {
    const { hsm } = event;
    for (const kind of ['copied', 'updated', 'discarded', 'unknown', 'conflicting'] as const) {
      this.metrics.counter('keyspan_repairs_total', { hsm, kind }).value += event[kind];
    }
    this.#write('hsm.repair', event);
  }

  certificateEvent(event: CertificateEvent): void {
    this.metrics.counter('keyspan_certificates_issued_total').value += 1;
    this.#write('certificate.issued', event);
  }

  operatorEvent(event: OperatorEvent): void {
    const { action, code } = event;
    const result = code ?? 'ok';
    this.metrics.counter('keyspan_operator_actions_total', { action, result }).value += 1;
    this.#write('operator.action', event);
  }

  daemonEvent(event: DaemonEvent): void {
    this.metrics.counter('keyspan_daemon_steps_total', { step: event.step }).value += 1;
    this.#write('daemon.step', event);
  }

  #write(name: string, members: object): void {
    const record: AuditRecord = { time: this.#now(), event: name, ...members };
    this.#log.write(record);
  }

  /** Writing a date costs more than the rest of an event: it is done once a millisecond. */
  #now(): string {
    const ms = Math.floor(this.#clock.civil());
    if (ms !== this.#timeMs) {
      this.#timeMs = ms;
      this.#time = new Date(ms).toISOString();
    }
    return this.#time;
  }

  #nowToTheSecond(): string {
    const second = Math.floor(this.#timeMs / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondTime = civilSecond(second * 1_000);
    }
    return this.#secondTime;
  }

  #requestSeries(door: string, action: string, code: string): RequestSeries {
    const id = `${door} ${action} ${code}`;
    const known = this.#requests.get(id);
    if (known) return known;
    const duration = (stage: string): Histogram =>
      this.metrics.histogram('keyspan_request_duration_seconds', { action, stage });
    const series = {
      counter: this.metrics.counter('keyspan_requests_total', { door, action, code }),
      whole: duration('whole'),
      decide: duration('decide'),
      hsm: duration('hsm'),
    };
    // beyond the bound of the registry the series are shared; then there is nothing to keep
    if (this.#requests.size < LIMITS.metrics_series_max) this.#requests.set(id, series);
    return series;
  }
}
