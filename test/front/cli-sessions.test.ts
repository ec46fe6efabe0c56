import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ClusterSession } from '../../src/cluster/cluster-session.js';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { KeyspanError } from '../../src/core/errors.js';
import { newClusterId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { CliSessions } from '../../src/front/cli-sessions.js';
import { clusterRecord } from '../support/cluster-record.js';

/** A cluster of which only the coming and going of its users is of interest. */
const cluster = {
  id: newClusterId(),
  record: clusterRecord(),
  keys: undefined as unknown as RunningCluster['keys'],
  present: new Set<ClusterSession>(),
  async login(username: string): Promise<ClusterSession> {
    if (username === 'nobody') throw new KeyspanError('HsmCredentialsRefused');
    const session = { username } as unknown as ClusterSession;
    cluster.present.add(session);
    return session;
  },
  logout: (session: ClusterSession): void => void cluster.present.delete(session),
};
const user = (username = 'alice'): { username: string; password: string } => ({
  username,
  password: 'password-1',
});
const refused = (code: string): unknown => expect.objectContaining({ code });

beforeEach(() => {
  cluster.present.clear();
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

test('a login is named by a token that nobody can guess, and ends once', async () => {
  const sessions = new CliSessions();
  const [one, other] = [await sessions.open(cluster, user()), await sessions.open(cluster, user())];
  expect(one).toMatch(/^[\w-]{32}$/);
  expect(other).not.toBe(one);
  sessions.close(one);
  expect(() => sessions.use(one)).toThrow(expect.objectContaining({ code: 'HsmNotLoggedIn' }));
  expect(() => sessions.close(one)).toThrow(expect.objectContaining({ code: 'HsmNotLoggedIn' }));
  expect(cluster.present).toEqual(new Set([sessions.use(other).session]));
});

test('it ends when nobody has said it for a while', async () => {
  const sessions = new CliSessions(1_000);
  const token = await sessions.open(cluster, user());
  for (let time = 0; time < 3; time += 1) {
    vi.advanceTimersByTime(900);
    sessions.use(token);
  }
  vi.advanceTimersByTime(999);
  expect(cluster.present.size).toBe(1);
  vi.advanceTimersByTime(1);
  expect(cluster.present.size).toBe(0);
  expect(sessions.size).toBe(0);
  expect(() => sessions.use(token)).toThrow(expect.objectContaining({ code: 'HsmNotLoggedIn' }));
});

test('there are no more than there may be, and who was refused takes no place', async () => {
  const sessions = new CliSessions();
  const open = (name?: string): Promise<string> => sessions.open(cluster, user(name));
  await expect(open('nobody')).rejects.toEqual(refused('HsmCredentialsRefused'));
  const logins = Array.from({ length: LIMITS.cli_sessions_max + 1 }, () => open());
  const outcomes = await Promise.allSettled(logins);
  const last = outcomes.pop();
  expect(outcomes.every(({ status }) => status === 'fulfilled')).toBe(true);
  expect(last).toMatchObject({ status: 'rejected', reason: { code: 'HsmBusy' } });
  const [first] = outcomes;
  if (first?.status === 'fulfilled') sessions.close(first.value);
  expect(await open()).toBeTypeOf('string');
});
