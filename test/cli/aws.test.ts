import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { keyspan, type Outcome } from '../support/command.js';
import { ForeignInstallation } from '../support/foreign-installation.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

let place: ForeignInstallation;
beforeAll(async () => {
  place = await new ForeignInstallation().start();
});
afterAll(() => place.stop());
beforeEach(() => {
  const rootAccessKey = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret' };
  place.admin = () => ({ rootAccessKey });
});

/** Runs `keyspan` where `aws` is a script of ours, or nowhere. */
async function run(script: string | undefined, args: string[], input = ''): Promise<Outcome> {
  const folder = join(temporaryDirectory(), 'bin');
  mkdirSync(folder);
  if (script !== undefined) {
    writeFileSync(join(folder, 'aws'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, 'aws'), 0o755);
  }
  const foreign = { AWS_PROFILE: 'work', AWS_SESSION_TOKEN: 'token', AWS_REGION: 'eu-west-1' };
  const env = { ...foreign, PATH: `${folder}:/bin` };
  return await keyspan(args, {
    home: place.home.root,
    input: Buffer.from(input),
    env: script === undefined ? { ...foreign, PATH: folder } : env,
  });
}

/** Every argument on a line of its own. */
const ARGUMENTS = String.raw`for one in "$@"; do printf '%s\n' "$one"; done`;
const linesOf = ({ stdout }: Outcome): string[] => stdout.toString().trimEnd().split('\n');

describe('keyspan aws', () => {
  test.each<[string[], string[]]>([
    [
      ['aws', 'cloudhsmv2', 'describe-clusters', '--output', 'text'],
      ['cloudhsmv2', 'describe-clusters', '--output', 'text'],
    ],
    [
      ['aws', '--region', 'us-west-2', 'kms', 'help'],
      ['--region', 'us-west-2', 'kms', 'help'],
    ],
    [
      ['aws', 'kms', 'x', '--json', '--home', 'y', '-h'],
      ['kms', 'x', '--json', '--home', 'y', '-h'],
    ],
    [
      ['aws', 'kms', '--', 'a b', ''],
      ['kms', '--', 'a b', ''],
    ],
    [['aws', '--version'], ['--version']],
    [['aws', '--help'], ['--help']],
  ])('%j hands on what it was given', async (args, given) => {
    const outcome = await run(ARGUMENTS, args);
    expect(outcome.code, outcome.stderr).toBe(0);
    const shown = outcome.stdout.toString().split('\n').slice(0, -1);
    expect(shown).toEqual(['--endpoint-url', 'http://127.0.0.1:1', ...given]);
  });

  test('takes the home before the rest', async () => {
    const outcome = await run(ARGUMENTS, ['aws', '--home', place.home.root, 'kms', 'x']);
    expect(linesOf(outcome).slice(2)).toEqual(['kms', 'x']);
  });

  test.each(['--endpoint-url=http://127.0.0.1:2', '--endpoint-url'])(
    'lets another endpoint be meant: %s',
    async (option) => {
      const args = [option, 'http://127.0.0.1:3', 'kms'];
      expect(linesOf(await run(ARGUMENTS, ['aws', ...args]))).toEqual(args);
    },
  );

  test("signs as this installation's root, and as nobody else", async () => {
    const outcome = await run('/usr/bin/env | /usr/bin/grep ^AWS_ | /usr/bin/sort', ['aws']);
    // what the machine sets besides says nothing about who asks
    expect(linesOf(outcome).filter((line) => !line.startsWith('AWS_CA_'))).toEqual([
      'AWS_ACCESS_KEY_ID=AKIDEXAMPLE',
      'AWS_DEFAULT_REGION=us-east-1',
      'AWS_ENDPOINT_URL=http://127.0.0.1:1',
      'AWS_REGION=us-east-1',
      'AWS_SECRET_ACCESS_KEY=secret',
    ]);
  });

  test('passes streams and the exit code through', async () => {
    const outcome = await run('cat; echo wrong >&2; exit 254', ['aws', 'x'], 'input');
    expect(outcome).toMatchObject({ code: 254, stderr: 'wrong\n' });
    expect(outcome.stdout.toString()).toBe('input');
    expect((await run('kill -TERM $$', ['aws', 'x'])).code).toBe(143);
  });

  test('says when there is no AWS CLI', async () => {
    const { code, stderr } = await run(undefined, ['aws', 'x']);
    expect(code).toBe(1);
    expect(JSON.parse(stderr)).toEqual({
      error: {
        code: 'KeyspanConfig',
        message: 'The AWS CLI could not be run: is `aws` installed and on the PATH?',
      },
    });
  });
});
