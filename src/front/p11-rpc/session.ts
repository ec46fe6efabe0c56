import { CKF } from '../../core/pkcs11.js';
import type { CipherOperation } from './cipher-operation.js';
import type { DigestOperation } from './digest-operation.js';
import { fail } from './failure.js';
import type { SignOperation } from './sign-operation.js';
import type { TokenView } from './token-view.js';

/** States of a session (PKCS #11 2.40, 3.3: CK_SESSION_INFO). */
const CKS = { RO_PUBLIC: 0, RO_USER: 1, RW_PUBLIC: 2, RW_USER: 3, RW_SO: 4 } as const;

/** What a session has begun and not ended: at most one of each kind. */
export interface Operations {
  encrypt?: CipherOperation | undefined;
  decrypt?: CipherOperation | undefined;
  digest?: DigestOperation | undefined;
  sign?: SignOperation | undefined;
  verify?: SignOperation | undefined;
  /** handles that C_FindObjects has not told yet */
  find?: { readonly handles: readonly number[]; at: number } | undefined;
}

/** One session of an application. */
export class P11Session {
  readonly handle: number;
  readonly slot: number;
  readonly view: TokenView;
  readonly isReadWrite: boolean;
  readonly operations: Operations = {};
  /** calls wait for the one before them */
  tail: Promise<void> | undefined;

  constructor(given: { handle: number; slot: number; view: TokenView; isReadWrite: boolean }) {
    this.handle = given.handle;
    this.slot = given.slot;
    this.view = given.view;
    this.isReadWrite = given.isReadWrite;
  }

  get state(): number {
    const { user } = this.view;
    if (user === 'so') return CKS.RW_SO;
    if (this.isReadWrite) return user ? CKS.RW_USER : CKS.RW_PUBLIC;
    return user ? CKS.RO_USER : CKS.RO_PUBLIC;
  }

  get flags(): number {
    return CKF.SERIAL_SESSION | (this.isReadWrite ? CKF.RW_SESSION : 0);
  }

  /** @throws P11Failure OPERATION_NOT_INITIALIZED */
  begun<K extends keyof Operations>(kind: K): NonNullable<Operations[K]> {
    const operation = this.operations[kind];
    if (!operation) throw fail('OPERATION_NOT_INITIALIZED');
    return operation;
  }

  /** Ends what has begun, all of it. */
  cancel(): void {
    for (const kind of Object.keys(this.operations) as (keyof Operations)[]) this.end(kind);
  }

  end(kind: keyof Operations): void {
    const operation = this.operations[kind];
    if (!operation) return;
    this.operations[kind] = undefined;
    if ('close' in operation) operation.close();
  }
}
