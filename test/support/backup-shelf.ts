import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import { Backups } from '../../src/cluster/backups.js';
import { makeAuthority } from '../../src/cluster/certificates.js';
import { Secrets } from '../../src/cluster/secrets.js';
import { joinParts } from '../../src/core/commit.js';
import { findHome, type Home } from '../../src/core/home.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import { temporaryDirectory } from './temporary-directory.js';

export interface Shelf {
  readonly backups: Backups;
  readonly store: MemoryStore;
  readonly secrets: Secrets;
  readonly home: Home;
  /** civil time */
  readonly clock: { nowMs: number };
  /** as a daemon does when it starts again */
  readonly reopened: () => Promise<Backups>;
}

/** The backups of an installation of their own, with its hardware, and without HSMs. */
export async function newShelf(): Promise<Shelf> {
  const store = new MemoryStore();
  const sealer = new Sealer(new InstallationKey(randomBytes(32)));
  const secrets = new Secrets(store, sealer);
  const manufacturer = await makeAuthority('manufacturer');
  const hardware = await makeAuthority('hardware', manufacturer);
  const authorities = Object.entries({ manufacturer, hardware });
  await store.commit(joinParts(...authorities.map(([name, of]) => secrets.newAuthority(name, of))));
  const home = findHome(temporaryDirectory());
  mkdirSync(home.backups, { recursive: true });
  const clock = { nowMs: Date.UTC(2026, 0) };
  const reopened = async (): Promise<Backups> => {
    const backups = await Backups.open({
      home,
      store,
      secrets,
      sealer,
      civil: () => clock.nowMs,
    });
    onTestFinished(() => backups[Symbol.asyncDispose]());
    return backups;
  };
  return { backups: await reopened(), store, secrets, home, clock, reopened };
}
