import { CKF, CKR } from '../../core/pkcs11.js';
import { LIMITS } from '../../core/limits.js';
import { P11_HANDSHAKE } from '../../protocol/p11-calls.js';
import type { Application } from './application.js';
import { fail } from './failure.js';
import type { Handlers } from './handlers.js';

const CRYPTOKI = { major: 2, minor: 40 } as const;
const MANUFACTURER = 'Keyspan';
/** of a slot: a token is present, and it is hardware to whoever uses it (CK_SLOT_INFO) */
const CKF_TOKEN_PRESENT = 1;
/** CK_UNAVAILABLE_INFORMATION */
const UNAVAILABLE = -1;
/** CK_EFFECTIVELY_INFINITE */
const INFINITE = 0;
const TOKEN_FLAGS = CKF.RNG | CKF.LOGIN_REQUIRED | CKF.USER_PIN_INITIALIZED | CKF.TOKEN_INITIALIZED;
/** a password alone, or a name of 31 characters, a colon and a password */
const PIN_BYTES = {
  min: LIMITS.hsm_password_min_chars,
  max: LIMITS.hsm_user_name_max_chars + 1 + LIMITS.hsm_password_max_chars,
} as const;
const DONT_BLOCK = 1;

function versionOf(application: Application): { major: number; minor: number } {
  const [major = 0, minor = 0] = application.options.version.split('.').map(Number);
  return { major, minor };
}

/** Numbers for a caller that has room for so many, or asks for their count. */
export const numbers = (all: readonly number[], room: number): readonly number[] | number =>
  room >= all.length && room > 0 ? all : all.length;

/** Calls about the library, its slots and its tokens. */
export const GENERAL_CALLS: Handlers = {
  C_Initialize: (application, [handshake]) => {
    if (Buffer.from(handshake ?? []).toString('latin1') !== P11_HANDSHAKE) {
      throw fail('ARGUMENTS_BAD');
    }
    if (application.isInitialized) throw fail('CRYPTOKI_ALREADY_INITIALIZED');
    application.isInitialized = true;
    return [];
  },
  C_Finalize: (application) => {
    application.end();
    return [];
  },
  C_GetInfo: (application) => [
    CRYPTOKI,
    MANUFACTURER,
    0,
    'Keyspan PKCS #11 bridge',
    versionOf(application),
  ],
  C_GetSlotList: ({ options }, [, room]) => [
    numbers(
      options.slots().map(({ id }) => id),
      room,
    ),
  ],
  C_GetSlotInfo: (application, [id]) => {
    const { cluster } = application.slot(id);
    const version = versionOf(application);
    return [`Keyspan ${cluster.id}`, MANUFACTURER, CKF_TOKEN_PRESENT, version, version];
  },
  C_GetTokenInfo: (application, [id]) => {
    const { cluster } = application.slot(id);
    const sessions = application.sessionsOf(id);
    const version = versionOf(application);
    const writing = sessions.filter(({ isReadWrite }) => isReadWrite).length;
    return [
      cluster.id,
      MANUFACTURER,
      'Keyspan',
      cluster.id.slice('cluster-'.length).slice(0, 16),
      TOKEN_FLAGS,
      INFINITE,
      sessions.length,
      INFINITE,
      writing,
      PIN_BYTES.max,
      PIN_BYTES.min,
      UNAVAILABLE,
      UNAVAILABLE,
      UNAVAILABLE,
      UNAVAILABLE,
      version,
      version,
      '',
    ];
  },
  C_GetMechanismList: (application, [id, room]) => {
    application.slot(id);
    return [
      numbers(
        application.mechanisms.map(({ type }) => type),
        room,
      ),
    ];
  },
  C_GetMechanismInfo: (application, [id, type]) => {
    application.slot(id);
    const facts = application.mechanisms.find((one) => one.type === type);
    if (!facts) throw fail('MECHANISM_INVALID');
    return [facts.min, facts.max, facts.flags];
  },
  C_WaitForSlotEvent: async (application, [flags]) => {
    if ((flags & DONT_BLOCK) !== 0) throw fail('NO_EVENT');
    await new Promise<void>((resolve) => application.waiting.add(resolve));
    throw fail('CRYPTOKI_NOT_INITIALIZED');
  },
};

export const isFine = (rv: number): boolean => rv === CKR.OK;
