import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findHome } from '../../core/home.js';
import { callAdmin } from '../admin-client.js';
import { EXIT, print, printJson } from '../output.js';
import type { SharedOptions } from '../global-options.js';

/** Makes a client certificate; without `out` it is printed, key first. */
export async function issueCertificate(
  options: SharedOptions & {
    readonly principal: string;
    readonly out?: string;
    readonly days?: number;
  },
): Promise<number> {
  const { principal, days } = options;
  const params = days === undefined ? { principal } : { principal, days };
  const issued = await callAdmin(findHome(options.home), 'IssueCertificate', params);
  if (options.out === undefined) {
    if (options.json) printJson(issued);
    else print(`${issued.privateKey.trim()}\n${issued.certificate.trim()}`);
    return EXIT.ok;
  }
  await mkdir(options.out, { recursive: true });
  const files = {
    certificate: join(options.out, 'client.crt'),
    privateKey: join(options.out, 'client.key'),
    serverCa: join(options.out, 'customerCA.crt'),
  };
  await replaceFile(files.privateKey, issued.privateKey, 0o600);
  await replaceFile(files.certificate, issued.certificate, 0o644);
  await replaceFile(files.serverCa, issued.serverCa, 0o644);
  if (options.json) printJson(files);
  else print(Object.values(files).join('\n'));
  return EXIT.ok;
}

/** A file that was there keeps its mode when it is written to; a new one has ours. */
async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  await rm(path, { force: true });
  await writeFile(path, text, { mode, flag: 'wx' });
}
