import { parentPort, workerData } from 'node:worker_threads';
import { equalConstantTime } from '../core/bytes.js';
import { monotonicOfProcess } from '../core/clock.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { findMaskingKeys } from '../token/masking-keys.js';
import { destroyObject } from '../token/objects.js';
import { loadModuleProfile } from '../token/softhsm.js';
import { Token, type Handle } from '../token/token.js';
import { unwrapToToken } from '../token/wrapping.js';
import { unmask, type MaskingContext } from './masking.js';
import type { Installed, MakeRsa } from './machine.js';
import { kindOf, proveCopy } from './proofs.js';
import type { KeyRecord } from './records.js';
import { makeRsaKey } from '../token/key-making.js';

/**
 * Makes token objects in a thread of its own: writing one takes the token milliseconds, in
 * which the main thread serves.
 * The login is the process's, so this thread needs no PIN.
 */
interface Settings {
  readonly directory: string;
  readonly cluster: ClusterId;
}

const { directory, cluster } = workerData as Settings;
const token = Token.attach({ profile: loadModuleProfile(), directory });
const masking = findMaskingKeys(token);
if (!masking) throw new KeyspanError('HsmPhase');
const context: MaskingContext = { token, masking, cluster };

/**
 * Unwraps the key onto the token and proves the copy; a copy that fails its proof is taken away
 * again.
 */
function install(masked: Uint8Array): Installed {
  const { object, record } = unmask(context, masked);
  const kind = kindOf(record);
  if (!kind) throw new KeyspanError('HsmBadRecord', 'the key is no object of a token');
  const { wrap } = context.masking;
  const named = { recordBytes: object.record, label: record.label };
  const handle = unwrapToToken(token, wrap, object.blob, named, kind);
  const proof = provenOf(handle, record);
  if (equalConstantTime(proof, record.proof)) return { handle, record: object.record, proof };
  destroyObject(token, handle);
  throw new KeyspanError('HsmKeyUnproven');
}

/** A copy that fails is taken away again. */
function provenOf(handle: Handle, record: KeyRecord): Buffer {
  try {
    return proveCopy(token, handle, record);
  } catch (error) {
    destroyObject(token, handle);
    throw error;
  }
}

interface Work {
  readonly id: number;
  /** a masked key to put on the token, or an RSA key to make */
  readonly masked?: Uint8Array;
  readonly make?: Parameters<MakeRsa>[0];
  /** in the process's monotonic time: later nobody waits for it any more */
  readonly until: number;
}

parentPort?.on('message', ({ id, masked, make, until }: Work) => {
  try {
    if (monotonicOfProcess() >= until) throw new KeyspanError('HsmDeadlineExceeded');
    if (masked) parentPort?.postMessage({ id, result: install(masked) });
    if (make) parentPort?.postMessage({ id, result: makeRsaKey(token, masking.wrap, make) });
  } catch (error) {
    const code = error instanceof KeyspanError ? error.code : 'HsmDeviceError';
    const text = error instanceof KeyspanError ? error.message : 'the token failed';
    parentPort?.postMessage({ id, code, text });
  }
});
