import { LIMITS } from '../core/limits.js';
import type { HsmState } from '../protocol/admin.js';

/**
 * The life of one HSM as the daemon sees it: a pure state machine. `step` takes what happened
 * and returns the new life with
 * the effects that the supervisor carries out, in their order.
 */
export interface Life {
  readonly phase: Phase;
  /** what the operator wants; it outlives the daemon */
  readonly intent: Intent;
  /** starts in a row that did not lead to service */
  readonly failures: number;
  /** whether the process that runs was in service */
  readonly served: boolean;
}

/**
 * `down`: no process. `starting`: a process that does not listen yet. `rising`: it listens, and
 * is joined or brought up to date.
 * `active`: it serves. `hung`: a process that gives no sign. `leaving`: told to end.
 */
export type Phase = 'down' | 'starting' | 'rising' | 'active' | 'hung' | 'leaving';
export type Intent = 'run' | 'stop' | 'kill' | 'pause';

export type LifeEvent =
  | { readonly type: 'wanted'; readonly intent: Intent }
  | { readonly type: 'crash-wanted' }
  | { readonly type: 'listening' }
  | { readonly type: 'risen' }
  | { readonly type: 'rise-failed' }
  | { readonly type: 'channel-lost' }
  | { readonly type: 'exited' }
  | { readonly type: 'silent' }
  | { readonly type: 'heard' }
  | { readonly type: 'timer' };

type Plain = 'spawn' | 'kill' | 'terminate' | 'sigstop' | 'sigcont' | 'isolate' | 'rise';

/** A timer belongs to the phase that set it: when the phase changes, it is cleared. */
export type Effect = { readonly do: Plain } | { readonly do: 'timer'; readonly ms: number };

type Step = readonly [Life, readonly Effect[]];

export const newLife = (intent: Intent): Life => ({
  phase: 'down',
  intent,
  failures: 0,
  served: false,
});

const effects = (...list: Plain[]): Effect[] => list.map((name) => ({ do: name }));

/** Doubles from the first to the longest pause between two starts. */
export function backoffMs(failures: number): number {
  const ms = LIMITS.restart_backoff_first_ms * 2 ** Math.min(failures, 16);
  return Math.min(ms, LIMITS.restart_backoff_max_ms);
}

export function step(life: Life, event: LifeEvent): Step {
  switch (event.type) {
    case 'wanted':
      return want(life, event.intent);
    case 'crash-wanted':
      return [life, life.phase === 'down' ? [] : effects('kill')];
    case 'listening':
      if (life.phase !== 'starting') return [life, []];
      return [{ ...life, phase: 'rising' }, effects('rise')];
    case 'risen':
      if (life.phase !== 'rising') return [life, []];
      return [{ ...life, phase: 'active', failures: 0, served: true }, []];
    case 'rise-failed':
      return riseFailed(life);
    case 'channel-lost':
      return channelLost(life);
    case 'exited':
      return exited(life);
    case 'silent':
      return silent(life);
    case 'heard':
      return heard(life);
    case 'timer':
      return timer(life);
  }
}

function want(life: Life, intent: Intent): Step {
  const next = { ...life, intent };
  if (intent === 'run') return wantRun(life);
  if (life.phase === 'down') return [next, []];
  if (intent === 'kill') return [next, effects('isolate', 'kill')];
  if (intent === 'pause') return [{ ...next, phase: 'hung' }, effects('isolate', 'sigstop')];
  // a process that does not listen cannot be asked
  const how = life.phase === 'hung' || life.intent === 'pause' ? 'kill' : 'terminate';
  return [{ ...next, phase: 'leaving' }, effects('isolate', how)];
}

function wantRun(life: Life): Step {
  const next: Life = { ...life, intent: 'run' };
  if (life.phase === 'down') return start({ ...next, failures: 0 });
  if (life.intent !== 'pause') return [next, []];
  return [{ ...next, phase: 'rising' }, effects('sigcont', 'rise')];
}

/** A start that takes too long is ended. One that fails at once sets a timer of its own, later. */
function start(life: Life): Step {
  const wait: Effect = { do: 'timer', ms: LIMITS.hsm_start_timeout_ms };
  return [{ ...life, phase: 'starting', served: false }, [wait, { do: 'spawn' }]];
}

function riseFailed(life: Life): Step {
  if (life.phase !== 'rising') return [life, []];
  // the process may be half a member: a new one reads the token afresh
  return [{ ...life, phase: 'leaving', served: false }, effects('isolate', 'kill')];
}

function channelLost(life: Life): Step {
  if (life.phase !== 'active' && life.phase !== 'rising') return [life, []];
  // most likely the process is gone and its exit comes next; if not, it is reached again
  return [{ ...life, phase: 'rising' }, [{ do: 'isolate' }, { do: 'timer', ms: 50 }]];
}

function exited(life: Life): Step {
  const next: Life = { ...life, phase: 'down', served: false };
  if (life.intent !== 'run') return [next, effects('isolate')];
  // one that served is started again without delay
  const failures = life.served ? 0 : life.failures + 1;
  const ms = backoffMs(failures);
  return [{ ...next, failures }, [{ do: 'isolate' }, { do: 'timer', ms }]];
}

function silent(life: Life): Step {
  if (life.phase !== 'active' && life.phase !== 'rising') return [life, []];
  const wait: Effect = { do: 'timer', ms: LIMITS.hung_restart_ms };
  return [{ ...life, phase: 'hung' }, [{ do: 'isolate' }, wait]];
}

function heard(life: Life): Step {
  if (life.phase !== 'hung' || life.intent !== 'run') return [life, []];
  return [{ ...life, phase: 'rising' }, effects('rise')];
}

function timer(life: Life): Step {
  // also one that was called off: it may be wanted again before it is gone
  if (life.phase === 'starting') return killAgain(life, LIMITS.hsm_start_timeout_ms);
  if (life.intent !== 'run') return [life, []];
  if (life.phase === 'down') return start(life);
  if (life.phase === 'rising') return [life, effects('rise')];
  if (life.phase === 'hung') return killAgain(life, LIMITS.hung_restart_ms);
  return [life, []];
}

/** Its end is an event of its own; until then it is tried again. */
const killAgain = (life: Life, ms: number): Step => [life, [{ do: 'kill' }, { do: 'timer', ms }]];

/** The state that users see. */
export function stateOf(life: Life, joined: boolean): HsmState {
  if (life.intent === 'kill') return 'KILLED';
  if (life.phase === 'active') return 'ACTIVE';
  if (life.intent === 'pause') return life.phase === 'hung' ? 'PAUSED' : 'STOPPED';
  if (life.intent === 'stop') return 'STOPPED';
  if (life.phase === 'hung') return 'HUNG';
  if (life.phase === 'rising') return joined ? 'CATCHING_UP' : 'JOINING';
  return life.failures > 0 ? 'FAILED' : 'STARTING';
}
