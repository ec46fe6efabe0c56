import { StoredAccessKeys, type AccessKeyPair } from '../iam/access-keys.js';
import { AnyKeys, CallerKeys } from '../iam/caller-keys.js';
import { Directory } from '../iam/directory.js';
import { Sessions } from '../iam/sessions.js';
import type { Sealer } from '../store/sealed.js';
import type { Store } from '../store/store.js';

export interface CallersOptions {
  readonly store: Store;
  readonly sealer: Sealer;
  /** whose root has an access key from the start */
  readonly account: string;
  /** the root's, if the configuration names one */
  readonly accessKey: AccessKeyPair | undefined;
  /** `any`: an access key that is not known speaks for a root, and its signature is not checked */
  readonly auth: 'verify' | 'any';
  /** wire time in milliseconds since 1970 */
  readonly wire: () => number;
}

/** Who may come in by a signature, and what accounts say of them. */
export class Callers implements AsyncDisposable {
  readonly keys: CallerKeys;
  readonly directory: Directory;
  readonly sessions: Sessions;
  readonly takesAny: boolean;
  readonly wire: () => number;

  private constructor(directory: Directory, { sealer, account, auth, wire }: CallersOptions) {
    this.directory = directory;
    this.takesAny = auth === 'any';
    this.wire = wire;
    this.sessions = new Sessions({ sealer, wire, idOf: (principal) => directory.idOf(principal) });
    const { keys } = directory;
    this.keys = this.takesAny
      ? new AnyKeys(keys, this.sessions, account)
      : new CallerKeys(keys, this.sessions);
  }

  /** @throws StoreClosed, StoreFailed */
  static async open(options: CallersOptions): Promise<Callers> {
    const { store, sealer, account, accessKey: configured } = options;
    const keys = await StoredAccessKeys.open({ store, sealer, account, configured });
    try {
      return new Callers(await Directory.open(store, keys), options);
    } catch (error) {
      await keys[Symbol.asyncDispose]();
      throw error;
    }
  }

  rootAccessKey(): AccessKeyPair {
    return this.directory.keys.root();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.directory[Symbol.asyncDispose]();
    await this.directory.keys[Symbol.asyncDispose]();
  }
}
