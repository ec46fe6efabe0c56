import { readFileSync, writeFileSync } from 'node:fs';
import { packageFile } from '../../core/entry.js';
import { findHome } from '../../core/home.js';
import { callAdmin } from '../admin-client.js';
import type { SharedOptions } from '../global-options.js';
import { EXIT, print, printJson } from '../output.js';
import { examine } from '../pkcs11-doctor.js';
import { addressOf, clientModule } from '../pkcs11-module.js';
import { pipeApplication, type RemoteOptions } from '../pkcs11-stdio.js';
import { formatVariables, pkcs11Variables } from './env.js';

/** The files of native-config that `pkcs11 config` fills in. */
export const TOOLS = {
  'p11-kit': 'p11-kit.module',
  'openssl-engine': 'openssl-engine.cnf',
  'openssl-provider': 'openssl-provider.cnf',
  java: 'java.cfg',
  nss: 'nss.txt',
  openssh: 'openssh.txt',
  gnutls: 'gnutls.txt',
} as const;
export type Tool = keyof typeof TOOLS;

export async function pkcs11Env(
  options: SharedOptions & { readonly github?: boolean },
): Promise<number> {
  const home = findHome(options.home);
  const credentials = await callAdmin(home, 'Credentials');
  const variables = {
    ...pkcs11Variables(home, credentials),
    KEYSPAN_PKCS11_MODULE: clientModule(),
  };
  if (options.json) printJson(variables);
  else print(formatVariables(variables, options.github ? 'github' : 'shell'));
  return EXIT.ok;
}

export async function pkcs11Config(
  tool: Tool,
  options: SharedOptions & { readonly out?: string },
): Promise<number> {
  const home = findHome(options.home);
  const template = readFileSync(packageFile(`native-config/pkcs11/${TOOLS[tool]}`), 'utf8');
  const text = template
    .replaceAll('@ADDRESS@', () => addressOf(home.pkcs11Socket))
    // a template that names no module needs none
    .replaceAll('@MODULE@', () => clientModule());
  if (options.out === undefined) print(text.trimEnd());
  else writeFileSync(options.out, text, { mode: 0o644 });
  return EXIT.ok;
}

export async function pkcs11Doctor(options: SharedOptions): Promise<number> {
  const findings = await examine(findHome(options.home), process.env);
  if (options.json) printJson({ findings });
  else {
    for (const { what, isFine, advice } of findings) {
      print(`${isFine ? 'ok     ' : 'WRONG  '} ${what}`);
      if (advice !== undefined) print(`        ${advice}`);
    }
  }
  return findings.every(({ isFine }) => isFine) ? EXIT.ok : 1;
}

export async function pkcs11Stdio(options: SharedOptions & RemoteOptions): Promise<number> {
  await pipeApplication(findHome(options.home).pkcs11Socket, options);
  return EXIT.ok;
}
