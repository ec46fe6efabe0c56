import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';

/** Modules that are compiled when they are installed. */
const NATIVE = ['better-sqlite3', 'pkcs11js'];
const INSTALL_MS = 600_000;

let folder: string;
let project: string;
let home: string;
/** why the package could not be installed here, when it is the network's fault */
let unreachable: string | undefined;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, args: string[], cwd: string): Promise<Outcome> {
  const env: NodeJS.ProcessEnv = { ...process.env, KEYSPAN_HOME: home };
  // what an outer npm tells its scripts is not meant for the one that is started here
  for (const name of Object.keys(env)) {
    if (/^npm_(?!config_(registry|cache|offline|nodedir))/i.test(name)) delete env[name];
  }
  return new Promise((resolve) => {
    const options = { cwd, env, maxBuffer: 16 << 20 };
    execFile(command, args, options, (error, stdout, stderr) => {
      const { code = -1 } = (error ?? { code: 0 }) as { code?: unknown };
      resolve({ code: typeof code === 'number' ? code : -1, stdout, stderr });
    });
  });
}

const keyspan = (...args: string[]): Promise<Outcome> =>
  run('npx', ['--no', 'keyspan', ...args], project);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyspan-package-'));
  project = mkdtempSync(join(folder, 'project-'));
  home = join(folder, 'home');
  writeFileSync(join(project, 'package.json'), '{"name":"somebody","private":true}\n');
  // the other tests run what is compiled already: it must not be written anew under them
  const pack = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder];
  const packed = await run('npm', pack, packageFile('.'));
  expect(packed, packed.stderr).toMatchObject({ code: 0 });
  const tarball = join(folder, packed.stdout.trim().split('\n').at(-1) ?? '');
  expect(existsSync(tarball)).toBe(true);
  // native modules compile for a minute and a half: those of this checkout are the same
  const install = [
    'install',
    '--prefer-offline',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    tarball,
  ];
  const installed = await run('npm', install, project);
  if (installed.code === 0) {
    for (const name of NATIVE) {
      const [from, to] = [packageFile('.'), project].map((root) =>
        join(root, 'node_modules', name, 'build'),
      );
      cpSync(from ?? '', to ?? '', { recursive: true });
    }
    return;
  }
  if (!/E(NOTFOUND|CONNREFUSED|AI_AGAIN|NOTCACHED|TIMEDOUT)/.test(installed.stderr)) {
    expect.unreachable(installed.stderr);
  }
  unreachable = 'the registry cannot be reached';
}, INSTALL_MS);

afterAll(async () => {
  if (existsSync(home)) await keyspan('down', '--delete', '--yes');
  rmSync(folder, { recursive: true, force: true });
}, INSTALL_MS);

describe('the package, installed into an empty folder', () => {
  test('holds what it needs to run, and nothing of its making', ({ skip }) => {
    skip(unreachable !== undefined, unreachable);
    const root = join(project, 'node_modules', 'keyspan');
    expect(readdirSync(root).sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'dist',
      'docs',
      'native-config',
      'package.json',
      'softhsm',
    ]);
  });

  test(
    'runs a cluster with one command',
    async ({ skip }) => {
      skip(unreachable !== undefined, unreachable);
      const up = await keyspan('up', '--ephemeral', '--detach', '--json');
      expect(up, up.stderr).toMatchObject({ code: 0 });
      expect(JSON.parse(up.stdout)).toMatchObject({ state: 'READY', ephemeral: true });
      const random = await keyspan('call', 'GenerateRandom', '{"NumberOfBytes":32}');
      expect(random, random.stderr).toMatchObject({ code: 0 });
      const { Plaintext } = JSON.parse(random.stdout) as { Plaintext: string };
      expect(Buffer.from(Plaintext, 'base64')).toHaveLength(32);
      const down = await keyspan('down');
      expect(down, down.stderr).toMatchObject({ code: 0 });
      expect(existsSync(home) ? readdirSync(home) : []).toEqual([]);
    },
    INSTALL_MS,
  );

  test(
    'gives programs the client library',
    async ({ skip }) => {
      skip(unreachable !== undefined, unreachable);
      const program = `
      import { KeyspanClient, KeyspanError } from 'keyspan';
      const refused = await KeyspanClient.connect({ endpoints: [] }).catch((error) => error);
      process.stdout.write(String(refused instanceof KeyspanError));
    `;
      const args = ['--input-type=module', '--eval', program];
      const outcome = await run(process.execPath, args, project);
      expect(outcome).toMatchObject({ code: 0, stdout: 'true' });
    },
    INSTALL_MS,
  );
});
