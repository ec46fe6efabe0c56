import { accessSync, constants, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { packageFile } from '../../core/entry.js';
import { KeyspanError } from '../../core/errors.js';
import { findHome } from '../../core/home.js';
import { awsEnvironment, runChild } from '../child.js';
import type { SharedOptions } from '../global-options.js';
import { note } from '../output.js';

const NEEDED = ['bash', 'aws', 'openssl', 'curl'];

export interface CeremonyOptions extends SharedOptions {
  /** where keys, certificates and requests are written; the working directory unless given */
  readonly folder?: string;
}

/**
 * Walks the initialization ceremony of AWS's documentation on a new cluster: each command is shown
 * as it is typed against AWS, and done. openssl asks its own questions.
 * @throws KeyspanError KeyspanConfig when a program is missing
 */
export async function rehearse(options: CeremonyOptions): Promise<number> {
  const path = process.env['PATH'] ?? '';
  const lacking = NEEDED.filter((program) => !isOnPath(program, path));
  if (lacking.length > 0) {
    throw new KeyspanError('KeyspanConfig', `The ceremony needs ${lacking.join(', ')}.`);
  }
  const { env } = await awsEnvironment(options);
  const folder = resolve(options.folder ?? '.');
  mkdirSync(folder, { recursive: true });
  note(`Keys and certificates are written to ${folder}.`);
  const programs = mkdtempSync(join(tmpdir(), 'keyspan-programs-'));
  try {
    symlinkSync(packageFile('dist/cli/cloudhsm-cli.cjs'), join(programs, 'cloudhsm-cli'));
    return await runChild('bash', [packageFile('docs/ceremony.sh')], {
      cwd: folder,
      env: {
        ...env,
        SHOW: 'yes',
        KEYSPAN_HOME: findHome(options.home).root,
        PATH: `${programs}${delimiter}${path}`,
      },
      missing: 'bash could not be run.',
    });
  } finally {
    rmSync(programs, { recursive: true, force: true });
  }
}

function isOnPath(program: string, path: string): boolean {
  return path.split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
