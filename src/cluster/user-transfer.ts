import { KeyspanError } from '../core/errors.js';
import type { HsmFields } from '../protocol/hsm-frames.js';
import type { ListedUser } from '../protocol/hsm-session.js';
import { familyOf, type ClusterRecord } from './cluster.js';
import type { ClusterSession } from './cluster-session.js';
import { ClusterUsers, type ClusterUsersOptions } from './cluster-users.js';
import { judge } from './user-changes.js';

/** An admin's login on a cluster. */
interface AdminLogin {
  readonly cluster: { readonly record: Pick<ClusterRecord, 'id' | 'family'> };
  readonly session: Pick<ClusterSession, 'onEach'>;
}

/**
 * Takes a user from one cluster to a relative of it, on all HSMs there. It leaves an HSM sealed
 * under the masking keys that both have. To do it again is no error.
 * @param users of the destination
 * @returns the user as the destination has it
 * @throws KeyspanError KeyspanRefused when the clusters are no relatives, or with how many HSMs
 * failed; HsmUserNotFound; HsmAlreadyExists when another one of the name is there
 */
export async function replicateUser(
  source: AdminLogin,
  destination: AdminLogin,
  user: HsmFields<'user-extract'>,
  users: ClusterUsersOptions,
): Promise<ListedUser> {
  if (familyOf(source.cluster.record) !== familyOf(destination.cluster.record)) {
    throw new KeyspanError('KeyspanRefused', 'The clusters are not related');
  }
  const given = await source.session.onEach('user-extract', user);
  // a user that is not on all of them is not whole: it is repaired first
  judge('User replicate', given);
  const [first] = given;
  if (first?.status !== 'fulfilled') throw new KeyspanError('VaultUnavailable');
  const { sealed } = first.value;
  judge('User replicate', await destination.session.onEach('user-insert', { sealed }));
  const name = user.username.toLowerCase();
  const listed = (await new ClusterUsers(users).userList()).find(
    ({ username }) => username === name,
  );
  if (!listed) throw new KeyspanError('HsmUserNotFound', 'Specified user does not exist');
  return listed;
}
