import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ClusterSession } from '../../src/cluster/cluster-session.js';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { KeyspanError } from '../../src/core/errors.js';
import { newClusterId } from '../../src/core/ids.js';
import { CliSessions, type LoginOwner } from '../../src/front/cli-sessions.js';
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
const alice = { name: 'alice', place: 'cluster', logins_max: 12 };
const bob = { ...alice, name: 'bob' };
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

test('it belongs to its owner, and to nobody before', async () => {
  const sessions = new CliSessions();
  const early = await sessions.open(cluster, user());
  const check = (token: string, owner: LoginOwner) => () => sessions.check(token, owner);
  expect(check(early, alice)).toThrow(expect.objectContaining({ code: 'HsmNotLoggedIn' }));
  const { session } = await sessions.admit(alice, async () => ({
    session: await sessions.open(cluster, user()),
  }));
  expect(check(session, alice)).not.toThrow();
  expect(check(session, { ...alice, place: 'elsewhere' })).not.toThrow();
  expect(check(session, bob)).toThrow(expect.objectContaining({ code: 'HsmNotLoggedIn' }));
});

test('there are no more than there may be, and who was refused takes no place', async () => {
  const sessions = new CliSessions();
  const open = async (name?: string, owner = alice): Promise<string> => {
    const login = async (): Promise<{ session: string }> => ({
      session: await sessions.open(cluster, user(name)),
    });
    return (await sessions.admit(owner, login)).session;
  };
  await expect(open('nobody')).rejects.toEqual(refused('HsmCredentialsRefused'));
  const logins = Array.from({ length: alice.logins_max + 1 }, () => open());
  const outcomes = await Promise.allSettled(logins);
  const last = outcomes.pop();
  expect(outcomes.every(({ status }) => status === 'fulfilled')).toBe(true);
  expect(last).toMatchObject({ status: 'rejected', reason: { code: 'HsmBusy' } });
  const [first] = outcomes;
  await expect(open('x', bob)).rejects.toEqual(refused('HsmBusy'));
  await open('x', { ...bob, place: 'elsewhere' });
  if (first?.status === 'fulfilled') sessions.close(first.value);
  expect(await open()).toBeTypeOf('string');
});
