import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

/** A folder to run recipes in, with `npx keyspan` as a newcomer has it. */
export class RecipeFolder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'keyspan-recipe-'));
  readonly #home: string;

  constructor(home: string) {
    this.#home = home;
    const npx = join(this.path, 'npx');
    const program = packageFile('dist/cli/keyspan.cjs');
    writeFileSync(npx, `#!/bin/sh\nshift\nexec '${process.execPath}' '${program}' "$@"\n`);
    chmodSync(npx, 0o755);
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

  write(name: string, text: string): void {
    writeFileSync(join(this.path, name), text, { mode: 0o700 });
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
