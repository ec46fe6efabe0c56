import { findHome } from '../../core/home.js';
import type { AdminAction } from '../../protocol/admin.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import type { SharedOptions } from '../shared-options.js';
import { hsmTable } from '../status-text.js';

const ACTIONS = {
  start: 'HsmStart',
  stop: 'HsmStop',
  kill: 'HsmKill',
  crash: 'HsmCrash',
  pause: 'HsmPause',
  resume: 'HsmResume',
} as const satisfies Record<string, AdminAction>;

export type HsmVerb = keyof typeof ACTIONS;

export async function listHsms(options: SharedOptions): Promise<number> {
  const { hsms } = (await callAdmin(findHome(options.home), 'Status')).cluster;
  if (options.json) printJson(hsms);
  else print(hsmTable(hsms));
  return EXIT.ok;
}

export async function changeHsm(
  options: SharedOptions & { readonly verb: HsmVerb; readonly id: string },
): Promise<number> {
  const params = { id: options.id };
  const hsm = await callAdmin(findHome(options.home), ACTIONS[options.verb], params);
  if (options.json) printJson(hsm);
  else print(`${hsm.id} is ${hsm.state}`);
  return EXIT.ok;
}
