import { afterAll, beforeAll, expect, test } from 'vitest';
import { USERS } from '../../src/cluster/lifecycle.js';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import { replicateUser } from '../../src/cluster/user-transfer.js';
import { CliSessions } from '../../src/front/cli-sessions.js';
import { quorumActions } from '../../src/front/quorum-actions.js';
import { userActions } from '../../src/front/user-actions.js';
import type { UserContext } from '../../src/front/user-context.js';
import type {
  HsmSessionAction,
  HsmSessionParams,
  HsmSessionResults,
  SignedToken,
  UnsignedToken,
} from '../../src/protocol/hsm-session.js';
import { PartsFixture } from '../support/parts-fixture.js';
import { TokenSigner } from '../support/token-signer.js';

const REGION = 'us-east-1';
const PASSWORD = 'password-1';
const refused = (code: string, message?: string): unknown =>
  expect.objectContaining({ code, ...(message !== undefined && { message }) });

/** up's cluster, one that was made from its backup, and a stranger that has the same users. */
let fixture: PartsFixture;
type Handlers = {
  readonly [A in HsmSessionAction]: (params: HsmSessionParams<A>) => Promise<HsmSessionResults[A]>;
};
let handlers: Handlers;
let relative: RunningCluster;
let [source, target] = ['', ''];
const told: unknown[] = [];
const signer = new TokenSigner();
const alice = { username: 'alice', role: 'crypto-user' } as const;

async function admin(cluster: RunningCluster): Promise<string> {
  const password = await fixture.secrets.passwordOf(fixture.own.id, USERS.admin);
  const user = { cluster: cluster.id, username: 'admin', role: 'admin', password } as const;
  return (await handlers.UserLogin(user)).session;
}

beforeAll(async () => {
  fixture = await PartsFixture.start(['--hsms', '2']);
  const { clusters, control, backups, jobs } = fixture.parts;
  const nothing = (): void => undefined;
  const context: UserContext = {
    secrets: fixture.secrets,
    sessions: new CliSessions(),
    clusterOf: (id) => (id === undefined ? fixture.own : clusters.get(id)) ?? expect.unreachable(),
    events: { loginEvent: nothing, operatorEvent: (event) => void told.push(event) },
  };
  handlers = { ...userActions(context), ...quorumActions(context) } as unknown as Handlers;
  const id = await jobs.takeWhole(fixture.own);
  relative = await control.create({
    account: fixture.own.record.account,
    region: REGION,
    hsmType: 'hsm2m.medium',
    subnetIds: ['subnet-fd54af9b', 'subnet-49a1bc00'],
    mode: undefined,
    retentionDays: 90,
    networkType: 'IPV4',
    source: backups.find(id),
  });
  await Promise.all(['a', 'b'].map((zone) => control.createHsm(relative, `${REGION}${zone}`)));
  await fixture.serving(relative, 2);
  source = await admin(fixture.own);
  target = await admin(relative);
});
afterAll(async () => {
  signer[Symbol.dispose]();
  await fixture?.[Symbol.asyncDispose]();
});

const signed = (tokens: readonly UnsignedToken[]): SignedToken[] =>
  tokens.map(({ token }) => ({ token, signature: signer.sign(token) }));
const replicate = (user: typeof alice = alice): Promise<unknown> =>
  handlers.UserReplicate({ session: source, destination: target, ...user });

test('a user goes to a relative as it is, with its second factor, and once more', async () => {
  await handlers.UserCreate({ session: source, ...alice, password: PASSWORD });
  const { tokens } = await handlers.QuorumGenerate({ session: source, service: 'registration' });
  const key = { publicKey: signer.pem, tokens: signed(tokens) };
  await handlers.UserChangeMfa({ session: source, ...alice, ...key });
  const user = {
    ...alice,
    locked: 'false',
    mfa: [{ strategy: 'token-sign', status: 'enabled' }],
    quorum: [],
    'cluster-coverage': 'full',
  };
  for (let time = 0; time < 2; time += 1) expect(await replicate()).toEqual({ user });
  const cluster = relative.id;
  const challenges = await handlers.UserMfaTokens({ cluster, ...alice });
  const mfa = signed(challenges.tokens);
  const login = { cluster, ...alice, password: PASSWORD };
  await expect(handlers.UserLogin(login)).rejects.toEqual(refused('HsmMfaRequired'));
  expect(await handlers.UserLogin({ ...login, mfa })).toMatchObject(alice);
});

test('another one of its name stays as it is', async () => {
  const change = { session: target, ...alice, password: 'password-2' };
  await handlers.UserChangePassword(change);
  await expect(replicate()).rejects.toEqual(
    refused('HsmAlreadyExists', 'The user exists in the destination cluster, and is another one'),
  );
  await expect(replicate({ ...alice, username: 'nobody' } as never)).rejects.toEqual(
    refused('HsmUserNotFound'),
  );
  await handlers.UserDelete({ session: target, ...alice });
  expect(await replicate()).toMatchObject({ user: { 'cluster-coverage': 'full' } });
});

test('one that came to some HSMs only comes to the others with the next try', async () => {
  const [away] = relative.members;
  const channel = away?.channel ?? expect.unreachable();
  const epoch = away?.epoch ?? 1;
  const password = await fixture.secrets.passwordOf(fixture.own.id, USERS.admin);
  const deadline = performance.now() + 10_000;
  const fields = { username: 'admin', password };
  const { session } = await channel.request({ operation: 'login', fields, deadline });
  const request = { operation: 'user-delete', fields: alice, session, deadline, epoch } as const;
  await channel.request(request);
  const listed = async (): Promise<unknown> =>
    (await handlers.UserList({ cluster: relative.id })).users.find(
      ({ username }) => username === 'alice',
    );
  expect(await listed()).toMatchObject({ 'cluster-coverage': 'inconsistent' });
  expect(await replicate()).toMatchObject({ user: { 'cluster-coverage': 'full' } });
});

test('no user goes to a stranger, and not the one that KMS works as', async () => {
  const stranger = { ...relative.record, id: fixture.own.id, family: null };
  const never = { onEach: () => expect.unreachable() };
  const from = { cluster: { record: { ...stranger, id: relative.id } }, session: never };
  const to = { cluster: { record: stranger }, session: never };
  const users = { cluster: relative, secrets: fixture.secrets };
  await expect(replicateUser(from, to, alice, users)).rejects.toEqual(
    refused('KeyspanRefused', 'The clusters are not related'),
  );
  await expect(replicate({ ...alice, username: 'kmsuser' } as never)).rejects.toEqual(
    refused('KeyspanRefused'),
  );
  const route = `${fixture.own.id} ${relative.id} alice`;
  const replications = told.filter((event) => (event as { target: string }).target === route);
  expect(replications).toContainEqual({ action: 'user replicate', target: route });
  expect(replications).toContainEqual({
    action: 'user replicate',
    target: route,
    code: 'HsmAlreadyExists',
  });
});
