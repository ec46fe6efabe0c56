import type { ClusterRecord, HsmRecord } from './cluster.js';

/**
 * The states of clusters and HSMs as CloudHSM's API shows them. Pure: a record says what was asked
 * for and when that is over, the civil clock says the rest, so nothing has to be awake for a state
 * to change.
 */
export type ShownClusterState = ClusterRecord['state'] | 'DELETED';

const MINUTE_MS = 60_000;

/**
 * How long each step takes at AWS, in milliseconds; the time scale of the installation multiplies
 * it. Joining, activation and removal as they were measured there; the others are guesses.
 */
export const STEP_TIMES_MS = {
  createCluster: MINUTE_MS,
  createHsm: 313_000,
  backup: 2 * MINUTE_MS,
  initialize: 2 * MINUTE_MS,
  activate: 80_000,
  /** for each HSM */
  modifyType: 30 * MINUTE_MS,
  deleteHsm: 2 * MINUTE_MS,
  deleteCluster: MINUTE_MS,
} as const;
export type LifeStep = keyof typeof STEP_TIMES_MS;

/** An HSM type can be had back so long. */
export const ROLLBACK_MS = 24 * 60 * MINUTE_MS;

/** What comes of a step, once it is over. */
const OUTCOMES: Partial<Record<ClusterRecord['state'], ShownClusterState>> = {
  CREATE_IN_PROGRESS: 'UNINITIALIZED',
  INITIALIZE_IN_PROGRESS: 'INITIALIZED',
  MODIFY_IN_PROGRESS: 'ACTIVE',
  ROLLBACK_IN_PROGRESS: 'ACTIVE',
  DELETE_IN_PROGRESS: 'DELETED',
};

const MESSAGES: Partial<Record<ShownClusterState, string>> = {
  INITIALIZE_IN_PROGRESS:
    'Cluster is initializing. State will change to INITIALIZED upon completion.',
  DELETE_IN_PROGRESS: 'The cluster is being deleted.',
};

/** When a step that begins now is over. @param scale 0: at once; 1: as at AWS */
export const dueAt = (step: LifeStep, nowMs: number, scale: number, times = 1): number =>
  Math.floor(nowMs + STEP_TIMES_MS[step] * scale * times);

/** The state of a cluster at this moment of civil time. */
export function shownState(record: ClusterRecord, nowMs: number): ShownClusterState {
  const { state, dueMs } = record;
  const isOver = dueMs === null || nowMs >= dueMs;
  // nobody has to claim or activate it a second time
  if (isOver && isRestored(record)) return 'ACTIVE';
  // what an activation does is seen later than it is done
  if (state === 'ACTIVE') return isOver ? 'ACTIVE' : 'INITIALIZED';
  return (isOver ? OUTCOMES[state] : undefined) ?? state;
}

/** It was made from a backup, and nothing was asked of it since. */
const isRestored = ({
  state,
  sourceBackupId,
}: Pick<ClusterRecord, 'state' | 'sourceBackupId'>): boolean =>
  state === 'CREATE_IN_PROGRESS' && sourceBackupId !== null;

/** Whether its admin has a password of their own: from then on it holds what users made. */
export const isActivated = (record: Pick<ClusterRecord, 'state' | 'sourceBackupId'>): boolean =>
  isRestored(record) || ACTIVATED.has(record.state);
const ACTIVATED: ReadonlySet<string> = new Set([
  'ACTIVE',
  'MODIFY_IN_PROGRESS',
  'ROLLBACK_IN_PROGRESS',
]);

export const messageOf = (state: ShownClusterState): string | undefined => MESSAGES[state];

/** Whether an HSM that serves is shown as one that is still being made. */
export function isBeingMade(cluster: ClusterRecord, hsm: HsmRecord, nowMs: number): boolean {
  if (hsm.readyMs !== null && nowMs < hsm.readyMs) return true;
  // whoever waits for the first HSM finds what it is to verify
  return cluster.origin === 'caller' && cluster.ceremony === null && cluster.certificate === null;
}
