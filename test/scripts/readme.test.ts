import { execFile } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import type { CredentialsDocument, StatusDocument } from '../../src/protocol/admin.js';
import { Installation } from '../support/installation.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const run = promisify(execFile);

/** The fenced blocks of a language in a page of ours. */
function blocks(page: string, language: string): string[] {
  const text = readFileSync(packageFile(page), 'utf8');
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return [...text.matchAll(fence)].map(([, block = '']) => block);
}

let installation: Installation;
beforeAll(async () => {
  installation = await Installation.up();
});
afterAll(async () => {
  await installation[Symbol.asyncDispose]();
  for (const name of ['readme.enc', 'hello.txt', 'hello.enc']) {
    rmSync(packageFile(name), { force: true });
  }
});

/** npm takes longer to find a program of ours than that takes: it does so in one round of each. */
function withoutNpm(): { PATH: string } {
  const folder = temporaryDirectory();
  const programs = packageFile('dist/cli');
  const script = `#!/bin/sh\nname=$1\nshift\nexec node "${programs}/$name.cjs" "$@"\n`;
  writeFileSync(join(folder, 'npx'), script, { mode: 0o755 });
  return { PATH: `${folder}${delimiter}${process.env['PATH']}` };
}

const status = async (): Promise<StatusDocument> =>
  JSON.parse((await installation.keyspan('status', '--json')).stdout.toString()) as StatusDocument;

describe('examples of programs', () => {
  test.each([
    ['README.md', /^hello\n$/],
    ['docs/aws.md', /^cluster-\w+ is ACTIVE\n$/],
    ['docs/websocket.md', /^[A-Za-z0-9+/]{22}== from hsm-\w+\n$/],
    ['docs/client.md', /^true\n1 key is called orders\n$/],
  ])('in %s', async (page, expected) => {
    const [program = ''] = blocks(page, 'js');
    const { stdout: variables } = await installation.keyspan('env', '--json');
    const { stdout: shown } = await installation.keyspan('credentials', '--json');
    const { username, password } = (JSON.parse(shown.toString()) as CredentialsDocument)
      .cryptoUser ?? { username: '', password: '' };
    const env = {
      ...process.env,
      ...(JSON.parse(variables.toString()) as object),
      CLOUDHSM_PIN: `${username}:${password}`,
    };
    const args = ['--input-type=module', '--eval', program];
    const { stdout } = await run(process.execPath, args, { env, cwd: packageFile('.') });
    expect(stdout).toMatch(expected);
  });
});

test('the examples of cloudhsm-cli', async () => {
  const [script = '', keys = ''] = blocks('docs/cloudhsm-cli.md', 'sh');
  const { stdout } = await installation.shell(script);
  const lines = stdout.trim().split('\n');
  const ids = (await status()).cluster.hsms.map(({ id }) => id);
  expect(lines.slice(0, ids.length)).toEqual(ids);
  expect(lines).toContain('admin admin full');
  expect(lines).toContain('app_user internal(APPLIANCE_USER) full');
  const signed = await installation.shell(keys, withoutNpm());
  expect(signed.stdout).toMatch(/^0x[0-9a-f]{16}\n[^]*Verified OK\n$/);
});

const until = async (hsm: number, state: string): Promise<void> => {
  while ((await status()).cluster.hsms[hsm]?.state !== state) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

describe('the README', () => {
  const [block = '', byAws = ''] = blocks('README.md', 'sh');

  test('has a block to be run', () => expect(block).toContain('keyspan decrypt'));

  test('works with the AWS CLI as it says', async () => {
    expect(byAws).toContain('aws kms decrypt');
    expect((await installation.shell(byAws)).stdout).toBe('hello\n');
  });

  test.each([0, 1, 2])('holds what it promises, whichever HSM is lost: %i', async (lost) => {
    const hsm = (await status()).cluster.hsms[lost];
    const script = block.replace('.cluster.hsms[0].id', `.cluster.hsms[${lost}].id`);
    try {
      const { stdout } = await installation.shell(script, lost === 0 ? {} : withoutNpm());
      expect(stdout).toMatch(/^hsm-\w+ is \w+\nthe same\n$/);
      await until(lost, 'KILLED');
    } finally {
      expect((await installation.keyspan('hsm', 'start', hsm?.id ?? '')).code).toBe(0);
      await until(lost, 'ACTIVE');
    }
  });
});
