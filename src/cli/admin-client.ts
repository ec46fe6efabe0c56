import { request, type IncomingMessage } from 'node:http';
import { readServiceError } from '../client/service-error.js';
import { pause } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { Home } from '../core/home.js';
import { LIMITS } from '../core/limits.js';
import type { AdminAction, AdminResults } from '../protocol/admin.js';

/** What the system says where no daemon listens. */
const NOBODY = new Set(['ENOENT', 'ECONNREFUSED', 'ENOTSOCK']);

/**
 * Asks the daemon of a home over its unix socket.
 * @throws ServiceError when it refuses, KeyspanError (KeyspanNotRunning, KeyspanConnection,
 * KeyspanDeadlineExceeded) when it does not answer
 */
export async function callAdmin<A extends AdminAction>(
  home: Home,
  action: A,
  params: object = {},
  timeoutMs: number = LIMITS.admin_timeout_ms,
): Promise<AdminResults[A]> {
  const signal = AbortSignal.timeout(timeoutMs);
  try {
    const message = { method: 'POST', body: JSON.stringify(params), signal };
    const { status, body } = await exchange(home.adminSocket, `/v1/${action}`, message);
    const answer = JSON.parse(body) as { error?: unknown };
    if (status !== 200) throw readServiceError(answer.error);
    return answer as AdminResults[A];
  } catch (error) {
    throw explain(error, { home, action, late: signal.aborted });
  }
}

/**
 * As `callAdmin`, for what takes as long as there are keys: it waits while the daemon tells its
 * status meanwhile.
 */
export async function callPatiently<A extends AdminAction>(
  home: Home,
  action: A,
  params: object,
  probeMs: number = LIMITS.admin_timeout_ms,
): Promise<AdminResults[A]> {
  const ended = new AbortController();
  const work = callAdmin(home, action, params, LIMITS.admin_patience_max_ms);
  try {
    return await Promise.race([work, unanswered(home, probeMs, ended.signal)]);
  } finally {
    ended.abort();
    // where the daemon went away nobody asks any more how it ended
    work.catch(() => undefined);
  }
}

/** Rejects once the daemon does not answer any more; it is not kept waiting for. */
async function unanswered(home: Home, probeMs: number, ended: AbortSignal): Promise<never> {
  for (;;) {
    await pause(probeMs, ended);
    // nobody looks at this end: what was waited for is there
    if (ended.aborted) throw new KeyspanError('KeyspanConnection');
    await callAdmin(home, 'Status');
  }
}

/** The daemon's status, or undefined when none runs. */
export async function findStatus(home: Home): Promise<AdminResults['Status'] | undefined> {
  try {
    return await callAdmin(home, 'Status');
  } catch (error) {
    if (error instanceof KeyspanError && error.code === 'KeyspanNotRunning') return undefined;
    throw error;
  }
}

/** The daemon's metrics in Prometheus's text format. @throws as `callAdmin` */
export async function fetchMetrics(home: Home): Promise<string> {
  const signal = AbortSignal.timeout(LIMITS.admin_timeout_ms);
  try {
    const message = { method: 'GET', body: '', signal };
    const { status, body } = await exchange(home.adminSocket, '/metrics', message);
    if (status === 200) return body;
  } catch (error) {
    throw explain(error, { home, action: 'metrics', late: signal.aborted });
  }
  throw new KeyspanError('KeyspanConnection', 'the daemon could not read its metrics');
}

async function exchange(
  socketPath: string,
  path: string,
  message: { method: string; body: string; signal: AbortSignal },
): Promise<{ status: number; body: string }> {
  const { method, body: sent, signal } = message;
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(sent),
    };
    const options = { socketPath, path, method, headers, agent: false as const };
    request({ ...options, signal }, resolve)
      .once('error', reject)
      .end(sent);
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return { status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') };
}

function explain(
  cause: unknown,
  context: { home: Home; action: AdminAction | 'metrics'; late: boolean },
): unknown {
  const { home, action, late } = context;
  if (late) {
    const message = `the daemon did not answer ${action} in time`;
    return new KeyspanError('KeyspanDeadlineExceeded', message, { cause });
  }
  const code = (cause as { code?: unknown }).code;
  // a daemon that dies before it answered: Node's client says this without a system call
  const isCut = code === 'ECONNRESET';
  if (typeof code !== 'string' || !(isCut || 'syscall' in (cause as object))) {
    if (!(cause instanceof SyntaxError)) return cause;
    return new KeyspanError('KeyspanConnection', 'the daemon answered no JSON', { cause });
  }
  if (NOBODY.has(code)) {
    const message = `no daemon runs on ${home.root}; start one with: keyspan up --detach`;
    return new KeyspanError('KeyspanNotRunning', message, { cause });
  }
  return new KeyspanError('KeyspanConnection', `the daemon's socket: ${code}`, { cause });
}
