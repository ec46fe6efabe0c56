import { KeyspanError } from '../../core/errors.js';
import type { Session } from './session.js';
import type { Terminal } from './terminal.js';

/** What a command works with. */
export interface Context {
  readonly session: Session;
  readonly terminal: Pick<Terminal, 'secret' | 'question'>;
}

export interface ClusterOptions {
  readonly clusterId?: string;
}

/** A command that was called wrongly. */
export const usage = (sentence: string): KeyspanError => new KeyspanError('KeyspanUsage', sentence);
