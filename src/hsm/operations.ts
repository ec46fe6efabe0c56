import { KeyspanError } from '../core/errors.js';
import type { FaultRules } from '../core/fault-rules.js';
import { LIMITS } from '../core/limits.js';
import { FormError } from '../protocol/form.js';
import {
  HSM_OPERATIONS,
  type HsmFields,
  type HsmOperation,
  type HsmResults,
} from '../protocol/hsm-frames.js';
import { audited, tellRefused, type Work } from './audited.js';
import { admit, type Session } from './authority.js';
import * as data from './data-operations.js';
import * as factors from './factor-operations.js';
import { backup, found, handover, identity, join, joinOffer, leave } from './joining.js';
import * as keys from './key-operations.js';
import type { Machine } from './machine.js';
import * as travel from './key-travel.js';
import { findKeys } from './key-search.js';
import * as objects from './object-operations.js';
import { findObjects } from './object-search.js';
import * as p11 from './p11-operations.js';
import * as quorum from './quorum-operations.js';
import * as records from './record-operations.js';
import * as uses from './use-operations.js';
import * as users from './user-operations.js';
import * as wraps from './wrap-operations.js';
import { extractUser, insertUser } from './user-transfer.js';

export interface OperationRequest {
  readonly operation: string;
  readonly epoch: number;
  /** 0 when the frame names no session */
  readonly session: number;
  readonly fields: unknown;
  /** how long the asker waits from now on: work that had to wait longer is not begun */
  readonly timeoutMs: number;
}

type Open<Op extends HsmOperation> = (
  machine: Machine,
  fields: HsmFields<Op>,
  timeoutMs: number,
) => HsmResults[Op] | Promise<HsmResults[Op]>;
type LoggedIn<Op extends HsmOperation> = (
  machine: Machine,
  session: Session,
  fields: HsmFields<Op>,
  timeoutMs: number,
) => HsmResults[Op] | Promise<HsmResults[Op]>;

function info(machine: Machine): HsmResults['info'] {
  return {
    serial: machine.token.info.serial,
    device: machine.token.device,
    keys: machine.keyCount,
    users: machine.users.size,
    sessions: machine.sessionCount,
    hotKeys: machine.phase === 'member' ? machine.member.keyring.hotSize : 0,
    epoch: machine.epoch,
    phase: machine.phase,
  };
}

function rulesOf(machine: Machine): FaultRules {
  if (machine.faults) return machine.faults;
  throw new KeyspanError('HsmPhase', 'this HSM was started without faults');
}

function addFault(machine: Machine, fields: HsmFields<'fault-add'>): HsmResults['fault-add'] {
  const faults = rulesOf(machine);
  if (faults.list().length >= LIMITS.faults_max) throw new KeyspanError('HsmBusy');
  return { id: faults.add(fields.rule) };
}

const listFaults = (machine: Machine): HsmResults['fault-list'] => ({
  faults: rulesOf(machine).list(),
});

function clearFaults(machine: Machine): HsmResults['fault-clear'] {
  rulesOf(machine).clear();
  return {};
}

/** Operations that need no login. */
const OPEN: { readonly [Op in HsmOperation]?: Open<Op> } = {
  info,
  'fault-add': addFault,
  'fault-list': listFaults,
  'fault-clear': clearFaults,
  identity,
  found,
  'join-offer': joinOffer,
  join,
  login: users.login,
  'mfa-challenge': factors.challenge,
  'user-list': users.listUsers,
  'token-list': quorum.listTokens,
  'quorum-values': quorum.listValues,
};

const LOGGED_IN: { readonly [Op in HsmOperation]?: LoggedIn<Op> } = {
  handover,
  backup,
  'backup-keys': keys.backupKeys,
  leave,
  logout: users.logout,
  activate: users.activate,
  'user-create': users.createUser,
  'user-delete': users.deleteUser,
  'user-change-password': users.changePassword,
  'user-change-mfa': factors.changeMfa,
  'user-change-quorum': factors.changeQuorum,
  'user-extract': extractUser,
  'user-insert': insertUser,
  'token-create': quorum.createToken,
  'token-delete': quorum.deleteTokens,
  'quorum-set': quorum.setValue,
  generate: keys.generate,
  import: keys.importMaterial,
  insert: keys.insert,
  extract: keys.extract,
  find: keys.find,
  destroy: keys.destroy,
  discard: keys.discard,
  inventory: keys.inventory,
  'record-prepare': records.prepareRecord,
  'record-apply': records.applyRecord,
  'record-extract': records.extractRecord,
  'cluster-key': keys.clusterKey,
  'store-seen': keys.storeSeen,
  'key-generate': objects.generateKey,
  'key-pair-generate': objects.generatePair,
  'key-import': objects.importPublic,
  'key-unwrap': wraps.unwrap,
  'key-keep': objects.keepKey,
  'key-wrap': wraps.wrap,
  'key-find': findKeys,
  'key-destroyable': objects.destroyable,
  'key-export': travel.exportKey,
  'key-acceptable': travel.acceptable,
  'key-drop': objects.dropKey,
  'object-find': findObjects,
  'object-create': objects.createObject,
  'object-copy': objects.copyObject,
  'object-reveal': objects.revealObject,
  'key-sign': uses.signData,
  'key-verify': uses.verifyData,
  'p11-cipher': p11.cipherData,
  'p11-sign': p11.signWhole,
  'p11-verify': p11.verifyWhole,
  'p11-derive': p11.deriveKey,
  digest: p11.digestData,
  'stream-open': p11.openStream,
  'stream-update': p11.updateStream,
  'stream-final': p11.finalStream,
  'stream-close': p11.closeStream,
  random: data.random,
  encrypt: data.encrypt,
  decrypt: data.decrypt,
  reencrypt: data.reencrypt,
  'data-key': data.dataKey,
};

type AnyOpen = (machine: Machine, fields: unknown, timeoutMs: number) => unknown;

const OPERATIONS = Object.keys(HSM_OPERATIONS) as HsmOperation[];
const isOperation = (name: string): name is HsmOperation => Object.hasOwn(HSM_OPERATIONS, name);

/** Management commands are audited. All other work is as it stands above, and pays nothing. */
function workOf(operation: HsmOperation): Work {
  const open = OPEN[operation] as AnyOpen | undefined;
  const work: Work = open
    ? (machine, _session, fields, timeoutMs) => open(machine, fields, timeoutMs)
    : (LOGGED_IN[operation] as Work);
  return audited(operation, work);
}

const WORK = Object.fromEntries(OPERATIONS.map((name) => [name, workOf(name)])) as Readonly<
  Record<HsmOperation, Work>
>;

/**
 * Runs one operation: its form, then the authority's decision, then the work. The answer is a
 * value or, where something is
 * waited for, a promise.
 * @throws KeyspanError with a code that begins with `Hsm`
 */
export function perform(machine: Machine, request: OperationRequest): unknown {
  const { operation, timeoutMs } = request;
  if (!isOperation(operation)) throw new KeyspanError('HsmBadFrame', 'no such operation');
  const session = machine.session(request.session);
  const { phase, epoch } = machine;
  const refusal = admit(operation, request.epoch, { phase, epoch, session });
  if (refusal) {
    const { fields } = request;
    tellRefused(machine, { operation, session, fields, code: refusal.refuse });
    throw new KeyspanError(refusal.refuse, refusal.message);
  }
  const fields = readFields(operation, request.fields);
  if (HSM_OPERATIONS[operation].mutating) machine.noteEpoch(request.epoch);
  return WORK[operation](machine, session, fields, timeoutMs);
}

function readFields(operation: HsmOperation, fields: unknown): unknown {
  try {
    return HSM_OPERATIONS[operation].fields(fields);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new KeyspanError('HsmBadFrame', `${operation}: ${error.message}`);
  }
}
