import { deadlineIn } from '../core/deadline.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import type { Channel } from '../hsm/channel.js';
import type { HsmInfo, ListedUser, UserStrategy } from '../protocol/hsm-session.js';
import type { HsmResults, HsmRole, HsmUser } from '../protocol/hsm-frames.js';
import { askEach, oneFor, type Answer, type AskedMember } from './ask-each.js';
import type { ClusterRecord } from './cluster.js';
import { isActivated } from './cluster-states.js';
import { USERS } from './lifecycle.js';
import { Member } from './member.js';
import type { Secrets } from './secrets.js';

/** What of a running cluster its users need. */
export interface UsersCluster {
  readonly id: ClusterId;
  readonly record: Pick<ClusterRecord, 'state' | 'sourceBackupId' | 'certificate' | 'mode'>;
  readonly members: readonly AskedMember[];
}

export interface ClusterUsersOptions {
  readonly cluster: UsersCluster;
  readonly secrets: Pick<Secrets, 'passwordOf'>;
  /** every active HSM has an admin; what it throws, the asker of the activation gets */
  readonly activated?: ((cluster: ClusterId) => Promise<void>) | undefined;
}

/**
 * The users of a cluster's HSMs, as CloudHSM's CLI sees them: each HSM is asked, since each has
 * users of its own, and where they differ nothing is repaired.
 */
export class ClusterUsers {
  readonly #options: ClusterUsersOptions;

  constructor(options: ClusterUsersOptions) {
    this.#options = options;
  }

  /** What the active HSMs are. @throws KeyspanError VaultUnavailable when none is active */
  async hsmInfo(): Promise<readonly HsmInfo[]> {
    const answers = await askEach(this.#options.cluster.members, 'info', {});
    const { mode } = this.#options.cluster.record;
    return answers.map(({ member, result }) => describeHsm(member.id, result, mode));
  }

  /** The users of all active HSMs. @throws KeyspanError VaultUnavailable when none is active */
  async userList(): Promise<readonly ListedUser[]> {
    const answers = await askEach(this.#options.cluster.members, 'user-list', {});
    return mergeUsers(answers.map(({ result }) => result.users));
  }

  /**
   * Asked before a login, so that a user under another role than its own is refused as one that
   * is not there, and no HSM counts it as a wrong password.
   * @throws KeyspanError HsmCredentialsRefused when no active HSM knows the user in this role
   */
  async expect(username: string, role: HsmRole): Promise<void> {
    const name = username.toLowerCase();
    const answers = await askEach(this.#options.cluster.members, 'user-list', {});
    const isKnown = answers.some(({ result }) =>
      result.users.some((user) => user.username === name && user.role === role),
    );
    if (!isKnown) throw new KeyspanError('HsmCredentialsRefused');
  }

  /**
   * Gives the admin of each active HSM its password: from then on the cluster has users. After a
   * failure half-way it can be done again, with the same password.
   * @throws KeyspanError KeyspanRefused when no HSM waits for it and the cluster knows of it
   */
  async activate(password: string): Promise<void> {
    const { cluster, activated } = this.#options;
    if (cluster.record.certificate === null) {
      throw new KeyspanError('KeyspanRefused', 'Cluster is not initialized');
    }
    const answers = await askEach(this.#options.cluster.members, 'user-list', {});
    const isFresh = ({ result }: Answer<HsmResults['user-list']>): boolean =>
      result.users.some((user) => user.role === 'unactivated-admin');
    const fresh = answers.filter(isFresh);
    if (fresh.length === 0 && isActivated(cluster.record)) {
      throw new KeyspanError('KeyspanRefused', 'Cluster is already activated');
    }
    for (const answer of answers) if (!isFresh(answer)) await confirm(answer.channel, password);
    const before = await this.#options.secrets.passwordOf(cluster.id, USERS.preCrypto);
    const outcomes = await Promise.allSettled(
      fresh.map(({ channel, member }) =>
        activateHsm(channel, { before, password, epoch: member.epoch }),
      ),
    );
    const failures = outcomes.filter((outcome) => outcome.status === 'rejected');
    const [failure] = failures;
    if (failure) {
      const told =
        `Cluster activation failed on ${failures.length} of ${answers.length} HSMs. ` +
        'Try again with the same password';
      throw new KeyspanError('KeyspanRefused', told, { cause: failure.reason });
    }
    await activated?.(cluster.id);
  }
}

/** The one password of all HSMs: an HSM that was activated before must know it already. */
async function confirm(channel: Channel, password: string): Promise<void> {
  const deadline = deadlineIn(LIMITS.request_timeout_ms);
  try {
    const { session } = await Member.login(channel, { username: USERS.admin, password }, deadline);
    await channel.request({ operation: 'logout', fields: {}, session, deadline });
  } catch (error) {
    if (!isKeyspanError(error, 'HsmCredentialsRefused')) throw error;
    const told = 'An HSM of the cluster is already activated, with another password';
    throw new KeyspanError('KeyspanRefused', told, { cause: error });
  }
}

async function activateHsm(
  channel: Channel,
  options: { before: string; password: string; epoch: number },
): Promise<void> {
  const { before, password, epoch } = options;
  const deadline = deadlineIn(LIMITS.request_timeout_ms);
  const user = { username: USERS.admin, password: before };
  const { session } = await Member.login(channel, user, deadline);
  await channel.request({ operation: 'activate', fields: { password }, session, deadline, epoch });
}

/** CloudHSM's words for roles. */
const ROLES: Readonly<Record<HsmRole, string>> = {
  'unactivated-admin': 'unactivated-admin',
  admin: 'admin',
  'crypto-user': 'crypto-user',
  'appliance-user': 'internal(APPLIANCE_USER)',
};

/** One list of what each HSM has: in the first HSM's order, then what others have besides. Pure. */
export function mergeUsers(lists: readonly (readonly HsmUser[])[]): readonly ListedUser[] {
  const byName = new Map<string, HsmUser[]>();
  for (const user of lists.flat()) {
    const same = byName.get(user.username);
    if (same) same.push(user);
    else byName.set(user.username, [user]);
  }
  return [...byName].map(([username, users]) => ({
    username,
    role: oneFor(users.map(({ role }) => ROLES[role])),
    locked: oneFor(users.map(({ locked }) => (locked ? 'true' : 'false'))),
    mfa: strategyOf(users.map(({ mfa, keyHash }) => (mfa ? keyHash : undefined))),
    quorum: strategyOf(users.map(({ quorum, keyHash }) => (quorum ? keyHash : undefined))),
    'cluster-coverage': users.length === lists.length ? 'full' : 'inconsistent',
  }));
}

/** `token-sign` of this key on each HSM that has the user; none: on no HSM. */
function strategyOf(keys: readonly (string | undefined)[]): readonly UserStrategy[] {
  if (keys.every((key) => key === undefined)) return [];
  const isSame = oneFor(keys.map((key) => key ?? 'none')) !== 'inconsistent';
  return [{ strategy: 'token-sign', status: isSame ? 'enabled' : 'inconsistent' }];
}

/** The mode that the cluster has in the CloudHSM API. */
const FIPS_STATES = {
  FIPS: '2 [FIPS mode with single factor authentication]',
  NON_FIPS: '0 [non-FIPS mode with single factor authentication]',
} as const;
/** PKCS#11 knows no build of a firmware. */
const BUILD = '0';

/** The fields of CloudHSM's CLI, of what the HSM's module says. Pure. */
export function describeHsm(
  id: string,
  { serial, device }: Pick<HsmResults['info'], 'serial' | 'device'>,
  mode: ClusterRecord['mode'],
): HsmInfo {
  const { vendor, model, hardware, firmware } = device;
  const minor = String(firmware.minor).padStart(2, '0');
  return {
    vendor,
    model,
    'serial-number': serial,
    'hardware-version-major': String(hardware.major),
    'hardware-version-minor': String(hardware.minor),
    'firmware-version-major': String(firmware.major),
    'firmware-version-minor': String(firmware.minor),
    'firmware-build-number': BUILD,
    'firmware-id': `${model.replaceAll(' ', '-')}-FW-${firmware.major}.${minor}-${BUILD}`,
    'fips-state': FIPS_STATES[mode],
    'hsm-id': id,
  };
}
