import { parentPort, workerData } from 'node:worker_threads';
import { equalConstantTime } from '../core/bytes.js';
import { monotonicOfProcess } from '../core/clock.js';
import { KeyspanError } from '../core/errors.js';
import type { ClusterId } from '../core/ids.js';
import { proveKey } from '../token/mac.js';
import { findMaskingKeys } from '../token/masking-keys.js';
import { destroyObject } from '../token/objects.js';
import { loadModuleProfile } from '../token/softhsm.js';
import { Token } from '../token/token.js';
import { unwrapToToken } from '../token/wrapping.js';
import { unmask, type MaskingContext } from './masking.js';
import type { Installed } from './machine.js';

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
  const wrapping = context.masking.wrap;
  const handle = unwrapToToken(token, wrapping, object.blob, object.record, record.label);
  const proof = proveKey(token, handle, record.id);
  if (equalConstantTime(proof, record.proof)) return { handle, record: object.record, proof };
  destroyObject(token, handle);
  throw new KeyspanError('HsmKeyUnproven');
}

interface Work {
  readonly id: number;
  readonly masked: Uint8Array;
  /** in the process's monotonic time: later nobody waits for it any more */
  readonly until: number;
}

parentPort?.on('message', ({ id, masked, until }: Work) => {
  try {
    if (monotonicOfProcess() >= until) throw new KeyspanError('HsmDeadlineExceeded');
    parentPort?.postMessage({ id, installed: install(masked) });
  } catch (error) {
    const code = error instanceof KeyspanError ? error.code : 'HsmDeviceError';
    const text = error instanceof KeyspanError ? error.message : 'the token failed';
    parentPort?.postMessage({ id, code, text });
  }
});
