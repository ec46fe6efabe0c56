import { rmSync } from 'node:fs';
import { openStore } from '../store/open.js';
import { loadInstallationKey, type InstallationKey } from '../store/sealed.js';
import type { Store } from '../store/store.js';
import type { DaemonConfig } from './config.js';
import type { Seed } from './seed-file.js';
import { prepareHome, removeHome } from './installation.js';

/** What a daemon has of its home before anything runs, or why it has not, with how to let it go. */
export interface OpenedHome {
  readonly parts:
    | { readonly key: InstallationKey; readonly store: Store; readonly seed: Seed | undefined }
    | { readonly error: unknown };
  /** in the order of their making */
  readonly cleanup: readonly (() => PromiseLike<void> | void)[];
}

/**
 * Makes the home ready and opens what is in it. It needs little code and waits for the disk and for
 * the store's thread: the daemon loads the rest meanwhile. It never rejects.
 */
export async function openHome(config: DaemonConfig): Promise<OpenedHome> {
  const cleanup: (() => PromiseLike<void> | void)[] = [];
  try {
    await prepareHome(config);
    if (config.ephemeral) cleanup.push(() => removeHome(config.home));
    // before anything is made for a seed that cannot be used
    const seed = config.seed === undefined ? undefined : await readSeedOf(config.seed);
    return { parts: { ...(await open(config, cleanup)), seed }, cleanup };
  } catch (error) {
    return { parts: { error }, cleanup };
  }
}

/** Few starts have one: what reads it is loaded when it is needed. */
const readSeedOf = async (path: string): Promise<Seed> =>
  (await import('./seed-file.js')).readSeed(path);

/** The key and the store at once; the store is let go also when the key cannot be had. */
async function open(
  { home, ephemeral }: DaemonConfig,
  cleanup: (() => PromiseLike<void> | void)[],
): Promise<{ key: InstallationKey; store: Store }> {
  const passphrase = process.env['KEYSPAN_PASSPHRASE'];
  const [key, store] = await Promise.allSettled([
    loadInstallationKey({ path: home.installationKey, passphrase }),
    openStore(ephemeral ? { kind: 'memory' } : { kind: 'sqlite', directory: home.store }),
  ]);
  if (store.status === 'fulfilled') {
    cleanup.push(() => store.value[Symbol.asyncDispose]());
    // only who owns the store may remove the sockets
    cleanup.push(() => rmSync(home.runtime, { recursive: true, force: true }));
  }
  if (store.status === 'rejected') throw store.reason;
  if (key.status === 'rejected') throw key.reason;
  return { key: key.value, store: store.value };
}
