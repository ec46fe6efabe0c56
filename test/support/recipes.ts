import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageFile } from '../../src/core/entry.js';

/** The code blocks of a page, by the headings that they stand under. */
export function blocksOf(page: string, language: string): ReadonlyMap<string, string[]> {
  const blocks = new Map<string, string[]>();
  let heading = '';
  let block: string[] | undefined;
  let isWanted = false;
  for (const line of readFileSync(packageFile(page), 'utf8').split('\n')) {
    if (block && line === '```') {
      if (isWanted) blocks.set(heading, [...(blocks.get(heading) ?? []), block.join('\n')]);
      block = undefined;
    } else if (block) block.push(line);
    else if (line.startsWith('```')) {
      block = [];
      isWanted = line === `\`\`\`${language}`;
    } else if (line.startsWith('#')) heading = line.replace(/^#+ /, '');
  }
  return blocks;
}

/** Where p11-kit looks for what is of the whole machine; root's applications look nowhere else. */
const HOMES_MODULES = '~/.config/pkcs11/modules';
const MACHINES_MODULES = '/etc/pkcs11/modules';

/** A folder to run recipes in, with `npx keyspan` and its modules as a newcomer has them. */
export class RecipeFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'keyspan-recipe-'));
  readonly #home: string;

  constructor(home: string) {
    this.#home = home;
    const program = packageFile('dist/cli/keyspan.cjs');
    const command = `exec '${process.execPath}' '${program}' "$@"\n`;
    this.write('npx', `#!/bin/sh\nshift\n${command}`);
    this.write('keyspan', `#!/bin/sh\n${command}`);
    symlinkSync(packageFile('node_modules'), join(this.path, 'node_modules'));
  }

  get environment(): NodeJS.ProcessEnv {
    const { PATH = '' } = process.env;
    return { ...process.env, KEYSPAN_HOME: this.#home, PATH: `${this.path}:${PATH}` };
  }

  /** What a script prints, both ways. @throws with what it printed */
  run(script: string): string {
    const whole = `set -euo pipefail\neval "$(npx keyspan pkcs11 env)"\nexec 2>&1\n${script}\n`;
    try {
      return execFileSync('bash', ['-c', whole], {
        cwd: this.path,
        env: this.environment,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'pipe'],
      });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`${script}\n${stdout}${stderr}`, { cause: error });
    }
  }

  /**
   * As `run`, with a home of its own. Since p11-kit does not read that of root, root's script has
   * it in the place of the whole machine: in a view that no other process has, where root may make
   * one (in a container it may not), else in the place itself, for as long as the script runs.
   */
  runAtHome(script: string): string {
    this.write('at-home.sh', `set -euo pipefail\n${script}\n`);
    const [fresh, run] = ['rm -rf ~ && mkdir -p ~/.config/pkcs11/modules', 'bash at-home.sh'];
    const start = ['export HOME=$PWD/at-home', 'unset XDG_CONFIG_HOME', fresh];
    if (process.getuid?.() !== 0) return this.run([...start, run].join('\n'));
    const canUnshare = spawnSync('unshare', ['--mount', 'true']).status === 0;
    const covered = `mount --bind ~/.config/pkcs11/modules ${MACHINES_MODULES}`;
    mkdirSync(MACHINES_MODULES, { recursive: true });
    if (canUnshare) {
      return this.run([...start, `unshare --mount bash -c '${covered} && exec ${run}'`].join('\n'));
    }
    const own = join(MACHINES_MODULES, 'keyspan.module');
    if (existsSync(own)) throw new Error(`${own} is there already: this test would replace it`);
    this.write(
      'at-home.sh',
      `set -euo pipefail\n${script.replaceAll(HOMES_MODULES, MACHINES_MODULES)}\n`,
    );
    try {
      return this.run([...start, run].join('\n'));
    } finally {
      rmSync(own, { force: true });
    }
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.path, name), text, { mode: 0o700 });
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
