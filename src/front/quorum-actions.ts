import { ClusterUsers } from '../cluster/cluster-users.js';
import {
  deleteTokens,
  listTokens,
  newTokens,
  quorumValues,
  setQuorumValue,
} from '../cluster/quorum.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { changeMfa, changeQuorum, mfaTokens, readPublicPem } from '../cluster/user-factors.js';
import { replicateUser } from '../cluster/user-transfer.js';
import { audited, noteShown, refuseKms, userChange, type Login } from './user-change.js';
import type { HsmSessionHandlers, UserContext } from './user-context.js';

type QuorumActions = Pick<
  HsmSessionHandlers,
  | 'QuorumList'
  | 'QuorumListValues'
  | 'QuorumGenerate'
  | 'QuorumSetValue'
  | 'QuorumDelete'
  | 'UserMfaTokens'
  | 'UserChangeMfa'
  | 'UserChangeQuorum'
  | 'UserReplicate'
>;

/** Second factors, and the approval of what users do by M of N of them. */
export function quorumActions(context: UserContext): QuorumActions {
  return { ...approvals(context), ...factors(context), ...transfers(context) };
}

function approvals({
  clusterOf,
  sessions,
  events,
}: UserContext): Pick<
  QuorumActions,
  'QuorumList' | 'QuorumListValues' | 'QuorumGenerate' | 'QuorumSetValue' | 'QuorumDelete'
> {
  const told = async <T>(action: string, session: string, work: (login: Login) => Promise<T>) => {
    const login = sessions.use(session);
    const target = `${login.cluster.id} ${login.session.username}`;
    return await audited({ events }, { action, target }, () => work(login));
  };
  return {
    QuorumList: async ({ cluster, session }) => {
      if (session !== undefined) sessions.use(session);
      return { tokens: await listTokens(clusterOf(cluster).members) };
    },
    QuorumListValues: async ({ cluster, session }) => {
      if (session !== undefined) sessions.use(session);
      return await quorumValues(clusterOf(cluster).members);
    },
    QuorumGenerate: ({ session, service, key: reference }, call) =>
      told(`quorum generate ${service}`, session, async (login) => {
        const { cluster, session: user } = login;
        const key = reference && (await cluster.keys.resolve(user, reference, call));
        return { tokens: await newTokens(user, { service, ...(key !== undefined && { key }) }) };
      }),
    QuorumSetValue: ({ session, service, value, approval }) =>
      told(`quorum set-quorum-value ${service} ${value}`, session, async (login) => {
        await setQuorumValue(login.session, { service, value, approval });
        return {};
      }),
    QuorumDelete: ({ session, scope }) =>
      told(`quorum delete ${scope}`, session, async (login) => {
        await deleteTokens(login.session, scope);
        return {};
      }),
  };
}

function factors({
  clusterOf,
  sessions,
  secrets,
  events,
}: UserContext): Pick<QuorumActions, 'UserMfaTokens' | 'UserChangeMfa' | 'UserChangeQuorum'> {
  const change = userChange({ sessions, events });
  return {
    UserMfaTokens: async ({ cluster: id, username, role }) => {
      const cluster = clusterOf(id);
      await new ClusterUsers({ cluster, secrets }).expect(username, role);
      return { tokens: await mfaTokens(cluster.members, username) };
    },
    UserChangeMfa: (user) =>
      change('user change-mfa', user, async ({ cluster, session }) => {
        const { session: _, publicKey: pem, tokens, ...fields } = user;
        refuseKms(cluster, user.username);
        const publicKey = pem === undefined ? undefined : readPublicPem(pem);
        await changeMfa(session, { ...fields, publicKey }, tokens);
        const { password } = fields;
        if (password === undefined) return;
        await noteShown({ cluster, secrets }, user.username, password);
      }),
    UserChangeQuorum: async ({ session: token, publicKey, tokens }) => {
      const { cluster, session } = sessions.use(token);
      const target = `${cluster.id} ${session.username}`;
      return await audited({ events }, { action: 'user change-quorum', target }, () =>
        changeQuorum(session, readPublicPem(publicKey), tokens),
      );
    },
  };
}

function transfers({
  sessions,
  secrets,
  events,
  clusterOf,
}: UserContext): Pick<QuorumActions, 'UserReplicate'> {
  return {
    UserReplicate: async ({ session, destination: other, username, role }) => {
      const [source, destination] = [sessions.use(session), sessions.use(other)];
      const name = username.toLowerCase();
      const target = `${source.cluster.id} ${destination.cluster.id} ${name}`;
      return await audited({ events }, { action: 'user replicate', target }, async () => {
        for (const { cluster } of [source, destination]) refuseKms(cluster, username);
        const cluster: RunningCluster = clusterOf(destination.cluster.id);
        const user = { username, role };
        return { user: await replicateUser(source, destination, user, { cluster, secrets }) };
      });
    },
  };
}
