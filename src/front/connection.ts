import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import type { Events } from '../audit/events.js';
import { wipe } from '../core/bytes.js';
import type { Call } from '../core/call.js';
import { deadlineIn, pause } from '../core/deadline.js';
import { KeyspanError, type ErrorCode } from '../core/errors.js';
import { newRequestId, type ClusterId, type HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { Principal } from '../iam/principal.js';
import type { Kms, KmsCaller } from '../kms/kms.js';
import {
  clientRequest,
  decodeMessage,
  encodeForFrame,
  type ClientRequest,
  type ServerMessage,
  type Subprotocol,
} from '../protocol/client-frames.js';
import { accept, list, object, oneOf } from '../protocol/form.js';
import {
  isApproved,
  isChange,
  isHsmSessionAction,
  type HsmSessionAction,
} from '../protocol/hsm-session.js';
import { isKmsAction, isMutating } from '../protocol/kms.js';
import { MessageWriter } from '../protocol/message-writer.js';
import { TOPICS, type Broadcast, type Listener } from './broadcast.js';
import { isFaultAction, performFault, type FaultControl } from './fault-actions.js';
import { isDataPlaneCode, type DataPlane } from './hsm-session.js';
import type { Idempotency } from './idempotency.js';
import type { Callers } from './signed-upgrade.js';

export interface WebSocketDoorOptions {
  readonly kms: Kms;
  /** who may sign an upgrade in place of showing a certificate; absent: nobody */
  readonly callers?: Callers | undefined;
  readonly dataPlane: Pick<DataPlane, 'perform'>;
  /** whose ENIs these are */
  readonly cluster: ClusterId;
  readonly events: Events;
  readonly broadcast: Broadcast;
  readonly idempotency: Idempotency;
  /** only in a daemon that was started with faults */
  readonly faults: FaultControl | undefined;
  readonly log: Logger;
  /** of the path `/` */
  readonly region: string;
  /** takes the streams of PKCS #11 applications on other machines */
  readonly pkcs11?: ((stream: Duplex) => void) | undefined;
}

/** Requests in flight over all connections of the daemon. */
export interface Load {
  inflight: number;
}

export interface ConnectionOptions extends WebSocketDoorOptions {
  readonly webSocket: WebSocket;
  readonly socket: Socket;
  readonly principal: Principal;
  /**
   * Whether the credentials that signed the upgrade are still good. Absent: there is a certificate.
   * @throws KeyspanError
   */
  readonly check?: (() => void) | undefined;
  readonly region: string;
  /** the HSM whose ENI this is */
  readonly hsm: HsmId;
  readonly load: Load;
  readonly subprotocol: Subprotocol;
}

type Answer = Readonly<Record<string, unknown>>;

const subscribe = object({ Events: list(oneOf(...TOPICS), { min: 1, max: 8 }) });
const THROTTLED =
  'You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.';
/** a WebSocket close code of the IANA registry */
const SERVICE_RESTART = 1012;

/** One WebSocket of one principal: many requests in flight, answers in any order. */
export class Connection {
  readonly hsm: HsmId;
  readonly #options: ConnectionOptions;
  readonly #listener: Listener;
  readonly #writer: MessageWriter;
  readonly #caller: KmsCaller;
  #inflight = 0;
  #alive = true;
  #leaving = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.hsm = options.hsm;
    const { webSocket, socket, principal, region } = options;
    const origin = { sourceIp: socket.remoteAddress, isSecure: true };
    this.#caller = { principal, region, origin };
    this.#writer = new MessageWriter('server', (bytes) => {
      // after a close frame nothing may follow
      if (webSocket.readyState === webSocket.OPEN) socket.write(bytes);
    });
    this.#listener = (event) => this.#send(event);
    webSocket.on('message', (data) => this.#receive(data));
    webSocket.on('pong', () => {
      this.#alive = true;
    });
    // ws answers an oversized or broken frame with its close code by itself
    webSocket.on('error', () => undefined);
    webSocket.once('close', () => options.broadcast.unsubscribe(this.#listener));
  }

  /** A peer that did not answer the ping before is gone. */
  ping(): void {
    const { webSocket } = this.#options;
    if (!this.#alive || !this.#isAdmitted()) return webSocket.terminate();
    this.#alive = false;
    webSocket.ping();
  }

  /** Who only listens is to hear nothing more, either, once the credentials are over. */
  #isAdmitted(): boolean {
    try {
      this.#options.check?.();
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Takes no more requests, answers those in flight, and says goodbye: the client goes to
   * another ENI.
   */
  async leave(): Promise<void> {
    this.#leaving = true;
    const { webSocket } = this.#options;
    const until = deadlineIn(LIMITS.close_grace_ms);
    while (this.#inflight > 0 && until > deadlineIn(0)) await pause(5);
    this.#writer.flush();
    webSocket.close(SERVICE_RESTART, 'this HSM leaves');
    await pause(50);
    if (webSocket.readyState !== webSocket.CLOSED) webSocket.terminate();
  }

  #receive(data: RawData): void {
    if (this.#leaving) return;
    const bytes = Buffer.isBuffer(data) ? data : Buffer.concat(data as Buffer[]);
    let message: unknown;
    try {
      message = decodeMessage(this.#options.subprotocol, bytes);
    } catch {
      return this.#fail(null, new KeyspanError('SerializationException'));
    }
    const request = accept(clientRequest, message);
    if (!request) {
      const sentence = 'A request is {"id", "action", "params", "token"?}.';
      return this.#fail(idOf(message), new KeyspanError('SerializationException', sentence));
    }
    this.#admit(request);
  }

  #admit(request: ClientRequest): void {
    const { load } = this.#options;
    const full =
      this.#inflight >= LIMITS.connection_inflight_max ||
      load.inflight >= LIMITS.daemon_inflight_max;
    if (full) return this.#fail(request.id, new KeyspanError('ThrottlingException', THROTTLED));
    this.#inflight += 1;
    load.inflight += 1;
    void this.#answer(request);
  }

  async #answer(request: ClientRequest): Promise<void> {
    const call: Call = {
      requestId: newRequestId(),
      deadline: deadlineIn(LIMITS.request_timeout_ms),
      entry: this.hsm,
    };
    try {
      const result = await this.#perform(request, call);
      const { servedBy } = call;
      const { id } = request;
      this.#send(servedBy === undefined ? { id, result } : { id, result, hsm: servedBy });
      const { Plaintext } = result;
      if (Plaintext instanceof Uint8Array) wipe(Plaintext);
    } catch (error) {
      this.#fail(request.id, error, { requestId: call.requestId, action: request.action });
    } finally {
      this.#inflight -= 1;
      this.#options.load.inflight -= 1;
    }
  }

  /** Not async, because each promise on the way of a request is paid 30,000 times a second. */
  #perform(request: ClientRequest, call: Call): Answer | Promise<Answer> {
    const { action, params } = request;
    this.#options.check?.();
    if (!isKmsAction(action)) {
      if (action === 'Subscribe') return this.#subscribe(params);
      if (isHsmSessionAction(action)) return this.#performForUser(action, request, call);
      if (isFaultAction(action)) {
        const { faults, principal } = this.#options;
        return performFault(faults, principal, { action, params });
      }
    }
    const { kms, subprotocol } = this.#options;
    const encoding = subprotocol === 'keyspan.v1.cbor' ? 'cbor' : 'json';
    const work = (): Promise<Record<string, unknown>> =>
      kms.perform(action, params, encoding, this.#caller, call, 'websocket');
    return isMutating(action) ? this.#once(request, work) : work();
  }

  /** What an HSM user does with a cluster. Not async, as above. */
  #performForUser(action: HsmSessionAction, request: ClientRequest, call: Call): Promise<Answer> {
    const { dataPlane, principal, cluster } = this.#options;
    const { params } = request;
    const { requestId, deadline } = call;
    const own: Call = { requestId, deadline };
    const caller = { principal, cluster, entry: this.hsm, call: own };
    const work = (): Promise<Answer> =>
      dataPlane.perform(action, params, caller) as unknown as Promise<Answer>;
    const isOnce = isChange(action) || isApproved(params);
    const answer = isOnce ? this.#once(request, work) : work();
    return answer.then((result) => {
      if (own.servedBy !== undefined) call.servedBy = own.servedBy;
      return result;
    });
  }

  /** Runs what changes something once for each token. */
  #once(request: ClientRequest, work: () => Promise<Answer>): Promise<Answer> {
    const { action, params, token } = request;
    if (token === undefined) return work();
    const { idempotency, principal, region } = this.#options;
    // all that makes two requests the same: not the id, which a client may choose anew
    const content = canonical([region, action, params]);
    return idempotency.run({ principal: principal.arn, token, request: content }, work);
  }

  #subscribe(params: unknown): Record<string, unknown> {
    const wanted = accept(subscribe, params);
    if (!wanted) {
      throw new KeyspanError('ValidationException', `Events is a list of ${TOPICS.join(', ')}.`);
    }
    const { broadcast } = this.#options;
    for (const topic of wanted.Events) broadcast.subscribe(topic, this.#listener);
    return { Events: wanted.Events };
  }

  #fail(
    id: number | string | null,
    error: unknown,
    { requestId, action = '' }: { requestId?: string; action?: string } = {},
  ): void {
    const known = error instanceof KeyspanError && isPublic(error.code, action);
    if (!known) this.#options.log.error({ err: error, requestId }, 'a request failed');
    const code = known ? error.code : 'InternalFailure';
    const message = known ? error.message : 'The request could not be processed.';
    this.#send({ id, error: { code, message } });
  }

  #send(message: ServerMessage): void {
    const { webSocket, subprotocol } = this.#options;
    if (webSocket.readyState !== webSocket.OPEN) return;
    if (webSocket.bufferedAmount > LIMITS.send_buffer_max_bytes) return webSocket.terminate();
    this.#writer.push(encodeForFrame(subprotocol, message));
  }
}

/** @throws SerializationException for what CBOR can say and JSON cannot: cycles, huge integers */
function canonical(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw new KeyspanError('SerializationException', undefined, { cause });
  }
}

const isPublic = (code: ErrorCode, action: string): boolean =>
  !/^(Hsm|Vault|Store|Keyspan)/.test(code) || (isHsmSessionAction(action) && isDataPlaneCode(code));

function idOf(message: unknown): number | string | null {
  if (typeof message !== 'object' || message === null) return null;
  const { id } = message as { id?: unknown };
  if (typeof id === 'number' && Number.isInteger(id) && id >= 0) return id;
  return typeof id === 'string' && id.length <= 64 ? id : null;
}
