import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
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

/** Whether `runAtHome` can: a container's root may be refused a view of its own. */
export const canRunAtHome = (): boolean =>
  process.getuid?.() !== 0 || spawnSync('unshare', ['--mount', 'true']).status === 0;

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
   * As `run`, with a home of its own. Since p11-kit does not read that of root, what it has of the
   * whole machine is covered by it for that script alone.
   */
  runAtHome(script: string): string {
    this.write('at-home.sh', `set -euo pipefail\n${script}\n`);
    const isRoot = process.getuid?.() === 0;
    const covered = 'mount --bind ~/.config/pkcs11/modules /usr/share/p11-kit/modules';
    return this.run(
      [
        'export HOME=$PWD/at-home',
        'unset XDG_CONFIG_HOME',
        'rm -rf ~ && mkdir -p ~/.config/pkcs11/modules',
        isRoot ? `unshare --mount bash -c '${covered} && exec bash at-home.sh'` : 'bash at-home.sh',
      ].join('\n'),
    );
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.path, name), text, { mode: 0o700 });
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
