import { LIMITS } from '../../core/limits.js';
import type { Call } from '../../core/call.js';
import type { P11Room } from '../../protocol/p11-calls.js';
import type { P11Mechanism } from '../../protocol/p11-mechanism.js';
import type { Application } from './application.js';
import { CipherOperation } from './cipher-operation.js';
import { DigestOperation } from './digest-operation.js';
import { fail, inTermsOf } from './failure.js';
import type { Handlers } from './handlers.js';
import { keyFor } from './key-use.js';
import { CKF_MECHANISM } from './mechanism-table.js';
import { factsOf, frameMechanism } from './parameters.js';
import type { Operations, P11Session } from './session.js';
import { SignOperation } from './sign-operation.js';

const EMPTY = new Uint8Array(0);

/** What an HSM finds wrong with an operation. */
const TERMS = {
  encrypt: { HsmDataInvalid: 'DATA_LEN_RANGE', HsmKeyNotFound: 'KEY_HANDLE_INVALID' },
  decrypt: { HsmDataInvalid: 'ENCRYPTED_DATA_INVALID', HsmKeyNotFound: 'KEY_HANDLE_INVALID' },
  sign: { HsmDataInvalid: 'DATA_LEN_RANGE', HsmKeyNotFound: 'KEY_HANDLE_INVALID' },
  verify: { HsmDataInvalid: 'DATA_LEN_RANGE', HsmKeyNotFound: 'KEY_HANDLE_INVALID' },
  digest: {},
} as const;

type Kind = keyof typeof TERMS;

/**
 * Runs a step of an operation: a failure ends the operation, and so does an answer that is its
 * last.
 */
async function step<T>(
  session: P11Session,
  kind: Kind,
  work: Promise<T>,
  ends: boolean,
): Promise<T> {
  try {
    const result = await inTermsOf(TERMS[kind], work);
    if (ends) session.end(kind);
    return result;
  } catch (error) {
    session.end(kind);
    throw error;
  }
}

/** A mechanism that is NULL ends the operation under way (PKCS #11 3.0). */
function isCancel(
  session: P11Session,
  kind: Kind,
  mechanism: P11Mechanism | null,
): mechanism is null {
  if (mechanism) return false;
  session.end(kind);
  return true;
}

function cipherInit(kind: 'encrypt' | 'decrypt') {
  return (
    application: Application,
    [handle, mechanism, key]: [number, P11Mechanism | null, number],
  ): [] => {
    const session = application.session(handle);
    if (isCancel(session, kind, mechanism)) return [];
    // one that gave all it had, and was not told so by a client of the first version
    if (session.operations[kind]?.isDrained) session.end(kind);
    if (session.operations[kind]) throw fail('OPERATION_ACTIVE');
    const { view } = session;
    const facts = factsOf(mechanism);
    const held = keyFor(view, key, facts, kind);
    session.operations[kind] = new CipherOperation({
      view,
      key: held,
      facts,
      mechanism: frameMechanism(mechanism, facts, kind === 'encrypt'),
      direction: kind,
      budget: application.budget,
    });
    view.line.soon?.(held.id);
    return [];
  };
}

/** A result for a caller who has so much room. */
const fits = (bytes: number, room: P11Room): room is number => room !== 'none' && bytes <= room;

type Step = [number, Uint8Array | null, P11Room];

function cipherWhole(kind: 'encrypt' | 'decrypt') {
  return async (
    application: Application,
    [handle, data, room]: Step,
  ): Promise<[Uint8Array | number]> => {
    const session = application.session(handle);
    const operation = session.begun(kind);
    if (operation.isMultiPart) throw fail('OPERATION_ACTIVE');
    const input = data ?? EMPTY;
    const most = operation.lengthOf(input.length);
    if (room === 'none' || (kind === 'encrypt' && room < most)) return [most];
    const made = await step(session, kind, operation.whole(input, application.call()), false);
    if (!fits(made.length, room)) return [made.length];
    session.end(kind);
    return [made];
  };
}

function cipherUpdate(kind: 'encrypt' | 'decrypt') {
  return async (
    application: Application,
    [handle, data, room]: Step,
  ): Promise<[Uint8Array | number]> => {
    const session = application.session(handle);
    const operation = session.begun(kind);
    const input = data ?? EMPTY;
    const length = operation.lengthOfUpdate(input.length);
    // nothing comes of it: then NULL is no question but all the room that is needed
    if (length > 0 && !fits(length, room)) return [length];
    const made = await step(session, kind, operation.update(input, application.call()), false);
    return [made];
  };
}

function cipherFinal(kind: 'encrypt' | 'decrypt') {
  return async (
    application: Application,
    [handle, room]: [number, P11Room],
  ): Promise<[Uint8Array | number]> => {
    const session = application.session(handle);
    const operation = session.begun(kind);
    const most = operation.lengthOf(0);
    if (room === 'none' && most > 0) return [most];
    if (kind === 'encrypt' && !fits(most, room) && most > 0) return [most];
    const made = await step(session, kind, operation.final(application.call()), false);
    if (made.length === 0 && room === 'none') {
      // a question, or the end with a buffer of no bytes: a client of the first version says the
      // same for both
      operation.over();
      return [0];
    }
    if (!fits(made.length, room)) return [made.length];
    session.end(kind);
    return [made];
  };
}

function signInit(kind: 'sign' | 'verify') {
  return (
    application: Application,
    [handle, mechanism, key]: [number, P11Mechanism | null, number],
  ): [] => {
    const session = application.session(handle);
    if (isCancel(session, kind, mechanism)) return [];
    if (session.operations[kind]) throw fail('OPERATION_ACTIVE');
    const { view } = session;
    const facts = factsOf(mechanism);
    const held = keyFor(view, key, facts, kind);
    session.operations[kind] = new SignOperation({
      view,
      key: held,
      facts,
      mechanism: frameMechanism(mechanism, facts),
      purpose: kind,
      budget: application.budget,
    });
    view.line.soon?.(held.id);
    return [];
  };
}

/** Calls that encrypt and decrypt. */
const CIPHER_CALLS: Handlers = {
  C_EncryptInit: cipherInit('encrypt'),
  C_Encrypt: cipherWhole('encrypt'),
  C_EncryptUpdate: cipherUpdate('encrypt'),
  C_EncryptFinal: cipherFinal('encrypt'),
  C_DecryptInit: cipherInit('decrypt'),
  C_Decrypt: cipherWhole('decrypt'),
  C_DecryptUpdate: cipherUpdate('decrypt'),
  C_DecryptFinal: cipherFinal('decrypt'),
};

/** Calls that sign and verify. */
const SIGN_CALLS: Handlers = {
  C_SignInit: signInit('sign'),
  C_Sign: async (application, [handle, data, room]) => {
    const session = application.session(handle);
    const operation = session.begun('sign');
    if (operation.isMultiPart) throw fail('OPERATION_ACTIVE');
    if (!fits(operation.length, room)) return [operation.length];
    const work = operation.sign(application.call(), data ?? EMPTY);
    return [await step(session, 'sign', work, true)];
  },
  C_SignUpdate: async (application, [handle, data]) => {
    const session = application.session(handle);
    const operation = session.begun('sign');
    await step(session, 'sign', operation.update(data ?? EMPTY, application.call()), false);
    return [];
  },
  C_SignFinal: async (application, [handle, room]) => {
    const session = application.session(handle);
    const operation = session.begun('sign');
    if (!fits(operation.length, room)) return [operation.length];
    return [await step(session, 'sign', operation.sign(application.call()), true)];
  },
  C_VerifyInit: signInit('verify'),
  C_Verify: async (application, [handle, data, signature]) => {
    const session = application.session(handle);
    const operation = session.begun('verify');
    if (operation.isMultiPart) throw fail('OPERATION_ACTIVE');
    return await verify(session, operation, signature ?? EMPTY, application.call(), data ?? EMPTY);
  },
  C_VerifyUpdate: async (application, [handle, data]) => {
    const session = application.session(handle);
    const operation = session.begun('verify');
    await step(session, 'verify', operation.update(data ?? EMPTY, application.call()), false);
    return [];
  },
  C_VerifyFinal: async (application, [handle, signature]) => {
    const session = application.session(handle);
    const operation = session.begun('verify');
    return await verify(session, operation, signature ?? EMPTY, application.call());
  },
};

async function verify(
  session: P11Session,
  operation: SignOperation,
  signature: Uint8Array,
  call: Call,
  data?: Uint8Array,
): Promise<[]> {
  if (signature.length !== operation.length) {
    session.end('verify');
    throw fail('SIGNATURE_LEN_RANGE');
  }
  const valid = await step(session, 'verify', operation.verify(call, signature, data), true);
  if (!valid) throw fail('SIGNATURE_INVALID');
  return [];
}

/** Calls that digest. */
const DIGEST_CALLS: Handlers = {
  C_DigestInit: (application, [handle, mechanism]) => {
    const session = application.session(handle);
    if (isCancel(session, 'digest', mechanism)) return [];
    if (session.operations.digest) throw fail('OPERATION_ACTIVE');
    const facts = factsOf(mechanism);
    if ((facts.flags & CKF_MECHANISM.DIGEST) === 0) throw fail('MECHANISM_INVALID');
    frameMechanism(mechanism, facts);
    session.operations.digest = new DigestOperation(session.view, facts, application.budget);
    return [];
  },
  C_Digest: async (application, [handle, data, room]) => {
    const session = application.session(handle);
    const operation = session.begun('digest');
    if (operation.isMultiPart) throw fail('OPERATION_ACTIVE');
    if (!fits(operation.length, room)) return [operation.length];
    const work = operation.final(application.call(), data ?? EMPTY);
    return [await step(session, 'digest', work, true)];
  },
  C_DigestUpdate: async (application, [handle, data]) => {
    const session = application.session(handle);
    const operation = session.begun('digest');
    await step(session, 'digest', operation.update(data ?? EMPTY, application.call()), false);
    return [];
  },
  C_DigestKey: async (application, [handle, at]) => {
    const session = application.session(handle);
    const operation = session.begun('digest');
    const { view } = session;
    const key = view.objectAt(at);
    if (key?.facts.object.class !== 'secret-key') throw fail('KEY_HANDLE_INVALID');
    // what may be read anyway may be digested
    if (key.has('sensitive') || !key.has('extractable')) throw fail('KEY_INDIGESTIBLE');
    const call = application.call();
    const { value } = await view.line.run('object-reveal', { keyId: key.id }, call, key.id);
    await step(session, 'digest', operation.update(value, call), false);
    return [];
  },
  C_DigestFinal: async (application, [handle, room]) => {
    const session = application.session(handle);
    const operation = session.begun('digest');
    if (!fits(operation.length, room)) return [operation.length];
    return [await step(session, 'digest', operation.final(application.call()), true)];
  },
};

const CANCEL_FLAGS: readonly (readonly [number, keyof Operations])[] = [
  [0x40, 'find'],
  [CKF_MECHANISM.ENCRYPT, 'encrypt'],
  [CKF_MECHANISM.DECRYPT, 'decrypt'],
  [CKF_MECHANISM.DIGEST, 'digest'],
  [CKF_MECHANISM.SIGN, 'sign'],
  [CKF_MECHANISM.VERIFY, 'verify'],
];

/** Calls about random numbers, and what ends operations. */
const OTHER_CALLS: Handlers = {
  C_SeedRandom: (application, [handle]) => {
    application.session(handle);
    throw fail('RANDOM_SEED_NOT_SUPPORTED');
  },
  C_GenerateRandom: async (application, [handle, room]) => {
    const { view } = application.session(handle);
    const length = room === 'none' ? 0 : room;
    if (length > LIMITS.p11_random_max_bytes) throw fail('ARGUMENTS_BAD');
    if (length === 0) return [EMPTY];
    const call = application.call();
    const parts: Uint8Array[] = [];
    for (let at = 0; at < length; at += LIMITS.hsm_random_max_bytes) {
      const fields = { length: Math.min(LIMITS.hsm_random_max_bytes, length - at) };
      parts.push((await view.line.run('random', fields, call)).data);
    }
    return [parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts)];
  },
  C_GetOperationState: (application, [handle]) => {
    application.session(handle);
    throw fail('STATE_UNSAVEABLE');
  },
  C_SessionCancel: (application, [handle, flags]) => {
    const session = application.session(handle);
    for (const [flag, kind] of CANCEL_FLAGS) if ((flags & flag) !== 0) session.end(kind);
    return [];
  },
};

export const CRYPT_CALLS: Handlers = {
  ...CIPHER_CALLS,
  ...SIGN_CALLS,
  ...DIGEST_CALLS,
  ...OTHER_CALLS,
};
