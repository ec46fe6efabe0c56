import type { Duplex } from 'node:stream';
import { P11_CALLS, type P11CallName, type P11Values } from '../../protocol/p11-calls.js';
import { readRequest, writeError, writeReply, type P11Request } from '../../protocol/p11-codec.js';
import { P11FrameReader, type P11Frame } from '../../protocol/p11-frames.js';
import { P11WireError, type P11Version } from '../../protocol/p11-wire.js';
import { monotonic } from '../../core/clock.js';
import { newRequestId } from '../../core/ids.js';
import { CKR, ckrName } from '../../core/pkcs11.js';
import { LIMITS } from '../../core/limits.js';
import { Application, type P11Options } from './application.js';
import { CRYPT_CALLS } from './crypt-calls.js';
import { P11Failure, fail, returnValue } from './failure.js';
import { GENERAL_CALLS } from './general-calls.js';
import type { Handlers } from './handlers.js';
import { KEY_CALLS } from './key-calls.js';
import { CALLS_NOT_IN_CLOUDHSM } from './mechanism-table.js';
import { OBJECT_CALLS } from './object-calls.js';
import { SESSION_CALLS } from './session-calls.js';
import type { P11Session } from './session.js';

const VERSION_MAX = 2;

type AnyHandler = (application: Application, args: readonly unknown[]) => unknown;

const HANDLERS = {
  ...GENERAL_CALLS,
  ...SESSION_CALLS,
  ...OBJECT_CALLS,
  ...KEY_CALLS,
  ...CRYPT_CALLS,
} as Handlers as Readonly<Record<string, AnyHandler | undefined>>;

/** Calls whose first argument is no session: they do not wait for one. */
const UNORDERED: ReadonlySet<P11CallName> = new Set([
  'C_Initialize',
  'C_Finalize',
  'C_GetInfo',
  'C_GetSlotList',
  'C_GetSlotInfo',
  'C_GetTokenInfo',
  'C_GetMechanismList',
  'C_GetMechanismInfo',
  'C_InitToken',
  'C_InitToken2',
  'C_OpenSession',
  'C_CloseAllSessions',
  'C_WaitForSlotEvent',
]);

/** Calls that an auditor wants to know of; work with keys leaves none, as in an HSM. */
const MANAGEMENT: ReadonlySet<P11CallName> = new Set([
  'C_SetPIN',
  'C_CreateObject',
  'C_CopyObject',
  'C_DestroyObject',
  'C_SetAttributeValue',
  'C_GenerateKey',
  'C_GenerateKeyPair',
  'C_WrapKey',
  'C_UnwrapKey',
  'C_DeriveKey',
  'C_DeriveKey2',
]);

/**
 * One connection of p11-kit's protocol, which is one PKCS #11 application. Calls of different
 * sessions run at the same time and are answered as they come to their ends; those of one session
 * run one after the other.
 */
export class P11Connection {
  readonly #stream: Duplex;
  readonly #options: P11Options;
  readonly #reader = new P11FrameReader();
  #application: Application | undefined;
  #inflight = 0;
  #out: Buffer[] = [];
  #isReceiving = false;
  #isEnded = false;
  /** the client does not read its answers: it is not read from either */
  #isBlocked = false;

  constructor(stream: Duplex, options: P11Options) {
    this.#stream = stream;
    this.#options = options;
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', () => this.end());
    stream.on('drain', () => this.#unblock());
    stream.once('end', () => this.end());
    stream.once('close', () => this.end());
  }

  /** Everything of the application ends. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#application?.end();
    this.#stream.destroy();
  }

  #receive(chunk: Buffer): void {
    this.#isReceiving = true;
    try {
      const rest = this.#application ? chunk : this.#greet(chunk);
      for (const frame of this.#reader.push(rest)) this.#take(frame);
    } catch (error) {
      if (!(error instanceof P11WireError)) {
        this.#options.log.error({ err: error }, 'a PKCS #11 connection failed');
      }
      this.end();
    } finally {
      this.#isReceiving = false;
      this.#flush();
    }
  }

  /** The byte of the version, which is answered with the lesser of both. */
  #greet(chunk: Buffer): Buffer {
    const version = Math.min(chunk[0] ?? 0, VERSION_MAX) as P11Version;
    this.#application = new Application(this.#options, version);
    this.#stream.write(Buffer.of(version));
    return chunk.subarray(1);
  }

  #take({ code, body }: P11Frame): void {
    if (this.#isEnded) return;
    const application = this.#application as Application;
    const request = readRequest(body, application.version);
    const session = this.#sessionOf(request);
    if (session?.tail) {
      // what comes meanwhile shares the memory of its frame
      this.#queue(session, () => this.#run(code, request));
      return;
    }
    const running = this.#run(code, request);
    if (running && session) this.#hold(session, running);
  }

  #sessionOf({ call, args }: P11Request): P11Session | undefined {
    if (call === undefined || UNORDERED.has(call)) return undefined;
    const [handle] = args;
    return typeof handle === 'number' ? this.#application?.sessions.get(handle) : undefined;
  }

  /** Later calls of this session wait. */
  #hold(session: P11Session, running: Promise<void>): void {
    const tail = running.then(() => {
      if (session.tail === tail) session.tail = undefined;
    });
    session.tail = tail;
  }

  #queue(session: P11Session, work: () => Promise<void> | undefined): void {
    this.#inflight += 1;
    this.#pace();
    const tail: Promise<void> = (session.tail ?? Promise.resolve())
      .then(() => {
        this.#inflight -= 1;
        return work();
      })
      .then(() => {
        if (session.tail === tail) session.tail = undefined;
      });
    session.tail = tail;
  }

  /** @returns undefined where it was answered at once */
  #run(code: number, request: P11Request): Promise<void> | undefined {
    const { call } = request;
    if (this.#isEnded) return undefined;
    try {
      const values = this.#perform(request);
      if (!(values instanceof Promise)) {
        this.#answer(code, call as P11CallName, values);
        return undefined;
      }
      this.#inflight += 1;
      this.#pace();
      if (MANAGEMENT.has(call as P11CallName)) this.#audit(request, values);
      return values
        .then((all: unknown) => this.#answer(code, call as P11CallName, all))
        .catch((error: unknown) => this.#refuse(code, call, error))
        .finally(() => {
          this.#inflight -= 1;
          this.#pace();
        });
    } catch (error) {
      this.#refuse(code, call, error);
      return undefined;
    }
  }

  /** Management of keys leaves a line in the audit log, whether it is allowed or not. */
  #audit(request: P11Request, values: Promise<unknown>): void {
    const begin = monotonic();
    const view = this.#sessionOf(request)?.view;
    const principal = view?.user === undefined ? 'nobody' : view.session.username;
    const tell = (code?: string): void =>
      this.#options.events.requestEvent({
        requestId: newRequestId(),
        door: 'pkcs11',
        principal,
        action: request.call ?? 'Unknown',
        resource: view?.cluster.id,
        code,
        latencyMs: monotonic() - begin,
      });
    values.then(
      () => tell(),
      (error: unknown) => tell(ckrName(returnValue(error) ?? CKR.GENERAL_ERROR)),
    );
  }

  #perform({ call, args, refusal }: P11Request): unknown {
    const application = this.#application as Application;
    if (!application.isInitialized && call !== 'C_Initialize') {
      throw fail('CRYPTOKI_NOT_INITIALIZED');
    }
    const isOld = call === undefined || P11_CALLS[call].since > application.version;
    const { profile } = this.#options;
    const isNarrowed = profile === 'cloudhsm' && CALLS_NOT_IN_CLOUDHSM.has(call ?? '');
    const handler = isOld || isNarrowed ? undefined : HANDLERS[call];
    if (!handler) throw fail('FUNCTION_NOT_SUPPORTED');
    if (refusal !== undefined) throw new P11Failure(refusal);
    return handler(application, args);
  }

  #answer(code: number, call: P11CallName, values: unknown): void {
    this.#send(writeReply(code, call, values as P11Values<P11CallName>));
  }

  #refuse(code: number, call: P11CallName | undefined, error: unknown): void {
    const rv = returnValue(error);
    if (rv === undefined) {
      // no arguments: they may hold a PIN or a key
      this.#options.log.error({ err: error, call }, 'a PKCS #11 call failed');
    }
    this.#send(writeError(code, rv ?? CKR.GENERAL_ERROR));
  }

  #send(frame: Buffer): void {
    if (this.#isEnded) return;
    this.#out.push(frame);
    if (this.#out.length === 1 && !this.#isReceiving) setImmediate(() => this.#flush());
  }

  /** What was answered in one turn leaves in one write. */
  #flush(): void {
    const frames = this.#out;
    if (frames.length === 0 || this.#isEnded) return;
    this.#out = [];
    const bytes = frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
    if (this.#stream.write(bytes)) return;
    this.#isBlocked = true;
    this.#pace();
  }

  #unblock(): void {
    this.#isBlocked = false;
    this.#pace();
  }

  /** A client that asks faster than it is answered, or does not read, is read from later. */
  #pace(): void {
    const isFull = this.#isBlocked || this.#inflight >= LIMITS.p11_inflight_max;
    if (isFull && !this.#stream.isPaused()) this.#stream.pause();
    else if (!isFull && this.#stream.isPaused()) this.#stream.resume();
  }
}
