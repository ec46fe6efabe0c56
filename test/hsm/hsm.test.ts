import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import {
  backoffMs,
  newLife,
  stateOf,
  step,
  type Effect,
  type Intent,
  type Life,
  type LifeEvent,
} from '../../src/hsm/hsm.js';

/** A life after these events, and the effects of the last one. */
function after(...events: (LifeEvent | LifeEvent['type'] | Intent)[]): [Life, readonly Effect[]] {
  let life = newLife('stop');
  let effects: readonly Effect[] = [];
  for (const event of events) [life, effects] = step(life, asEvent(event));
  return [life, effects];
}

function asEvent(event: LifeEvent | LifeEvent['type'] | Intent): LifeEvent {
  if (typeof event !== 'string') return event;
  if (event === 'run' || event === 'stop' || event === 'kill' || event === 'pause') {
    return { type: 'wanted', intent: event };
  }
  return { type: event } as LifeEvent;
}

const names = (effects: readonly Effect[]): string[] => effects.map((effect) => effect.do);
const UP = ['run', 'listening', 'risen'] as const;

describe('the life of an HSM', () => {
  test('goes up step by step', () => {
    expect(names(after('run')[1])).toEqual(['timer', 'spawn']);
    expect(after('run', 'listening')).toMatchObject([{ phase: 'rising' }, [{ do: 'rise' }]]);
    expect(after(...UP)[0]).toMatchObject({ phase: 'active', failures: 0, served: true });
  });

  test('starts again at once after a crash in service, however the loss was noticed', () => {
    for (const loss of [['exited'], ['channel-lost', 'exited'], ['silent', 'exited']] as const) {
      const [life, effects] = after(...UP, ...loss);
      expect(life).toMatchObject({ phase: 'down', failures: 0 });
      expect(effects.at(-1)).toEqual({ do: 'timer', ms: LIMITS.restart_backoff_first_ms });
      expect(stateOf(life, true)).toBe('STARTING');
      expect(names(step(life, { type: 'timer' })[1])).toEqual(['timer', 'spawn']);
    }
  });

  test('counts each start that did not lead to service once', () => {
    const [life] = after('run', 'listening', 'rise-failed', 'exited');
    expect(life.failures).toBe(1);
    expect(stateOf(life, true)).toBe('FAILED');
    expect(after('run', 'exited', 'timer', 'exited', 'timer', 'exited')[0].failures).toBe(3);
    expect(after('run', 'exited', 'run', 'listening', 'risen')[0].failures).toBe(0);
  });

  test('ends a start that takes too long', () => {
    expect(after('run')[1][0]).toEqual({ do: 'timer', ms: LIMITS.hsm_start_timeout_ms });
    expect(names(after('run', 'timer')[1])).toEqual(['kill', 'timer']);
    // called off before there was a process to kill, and wanted again
    expect(names(after('run', 'kill', 'timer')[1])).toEqual(['kill', 'timer']);
  });

  test('isolates a hung HSM at once, restarts it after the bound, takes it back before', () => {
    const [hung, effects] = after(...UP, 'silent');
    expect(effects).toEqual([{ do: 'isolate' }, { do: 'timer', ms: LIMITS.hung_restart_ms }]);
    expect(stateOf(hung, true)).toBe('HUNG');
    expect(names(step(hung, { type: 'heard' })[1])).toEqual(['rise']);
    expect(names(step(hung, { type: 'timer' })[1])).toEqual(['kill', 'timer']);
  });

  test('reaches an HSM again whose process is there though its channel was lost', () => {
    const [lost, effects] = after(...UP, 'channel-lost');
    expect(names(effects)).toEqual(['isolate', 'timer']);
    expect(stateOf(lost, true)).toBe('CATCHING_UP');
    expect(names(step(lost, { type: 'timer' })[1])).toEqual(['rise']);
  });

  test('leaves what the operator killed, stopped or paused as it is', () => {
    for (const intent of ['kill', 'stop', 'pause'] as const) {
      const [wanted] = after(...UP, intent);
      const [life] = step(wanted, { type: 'exited' });
      expect(life).toMatchObject({ phase: 'down', intent });
      for (const type of ['timer', 'heard', 'silent', 'risen', 'listening'] as const) {
        const [same, effects] = step(life, { type });
        expect(same).toEqual(life);
        expect(effects).toEqual([]);
      }
      expect(names(step(life, asEvent('run'))[1])).toContain('spawn');
    }
  });

  test('a paused HSM is stopped and continued, and a crash is repaired', () => {
    expect(names(after(...UP, 'pause')[1])).toEqual(['isolate', 'sigstop']);
    expect(names(after(...UP, 'pause', 'heard')[1])).toEqual([]);
    expect(names(after(...UP, 'pause', 'run')[1])).toEqual(['sigcont', 'rise']);
    expect(names(after(...UP, 'pause', 'stop')[1])).toEqual(['isolate', 'kill']);
    expect(names(after(...UP, 'crash-wanted')[1])).toEqual(['kill']);
    expect(names(after('crash-wanted')[1])).toEqual([]);
  });

  test('is shown in words', () => {
    const shown = (joined: boolean, ...events: (LifeEvent['type'] | Intent)[]): string =>
      stateOf(after(...events)[0], joined);
    expect(shown(false, 'run')).toBe('STARTING');
    expect(shown(false, 'run', 'listening')).toBe('JOINING');
    expect(shown(true, 'run', 'listening')).toBe('CATCHING_UP');
    expect(shown(true, ...UP)).toBe('ACTIVE');
    expect(shown(true, ...UP, 'pause')).toBe('PAUSED');
    expect(shown(true, ...UP, 'kill', 'exited')).toBe('KILLED');
    expect(shown(true, ...UP, 'stop', 'exited')).toBe('STOPPED');
  });

  test('waits longer after each failure, within its bounds', () => {
    const waits = Array.from({ length: 40 }, (_, failures) => backoffMs(failures));
    expect(waits[0]).toBe(LIMITS.restart_backoff_first_ms);
    expect(waits.at(-1)).toBe(LIMITS.restart_backoff_max_ms);
    expect([...waits].sort((a, b) => a - b)).toEqual(waits);
  });
});

/** The world that a life acts on: what the supervisor and the operating system do. */
class World {
  life: Life = newLife('stop');
  timer = false;
  /** a start that the supervisor prepares */
  spawning = false;
  alive = false;
  dying = false;
  stopped = false;
  listens = false;
  rising = false;

  happen(event: LifeEvent): void {
    const before = this.life;
    const [life, effects] = step(before, event);
    if (life.phase !== before.phase) this.timer = false;
    this.life = life;
    for (const effect of effects) this.#carryOut(effect);
    this.#check();
  }

  #carryOut(effect: Effect): void {
    switch (effect.do) {
      case 'spawn':
        expect(this.alive || this.spawning, 'two processes on one token').toBe(false);
        this.spawning = true;
        break;
      case 'timer':
        this.timer = true;
        break;
      case 'kill':
      case 'terminate':
        this.dying ||= this.alive;
        break;
      case 'sigstop':
        this.stopped ||= this.alive;
        break;
      case 'sigcont':
        this.stopped = false;
        break;
      case 'isolate':
        this.rising = false;
        break;
      case 'rise':
        this.rising = true;
    }
  }

  #check(): void {
    const { phase, intent } = this.life;
    const busy = this.timer || this.spawning || this.dying;
    if (intent === 'run' && phase === 'down') expect(this.timer).toBe(true);
    if (intent === 'run' && phase === 'hung') expect(busy).toBe(true);
    if (intent === 'run' && phase === 'starting') expect(busy).toBe(true);
    if (intent === 'run' && phase === 'leaving') expect(this.spawning || this.dying).toBe(true);
    if (intent === 'run' && phase === 'rising')
      expect(busy || this.rising || this.alive).toBe(true);
    if (phase === 'active') expect(this.alive).toBe(true);
    if (phase === 'down') expect(this.alive).toBe(false);
  }

  /** What may happen next, each as the supervisor or the system would do it. */
  readonly moves: Record<string, () => void> = {
    run: () => this.happen(asEvent('run')),
    stop: () => this.happen(asEvent('stop')),
    kill: () => this.happen(asEvent('kill')),
    pause: () => this.happen(asEvent('pause')),
    crash: () => this.happen({ type: 'crash-wanted' }),
    prepared: () => {
      if (!this.spawning) return;
      this.spawning = false;
      const { phase, intent } = this.life;
      if (phase !== 'starting' || intent !== 'run') return this.happen({ type: 'exited' });
      this.alive = true;
    },
    unprepared: () => {
      if (!this.spawning) return;
      this.spawning = false;
      this.happen({ type: 'exited' });
    },
    listens: () => {
      if (!this.alive || this.listens || this.stopped || this.dying) return;
      this.listens = true;
      this.happen({ type: 'listening' });
    },
    dies: () => {
      if (!this.alive) return;
      this.alive = this.dying = this.stopped = this.listens = false;
      this.happen({ type: 'exited' });
    },
    loses: () =>
      this.life.phase !== 'starting' && this.alive && this.happen({ type: 'channel-lost' }),
    quiet: () => this.listens && this.happen({ type: 'silent' }),
    heard: () => this.listens && !this.stopped && this.happen({ type: 'heard' }),
    rings: () => {
      if (!this.timer) return;
      this.timer = false;
      this.happen({ type: 'timer' });
    },
    rises: () => {
      if (!this.rising) return;
      this.rising = false;
      const well = this.alive && this.listens && !this.stopped && !this.dying;
      this.happen({ type: well ? 'risen' : 'rise-failed' });
    },
    fails: () => {
      if (!this.rising) return;
      this.rising = false;
      this.happen({ type: 'rise-failed' });
    },
  };

  /** From now on nothing goes wrong. */
  settle(): void {
    const { moves } = this;
    for (let turn = 0; turn < 50; turn += 1) {
      if (this.dying) moves['dies']?.();
      moves['prepared']?.();
      moves['listens']?.();
      moves['rises']?.();
      if (this.life.phase !== 'active') moves['rings']?.();
    }
  }
}

/** From nothing, or from service: random moves alone seldom get there. */
const BEGINNINGS = [[], ['run', 'prepared', 'listens'], ['run', 'prepared', 'listens', 'rises']];
const someMoves = fc.array(fc.constantFrom(...Object.keys(new World().moves)), { maxLength: 20 });
const anyMoves = fc
  .tuple(fc.constantFrom(...BEGINNINGS), someMoves)
  .map(([beginning, moves]) => [...beginning, ...moves]);
const played = (moves: readonly string[]): World => {
  const world = new World();
  for (const move of moves) world.moves[move]?.();
  return world;
};

describe('whatever happens', () => {
  test('an HSM that is to run comes to serve, and one token has one process', () => {
    fc.assert(
      fc.property(anyMoves, (moves) => {
        const world = played([...moves, 'run']);
        world.settle();
        expect(world.life).toMatchObject({ phase: 'active', intent: 'run', failures: 0 });
      }),
      { numRuns: 2_000 },
    );
  });

  test.each(['stop', 'kill'] as const)('an HSM after %s has no process and stays so', (intent) => {
    fc.assert(
      fc.property(anyMoves, (moves) => {
        const world = played([...moves, intent]);
        world.settle();
        expect(world).toMatchObject({ alive: false, spawning: false });
        expect(world.life).toMatchObject({ phase: 'down', intent });
      }),
      { numRuns: 1_000 },
    );
  });

  test('a paused HSM does not serve', () => {
    fc.assert(
      fc.property(anyMoves, (moves) => {
        const world = played([...moves, 'pause']);
        world.settle();
        expect(world.life.intent).toBe('pause');
        expect(world.alive ? world.stopped : world.life.phase).toBe(world.alive ? true : 'down');
      }),
      { numRuns: 1_000 },
    );
  });
});
