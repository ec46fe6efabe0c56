import { statfsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { assert } from '../core/assert.js';
import { asBuffer } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { CKF, CKR, CKU } from '../core/pkcs11.js';
import { attempt, ckrOf, tokenError } from './ckr.js';
import { loadCryptoki, type Cryptoki, type Handle } from './cryptoki.js';
import { GCM_IV_BYTES } from './mechanism.js';
import { SessionPool } from './session-pool.js';
import { countTokens, hasRoom, type ModuleProfile } from './softhsm.js';

export type { Handle } from './cryptoki.js';

export interface TokenOptions {
  readonly profile: ModuleProfile;
  /** a directory that `prepareTokenDirectory` made */
  readonly directory: string;
}

export interface TokenInfo {
  /** whether there is an initialised token */
  readonly initialized: boolean;
  /** 16 hex digits, empty when there is no initialised token */
  readonly serial: string;
  readonly label: string;
}

/** What the module says of its device. */
export interface DeviceInfo {
  readonly vendor: string;
  readonly model: string;
  readonly hardware: { readonly major: number; readonly minor: number };
  readonly firmware: { readonly major: number; readonly minor: number };
}

/** CK_TOKEN_INFO's label is 32 bytes padded with blanks; the module reads all of them. */
const LABEL_BYTES = 32;
const IV_BLOCK_BYTES = 256 * GCM_IV_BYTES;
const CKS_RW_USER_FUNCTIONS = 3;

/**
 * One token of the one PKCS#11 module of this process. Handles and the login belong to the process,
 * so a second Token attached in another thread shares them; each has sessions of its own.
 *
 * Session objects are made in the anchor session, which stays open until the Token is disposed, and
 * vanish with it.
 */
export class Token implements Disposable {
  readonly profile: ModuleProfile;
  readonly cryptoki: Cryptoki;
  /** sessions for operations; one operation is active in each at most */
  readonly sessions: SessionPool;
  readonly #directory: string;
  /** whether this Token initialised the module and so ends it */
  readonly #owner: boolean;
  #slot: Handle | undefined;
  #anchor: Handle | undefined;
  #ivBlock: Buffer = Buffer.alloc(0);
  /** the next unused byte of #ivBlock */
  #ivNext = 0;

  private constructor(cryptoki: Cryptoki, options: TokenOptions & { owner: boolean }) {
    this.cryptoki = cryptoki;
    this.profile = options.profile;
    this.#directory = options.directory;
    this.#owner = options.owner;
    this.sessions = new SessionPool(cryptoki, () => this.#initializedSlot());
  }

  /**
   * Loads the module on a token's directory and initialises it. From then on the process is bound
   * to this directory until the Token is disposed.
   * @throws KeyspanError KeyspanConfig when the library cannot be loaded, HsmDeviceError
   */
  static open(options: TokenOptions): Token {
    const { variable, file } = options.profile.configuration;
    process.env[variable] = join(resolve(options.directory), file);
    const cryptoki = loadCryptoki(options.profile.library);
    return new Token(cryptoki, { ...options, owner: initialize(cryptoki) });
  }

  /**
   * A Token for another thread of a process that opened the token already. It needs no login, since
   * the process has one; disposing it leaves the module to the thread that opened it.
   * @throws KeyspanError HsmPhase when the module is not initialised in this process
   */
  static attach(options: TokenOptions): Token {
    const cryptoki = loadCryptoki(options.profile.library);
    try {
      cryptoki.C_GetInfo();
    } catch (error) {
      if (ckrOf(error) !== CKR.CRYPTOKI_NOT_INITIALIZED) throw tokenError(error, 'C_GetInfo');
      throw new KeyspanError('HsmPhase', 'no thread of this process has opened the token');
    }
    return new Token(cryptoki, { ...options, owner: false });
  }

  /**
   * What the directory holds.
   * @throws KeyspanError HsmDeviceError when it holds a token that the module does not show: it
   * failed to load, and is not empty
   */
  get info(): TokenInfo {
    const slots = this.#initializedSlots();
    const folders = countTokens(this.#directory);
    if (slots.length !== folders || slots.length > 1) {
      throw new KeyspanError(
        'HsmDeviceError',
        `the module shows ${slots.length} tokens where the directory holds ${folders}`,
      );
    }
    const [slot] = slots;
    if (!slot) return { initialized: false, serial: '', label: '' };
    const info = attempt('C_GetTokenInfo', () => this.cryptoki.C_GetTokenInfo(slot));
    return { initialized: true, serial: info.serialNumber.trim(), label: info.label.trim() };
  }

  /** @throws KeyspanError HsmPhase when there is no initialised token, HsmDeviceError */
  get device(): DeviceInfo {
    const slot = this.#initializedSlot();
    const info = attempt('C_GetTokenInfo', () => this.cryptoki.C_GetTokenInfo(slot));
    return {
      vendor: info.manufacturerID.trim(),
      model: info.model.trim(),
      hardware: info.hardwareVersion,
      firmware: info.firmwareVersion,
    };
  }

  /**
   * Makes the directory's one token.
   * @param o `label`: up to 32 bytes; PINs: printable ASCII, since the binding takes text
   */
  initialize(o: { label: string; soPin: Uint8Array; userPin: Uint8Array }): { serial: string } {
    if (this.info.initialized) throw new KeyspanError('HsmPhase', 'the token is initialised');
    const label = o.label.padEnd(LABEL_BYTES);
    assert(Buffer.byteLength(label) === LABEL_BYTES, 'a token label is up to 32 bytes of ASCII');
    const [empty] = attempt('C_GetSlotList', () => this.cryptoki.C_GetSlotList(true));
    if (!empty) throw new KeyspanError('HsmDeviceError', 'the module shows no slot');
    attempt('C_InitToken', () => this.cryptoki.C_InitToken(empty, pinText(o.soPin), label));
    this.loginOfficer(o.soPin);
    try {
      attempt('C_InitPIN', () => this.cryptoki.C_InitPIN(this.anchor, pinText(o.userPin)));
    } finally {
      this.logout();
    }
    return { serial: this.info.serial };
  }

  /** The session that stays open: it holds the login and owns session objects. */
  get anchor(): Handle {
    this.#anchor ??= attempt('C_OpenSession', () =>
      this.cryptoki.C_OpenSession(this.#initializedSlot(), CKF.SERIAL_SESSION | CKF.RW_SESSION),
    );
    return this.#anchor;
  }

  /** Logs the process in as the token's user. An officer's login is ended first. */
  loginUser(pin: Uint8Array): void {
    this.#login(CKU.USER, pin);
  }

  /**
   * Logs the process in as the token's officer. It ends the user's login: private session
   * objects vanish.
   */
  loginOfficer(pin: Uint8Array): void {
    this.#login(CKU.SO, pin);
  }

  /** Ends the process's login, whoever it is. Private session objects vanish. */
  logout(): void {
    try {
      this.cryptoki.C_Logout(this.anchor);
    } catch (error) {
      if (ckrOf(error) !== CKR.USER_NOT_LOGGED_IN) throw tokenError(error, 'C_Logout');
    }
  }

  /** whether the process is logged in as the token's user */
  get isLoggedIn(): boolean {
    if (this.#initializedSlots().length === 0) return false;
    const info = attempt('C_GetSessionInfo', () => this.cryptoki.C_GetSessionInfo(this.anchor));
    return info.state === CKS_RW_USER_FUNCTIONS;
  }

  /** Random bytes of the token, 1 to LIMITS.hsm_random_max_bytes. */
  random(length: number): Buffer {
    if (!Number.isInteger(length) || length < 1 || length > LIMITS.hsm_random_max_bytes) {
      throw new KeyspanError('HsmBadFrame', 'the number of random bytes is out of range');
    }
    // a small one of memory of its own would outlive its use by far: V8 counts its bytes only
    return this.#fill(Buffer.allocUnsafe(length));
  }

  /**
   * 12 random bytes of the token, each time others. It reads ahead, so it costs next to
   * nothing.
   */
  iv(): Buffer {
    if (this.#ivNext >= this.#ivBlock.length) {
      // a new block each time: IVs that were handed out stay as they are
      this.#ivBlock = this.#fill(Buffer.alloc(IV_BLOCK_BYTES));
      this.#ivNext = 0;
    }
    const start = this.#ivNext;
    this.#ivNext = start + GCM_IV_BYTES;
    return this.#ivBlock.subarray(start, this.#ivNext);
  }

  /**
   * Writes an object to the token. It is looked at before and after that there is room on the disk.
   * @throws KeyspanError HsmDeviceError when there is too little to be sure that the object is
   * whole
   */
  write(make: () => Handle): Handle {
    this.#needRoom();
    const made = make();
    try {
      this.#needRoom();
    } catch (error) {
      this.destroy(made);
      throw error;
    }
    return made;
  }

  #needRoom(): void {
    if (hasRoom(statfsSync(this.#directory))) return;
    throw new KeyspanError('HsmDeviceError', 'the disk of the token is full');
  }

  /** Destroys an object of the token or of a session. */
  destroy(handle: Handle): void {
    attempt('C_DestroyObject', () => this.cryptoki.C_DestroyObject(this.anchor, asBuffer(handle)));
  }

  /** Closes this Token's sessions; the Token that opened the module ends it, for all threads. */
  [Symbol.dispose](): void {
    this.sessions.close();
    const anchor = this.#anchor;
    this.#anchor = undefined;
    if (anchor) attempt('C_CloseSession', () => this.cryptoki.C_CloseSession(anchor));
    if (this.#owner) attempt('C_Finalize', () => this.cryptoki.C_Finalize());
  }

  #fill(bytes: Buffer): Buffer {
    return attempt('C_GenerateRandom', () => this.cryptoki.C_GenerateRandom(this.anchor, bytes));
  }

  #login(user: number, pin: Uint8Array): void {
    const login = (): void => this.cryptoki.C_Login(this.anchor, user, pinText(pin));
    try {
      login();
    } catch (error) {
      const ckr = ckrOf(error);
      if (ckr === CKR.USER_ALREADY_LOGGED_IN) return;
      if (ckr !== CKR.USER_ANOTHER_ALREADY_LOGGED_IN) throw tokenError(error, 'C_Login');
      this.logout();
      attempt('C_Login', login);
    }
  }

  #initializedSlot(): Handle {
    this.#slot ??= this.#initializedSlots()[0];
    if (!this.#slot) throw new KeyspanError('HsmPhase', 'the token is not initialised');
    return this.#slot;
  }

  #initializedSlots(): Handle[] {
    return attempt('C_GetSlotList', () =>
      this.cryptoki
        .C_GetSlotList(true)
        .filter((slot) => this.cryptoki.C_GetTokenInfo(slot).flags & CKF.TOKEN_INITIALIZED),
    );
  }
}

/** @returns whether this call initialised the module: another thread may have done so before */
function initialize(cryptoki: Cryptoki): boolean {
  try {
    // without the flag SoftHSM has no locks, and threads crash it
    cryptoki.C_Initialize({ flags: CKF.OS_LOCKING_OK });
    return true;
  } catch (error) {
    if (ckrOf(error) === CKR.CRYPTOKI_ALREADY_INITIALIZED) return false;
    throw tokenError(error, 'C_Initialize');
  }
}

function pinText(pin: Uint8Array): string {
  const text = asBuffer(pin).toString('latin1');
  assert(/^[\x20-\x7e]{4,255}$/.test(text), 'a PIN is 4 to 255 printable ASCII characters');
  return text;
}
