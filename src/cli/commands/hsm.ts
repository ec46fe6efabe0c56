import { findHome } from '../../core/home.js';
import type { AdminAction, InstallationStatus } from '../../protocol/admin.js';
import { callAdmin, callPatiently } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import type { SharedOptions } from '../global-options.js';
import { hsmTable } from '../status-text.js';

const ACTIONS = {
  start: 'HsmStart',
  stop: 'HsmStop',
  kill: 'HsmKill',
  crash: 'HsmCrash',
  pause: 'HsmPause',
  resume: 'HsmResume',
  replace: 'HsmReplace',
  wipe: 'HsmWipe',
} as const satisfies Record<string, AdminAction>;

export type HsmVerb = keyof typeof ACTIONS;

export async function listHsms(options: SharedOptions): Promise<number> {
  const status: InstallationStatus = await callAdmin(findHome(options.home), 'Status');
  const all = [...(status.cluster ? [status.cluster] : []), ...status.clusters];
  const hsms = all.flatMap((cluster) => cluster.hsms);
  if (options.json) printJson(hsms);
  else print(hsmTable(hsms));
  return EXIT.ok;
}

export async function changeHsm(
  options: SharedOptions & { readonly verb: HsmVerb; readonly id: string },
): Promise<number> {
  const params = { id: options.id };
  const hsm = await callPatiently(findHome(options.home), ACTIONS[options.verb], params);
  if (options.json) printJson(hsm);
  else print(`${hsm.id} is ${hsm.state}`);
  return EXIT.ok;
}

export async function addHsm(options: SharedOptions & { readonly az?: string }): Promise<number> {
  const params = options.az === undefined ? {} : { az: options.az };
  const hsm = await callPatiently(findHome(options.home), 'HsmAdd', params);
  if (options.json) printJson(hsm);
  else print(`${hsm.id} is ${hsm.state} at ${hsm.eniIp}`);
  return EXIT.ok;
}

export async function removeHsm(options: SharedOptions & { readonly id: string }): Promise<number> {
  const home = findHome(options.home);
  const removed = await callPatiently(home, 'HsmRemove', { id: options.id });
  if (options.json) printJson(removed);
  else print(`${removed.id} has left the cluster`);
  return EXIT.ok;
}
