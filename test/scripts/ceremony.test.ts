import { readFileSync, symlinkSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { awsVariables } from '../../src/cli/commands/env.js';
import { packageFile } from '../../src/core/entry.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { runAtTerminal } from '../support/terminal.js';

/** AWS's own commands, with the AWS CLI and openssl, as the page has them. */
test(
  'the ceremony of the documentation ends in an active cluster',
  { timeout: 120_000 },
  async () => {
    await using daemon = DaemonFixture.prepare();
    await daemon.up({ cluster: false, port: 0 });
    const { home } = daemon;
    const [status, credentials] = await Promise.all([
      callAdmin(home, 'Status'),
      callAdmin(home, 'Credentials'),
    ]);
    const cwd = temporaryDirectory();
    const bin = join(cwd, 'bin');
    mkdirSync(bin);
    symlinkSync(packageFile('dist/cli/cloudhsm-cli.js'), join(bin, 'cloudhsm-cli'));
    const { code, text } = await runAtTerminal({
      command: ['bash', packageFile('docs/ceremony.sh')],
      answers: [
        ['pass phrase:', 'correct horse'],
        ['customerCA.key:', 'correct horse'],
        ['Common Name (e.g. server FQDN or YOUR name) []:', 'The operator'],
        [']:', ''],
      ],
      cwd,
      env: {
        ...process.env,
        ...awsVariables(status, credentials),
        PATH: `${bin}:/usr/bin:/bin:${process.env['PATH'] ?? ''}`,
        KEYSPAN_HOME: home.root,
        HOME: cwd,
      },
    });
    expect([code, text]).toEqual([0, expect.any(String)]);
    const id = /cluster-[2-7a-z]{11}/.exec(text)?.[0] ?? '';
    expect(text.match(new RegExp(`^${id}_HsmCertificate.crt: OK$`, 'gm'))).toHaveLength(2);
    expect(text).toMatch(new RegExp(`^${id}_CustomerHsmCertificate.crt: OK$`, 'm'));
    expect(text).toContain('"State": "INITIALIZE_IN_PROGRESS"');
    expect(text).toContain('"data": "Cluster activation successful"');
    expect(text.trimEnd().endsWith(`# Cluster ${id} is ACTIVE`)).toBe(true);
    const pub = (name: string): string => readFileSync(join(cwd, `${id}_${name}.pub`), 'utf8');
    expect(pub('HsmCertificate')).toBe(pub('ClusterCsr'));
  },
);
