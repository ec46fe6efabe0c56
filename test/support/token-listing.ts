import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { Secrets } from '../../src/cluster/secrets.js';
import type { Home } from '../../src/core/home.js';
import type { ClusterId, HsmId } from '../../src/core/ids.js';
import { openStore } from '../../src/store/open.js';
import { loadInstallationKey, Sealer } from '../../src/store/sealed.js';
import { loadModuleProfile } from '../../src/token/softhsm.js';

/** A line of pkcs11-tool's list; an id is the record that rides in CKA_ID, or a text of ours. */
const ID = /^ {2}ID: +([0-9a-f]+)$/gm;
const HSM_KEY_ID = /bidx ([0-9a-f]{32})/;

/**
 * What OpenSC's pkcs11-tool finds on the tokens of a home whose daemon is down, by the HSMs: the
 * ids of the HSM keys, in their order.
 */
export async function listTokens(
  home: Home,
  cluster: string,
  hsms: readonly string[],
): Promise<Record<string, string[]>> {
  const key = await loadInstallationKey({ path: home.installationKey, passphrase: undefined });
  await using store = await openStore({ kind: 'sqlite', directory: home.store });
  const secrets = new Secrets(store, new Sealer(key));
  const found: Record<string, string[]> = {};
  for (const hsm of hsms) {
    const { userPin } = await secrets.pins(cluster as ClusterId, hsm as HsmId);
    found[hsm] = listToken(join(home.hsms, hsm), userPin.toString());
  }
  return found;
}

function listToken(directory: string, pin: string): string[] {
  const { library, configuration } = loadModuleProfile();
  const args = ['--module', library, '--login', '--pin', pin, '--list-objects'];
  const env = { ...process.env, [configuration.variable]: join(directory, configuration.file) };
  const run = spawnSync('pkcs11-tool', [...args, '--type', 'secrkey'], { env, encoding: 'utf8' });
  if (run.status !== 0) throw run.error ?? new Error(run.stderr);
  const records = [...run.stdout.matchAll(ID)].map(([, hex = '']) => Buffer.from(hex, 'hex'));
  return records.flatMap((record) => HSM_KEY_ID.exec(record.toString('latin1'))?.[1] ?? []).sort();
}
