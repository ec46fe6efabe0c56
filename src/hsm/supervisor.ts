import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import type { HsmId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import type { HsmState } from '../protocol/admin.js';
import { Channel } from './channel.js';
import {
  newLife,
  stateOf,
  step,
  type Effect,
  type Intent,
  type Life,
  type LifeEvent,
} from './hsm.js';
import type { Launch, Launched } from './launch.js';
import { HsmProcess, endLeftover } from './process.js';

export interface SupervisorOptions {
  readonly id: HsmId;
  readonly intent: Intent;
  readonly log: Logger;
  /** what the next process is started with; asked for at each start */
  launch(): Promise<Launch>;
  /** the process has a token with this serial: remembered before anything is put on it */
  found(serial: string): Promise<void>;
  /** makes the HSM a member that is up to date; then it serves */
  rise(channel: Channel): Promise<void>;
  /** whether the HSM was ever a member */
  joined(): boolean;
  changed(state: HsmState): void;
}

/** Keeps one HSM's process as the operator wants it, and tells who needs to know. */
export class Supervisor {
  readonly id: HsmId;
  readonly #options: SupervisorOptions;
  readonly #log: Logger;
  #life: Life;
  #process: HsmProcess | undefined;
  #channel: Channel | undefined;
  /** processes that were started */
  #starts = 0;
  /** requests over the channels before this one */
  #requested = 0;
  /** what the running process was started with */
  #launch: Launch | undefined;
  #timer: NodeJS.Timeout | undefined;
  #shown: HsmState;
  /** the number of this attempt to rise: a late end of an older one changes nothing */
  #attempt = 0;
  #disposed = false;
  /** why the last attempt to serve failed */
  #reason: string | undefined;

  constructor(options: SupervisorOptions) {
    this.id = options.id;
    this.#options = options;
    this.#log = options.log.child({ hsm: options.id });
    this.#life = newLife(options.intent);
    this.#shown = this.state;
  }

  get state(): HsmState {
    return stateOf(this.#life, this.#options.joined());
  }

  get intent(): Intent {
    return this.#life.intent;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** The channel to work through; undefined while the HSM does not serve. */
  get channel(): Channel | undefined {
    return this.#life.phase === 'active' ? this.#channel : undefined;
  }

  /** Why the HSM does not serve although it should, once it has failed; undefined while it does. */
  get reason(): string | undefined {
    return this.#life.phase === 'active' || this.#life.failures === 0 ? undefined : this.#reason;
  }

  /** processes that were started after the first */
  get restarts(): number {
    return Math.max(0, this.#starts - 1);
  }

  /** requests that were sent to the HSM over all its channels */
  get requested(): number {
    return this.#requested + (this.#channel?.requested ?? 0);
  }

  /** It is to serve, and has not failed to since it last did. */
  get isHopeful(): boolean {
    return this.#life.intent === 'run' && this.#life.failures === 0;
  }

  /** attempts in a row that did not lead to service */
  get failures(): number {
    return this.#life.failures;
  }

  start(): void {
    if (this.#life.intent === 'run') this.#happen({ type: 'wanted', intent: 'run' });
  }

  want(intent: Intent): void {
    this.#happen({ type: 'wanted', intent });
  }

  crash(): void {
    this.#happen({ type: 'crash-wanted' });
  }

  /** Ends the process in good order; the operator's intent stays as it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    clearTimeout(this.#timer);
    this.#isolate();
    // a stopped process cannot end itself
    if (this.#life.phase === 'hung') this.#process?.signal('SIGKILL');
    await this.#process?.stop(deadlineIn(LIMITS.hsm_stop_timeout_ms));
  }

  #happen(event: LifeEvent): void {
    if (this.#disposed) return;
    const [life, effects] = step(this.#life, event);
    if (life.phase !== this.#life.phase) clearTimeout(this.#timer);
    this.#life = life;
    for (const effect of effects) this.#carryOut(effect);
    const { state } = this;
    if (state === this.#shown) return;
    this.#log.info({ event: event.type, from: this.#shown, to: state }, 'the HSM changed');
    this.#shown = state;
    this.#options.changed(state);
  }

  #carryOut(effect: Effect): void {
    switch (effect.do) {
      case 'spawn':
        void this.#spawn();
        return;
      case 'kill':
        return this.#process?.signal('SIGKILL');
      case 'terminate':
        void this.#process?.stop(deadlineIn(LIMITS.hsm_stop_timeout_ms));
        return;
      case 'sigstop':
        return this.#process?.signal('SIGSTOP');
      case 'sigcont':
        this.#process?.signal('SIGCONT');
        return this.#process?.watchHeartbeat();
      case 'isolate':
        return this.#isolate();
      case 'rise':
        void this.#rise();
        return;
      case 'timer':
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#happen({ type: 'timer' }), effect.ms);
    }
  }

  #isolate(): void {
    this.#attempt += 1;
    const channel = this.#channel;
    // first forgotten, then closed: this end is no loss
    this.#channel = undefined;
    this.#requested += channel?.requested ?? 0;
    channel?.close();
  }

  async #spawn(): Promise<void> {
    try {
      const launch = await this.#options.launch();
      if (await endLeftover(launch.directory)) {
        this.#log.warn('a process that an earlier daemon left was ended');
      }
      if (this.#disposed) return;
      const { phase, intent } = this.#life;
      // the operator wants it otherwise by now
      if (phase !== 'starting' || intent !== 'run') return this.#happen({ type: 'exited' });
      this.#launch = launch;
      const child = new HsmProcess({
        launch,
        events: {
          launched: (line) => void this.#launched(child, line),
          exited: () => this.#happen({ type: 'exited' }),
          silent: () => this.#happen({ type: 'silent' }),
          heard: () => this.#happen({ type: 'heard' }),
        },
      });
      this.#process = child;
      this.#starts += 1;
    } catch (error) {
      this.#reason = error instanceof Error ? error.message : 'unknown';
      this.#log.error({ err: error }, 'the HSM cannot be started');
      this.#happen({ type: 'exited' });
    }
  }

  async #launched(child: HsmProcess, line: Launched): Promise<void> {
    if ('failed' in line) {
      this.#reason = line.message;
      this.#log.error(line, 'the HSM says that it cannot start');
      return;
    }
    try {
      await this.#options.found(line.serial);
      if (child.pid === undefined || child !== this.#process) return;
      child.watchHeartbeat();
      this.#happen({ type: 'listening' });
    } catch (error) {
      this.#log.error({ err: error }, 'the HSM cannot be taken up');
      child.signal('SIGKILL');
    }
  }

  async #rise(): Promise<void> {
    this.#isolate();
    const attempt = this.#attempt;
    try {
      const channel = await this.#connect();
      if (attempt !== this.#attempt) return channel.close();
      this.#channel = channel;
      channel.closed.addEventListener('abort', () => {
        if (this.#channel === channel) this.#happen({ type: 'channel-lost' });
      });
      await this.#options.rise(channel);
      if (attempt === this.#attempt) this.#happen({ type: 'risen' });
    } catch (error) {
      if (attempt !== this.#attempt) return;
      this.#reason = error instanceof Error ? error.message : 'unknown';
      this.#log.warn({ err: error }, 'the HSM could not be brought into service');
      this.#happen({ type: 'rise-failed' });
    }
  }

  async #connect(): Promise<Channel> {
    if (!this.#launch) throw new KeyspanError('KeyspanConnection');
    const { hsm, cluster, socket: path } = this.#launch;
    const deadline = deadlineIn(LIMITS.frame_hello_timeout_ms);
    const traced = this.#log.isLevelEnabled('debug');
    return await Channel.connect({ path, hsm, cluster, deadline, traced });
  }
}
