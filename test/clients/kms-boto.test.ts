import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { awsEnvironment } from '../support/kms-client.js';

const run = promisify(execFile);
const ACCOUNT = '111122223333';
const ROLE = 'arn:aws:iam::111122223333:role/reader';
const allow = (rest: object): object => ({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', ...rest }],
});
const SEED = {
  accounts: {
    [ACCOUNT]: {
      users: [
        {
          name: 'alice',
          accessKeys: [{ id: 'AKIDALICE', secret: 'alice-of-the-tests' }],
          policies: { roles: allow({ Action: 'sts:AssumeRole', Resource: '*' }) },
        },
      ],
      roles: [
        {
          name: 'reader',
          trust: allow({ Action: 'sts:AssumeRole', Principal: { AWS: ACCOUNT } }),
        },
      ],
    },
  },
  keys: [
    { id: '1234abcd-12ab-34cd-56ef-1234567890ab', account: ACCOUNT, aliases: ['alias/letters'] },
    { id: '0987dcba-09fe-87dc-65ba-ab0987654321', account: ACCOUNT, enabled: false },
  ],
};

let daemon: DaemonFixture;
beforeAll(async () => {
  daemon = DaemonFixture.prepare();
  mkdirSync(daemon.home.root, { recursive: true });
  const seed = join(daemon.home.root, 'seed.json');
  writeFileSync(seed, JSON.stringify(SEED));
  await daemon.up({ hsms: 1, port: 0, account: ACCOUNT, region: 'us-west-2', seed });
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

test('boto3 works with keys, contexts, grants, pages and errors', async () => {
  const env = { ...(await awsEnvironment(daemon)), PATH: '/usr/bin:/bin', HOME: daemon.home.root };
  // Debian's: another `python3` on the path has no boto3
  const args = [packageFile('test/support/boto-walk.py'), ROLE, 'AKIDALICE', 'alice-of-the-tests'];
  const { stdout } = await run('/usr/bin/python3', args, { env });
  expect(JSON.parse(stdout)).toEqual({
    plaintext: 'dear bob',
    wrongContext: ['InvalidCiphertextException', 400],
    otherKey: ['DisabledException', 400],
    absent: ['NotFoundException', 400],
    tooLong: ['ValidationException', 400],
    caught: 'AlreadyExistsException',
    dataKey: [32, true],
    aliases: ['alias/a0', 'alias/a1', 'alias/a2', 'alias/letters'],
    keys: 2,
    denied: ['AccessDeniedException', 400],
    granted: 'dear bob',
    constrained: ['AccessDeniedException', 400],
    grants: [{ GranteePrincipal: ROLE, Operations: ['Decrypt'] }],
    revoked: ['AccessDeniedException', 400],
    created: 'datetime',
  });
});
