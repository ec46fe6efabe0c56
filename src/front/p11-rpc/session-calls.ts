import { changePassword } from '../../cluster/user-changes.js';
import { KeyspanError } from '../../core/errors.js';
import { LIMITS } from '../../core/limits.js';
import { CKF, CKU } from '../../core/pkcs11.js';
import type { Application } from './application.js';
import { fail, inTermsOf } from './failure.js';
import type { Handlers } from './handlers.js';
import type { P11Session } from './session.js';
import type { P11User } from './token-view.js';

interface Pin {
  readonly username: string;
  readonly password: string;
}

/**
 * A PIN is `user:password`, as CloudHSM's is. @throws P11Failure PIN_INCORRECT for one that names
 * nobody, PIN_LEN_RANGE
 */
function readPin(pin: Uint8Array | null, defaultUser?: string): Pin {
  // a protected authentication path is what no HSM of ours has
  if (pin === null) throw fail('ARGUMENTS_BAD');
  const max = LIMITS.hsm_user_name_max_chars + 1 + LIMITS.hsm_password_max_chars;
  if (pin.length === 0 || pin.length > max) throw fail('PIN_LEN_RANGE');
  const text = Buffer.from(pin.buffer, pin.byteOffset, pin.length).toString('utf8');
  const at = text.indexOf(':');
  if (at > 0) return { username: text.slice(0, at).toLowerCase(), password: text.slice(at + 1) };
  if (defaultUser === undefined || at === 0) throw fail('PIN_INCORRECT');
  return { username: defaultUser.toLowerCase(), password: text };
}

/** Whose a PIN is that names nobody. */
function defaultUser(application: Application, handle: number): string | undefined {
  return application.options.defaultUser(application.session(handle).view.cluster);
}

const ROLES = { user: 'crypto-user', so: 'admin' } as const;

async function login(
  application: Application,
  session: P11Session,
  user: P11User,
  { username, password }: Pin,
): Promise<void> {
  const { view } = session;
  const { cluster } = view;
  const { events } = application.options;
  const event = { cluster: cluster.id, user: username, role: ROLES[user] };
  try {
    const opened = await cluster.login(username, password);
    if (opened.role !== ROLES[user]) {
      cluster.logout(opened);
      throw fail('PIN_INCORRECT');
    }
    // the application may have gone, or logged in by another session, while the HSMs looked
    if (application.sessions.get(session.handle) !== session || view.user) {
      cluster.logout(opened);
      throw fail(view.user ? 'USER_ALREADY_LOGGED_IN' : 'SESSION_CLOSED');
    }
    view.loggedIn(user, opened);
    events.loginEvent(event);
  } catch (error) {
    const code = error instanceof KeyspanError ? error.code : 'HsmCredentialsRefused';
    events.loginEvent({ ...event, code });
    throw error;
  }
}

/** Calls about sessions and who logged in. */
export const SESSION_CALLS: Handlers = {
  C_OpenSession: (application, [id, flags]) => {
    const slot = application.slot(id);
    if ((flags & CKF.SERIAL_SESSION) === 0) throw fail('SESSION_PARALLEL_NOT_SUPPORTED');
    const isReadWrite = (flags & CKF.RW_SESSION) !== 0;
    if (!isReadWrite && application.view(slot).user === 'so') {
      throw fail('SESSION_READ_WRITE_SO_EXISTS');
    }
    return [application.open(slot, isReadWrite).handle];
  },
  C_CloseSession: (application, [handle]) => {
    application.close(application.session(handle));
    return [];
  },
  C_CloseAllSessions: (application, [id]) => {
    application.slot(id);
    for (const session of application.sessionsOf(id)) application.close(session);
    return [];
  },
  C_GetSessionInfo: (application, [handle]) => {
    const session = application.session(handle);
    return [session.slot, session.state, session.flags, 0];
  },
  C_Login: async (application, [handle, userType, pin]) => {
    await logIn(application, handle, userType, () =>
      readPin(pin, defaultUser(application, handle)),
    );
    return [];
  },
  C_LoginUser: async (application, [handle, userType, pin, name]) => {
    await logIn(application, handle, userType, () => {
      const username = Buffer.from(name ?? []).toString('utf8');
      if (username === '') return readPin(pin, defaultUser(application, handle));
      return readPin(Buffer.concat([Buffer.from(`${username}:`), pin ?? EMPTY]));
    });
    return [];
  },
  C_Logout: (application, [handle]) => {
    const { view, slot } = application.session(handle);
    if (!view.user) throw fail('USER_NOT_LOGGED_IN');
    for (const session of application.sessionsOf(slot)) session.cancel();
    view.logout();
    return [];
  },
  C_SetPIN: async (application, [handle, before, after]) => {
    const session = application.session(handle);
    const { view, slot: id } = session;
    if (!session.isReadWrite) throw fail('SESSION_READ_ONLY');
    if (!view.user) throw fail('USER_NOT_LOGGED_IN');
    const { username } = view.session;
    const old = readPin(before, username);
    const next = readPin(after, username);
    if (old.username !== username || next.username !== username) throw fail('PIN_INCORRECT');
    // the old one is proved by a login of its own
    view.cluster.logout(await view.cluster.login(username, old.password));
    const fields = { username, role: ROLES[view.user], password: next.password };
    await inTermsOf(
      { HsmBadFrame: 'PIN_LEN_RANGE', ValidationException: 'PIN_LEN_RANGE' },
      changePassword(view.session, fields),
    );
    await application.options.passwordChanged(application.slot(id), username, next.password);
    return [];
  },
};

const EMPTY = new Uint8Array(0);

async function logIn(
  application: Application,
  handle: number,
  userType: number,
  read: () => Pin,
): Promise<void> {
  const session = application.session(handle);
  const { view } = session;
  if (userType === CKU.CONTEXT_SPECIFIC) throw fail('OPERATION_NOT_INITIALIZED');
  if (userType !== CKU.USER && userType !== CKU.SO) throw fail('USER_TYPE_INVALID');
  const user: P11User = userType === CKU.SO ? 'so' : 'user';
  if (view.user === user) throw fail('USER_ALREADY_LOGGED_IN');
  if (view.user) throw fail('USER_ANOTHER_ALREADY_LOGGED_IN');
  const reading = application.sessionsOf(session.slot).some(({ isReadWrite }) => !isReadWrite);
  if (user === 'so' && reading) throw fail('SESSION_READ_ONLY_EXISTS');
  await login(application, session, user, read());
}
