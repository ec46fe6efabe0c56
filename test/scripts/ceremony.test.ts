import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { WEBSOCKET_PORT } from '../../src/protocol/client-frames.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';
import { atTerminal } from '../support/terminal-dialogue.js';

const PASS_PHRASE = 'correct horse\n';

/** What a person types at openssl's questions. */
const STEPS: [string, string][] = [
  ['Enter PEM pass phrase:', PASS_PHRASE],
  ['Verifying - Enter PEM pass phrase:', PASS_PHRASE],
  ['Enter pass phrase for customerCA.key:', PASS_PHRASE],
  // country, state, locality, organization, unit
  ...Array.from({ length: 5 }, (): [string, string] => [']:', '\n']),
  ['Common Name', 'The operator\n'],
  ['Email Address', '\n'],
  ['Enter pass phrase for customerCA.key:', PASS_PHRASE],
];

/** The certificate that an ENI listens with, verified against the operator's CA alone. */
function certificateAt(host: string, ca: string): Promise<string> {
  // it names no address: openssl made it from the CSR
  const options = { host, port: WEBSOCKET_PORT, ca, checkServerIdentity: () => undefined };
  return new Promise((resolve, reject) => {
    const socket = connect(options, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? '');
      socket.destroy();
    });
    socket.once('error', reject);
  });
}

/** AWS's own commands, with the AWS CLI and openssl, as the page has them. */
test('the ceremony of the documentation ends in an active cluster', async () => {
  await using daemon = DaemonFixture.prepare();
  const { home } = daemon;
  await daemon.up({ cluster: false, port: 0 });
  const cwd = temporaryDirectory();
  const words = ['ceremony', 'rehearse', '--folder', cwd];
  const { code, screen } = await atTerminal('dist/cli/keyspan.cjs', words, {
    home: home.root,
    steps: STEPS,
  });
  const text = screen.replaceAll('\r\n', '\n');
  expect([code, text]).toEqual([0, expect.any(String)]);
  // each command is shown as it is typed
  expect(text).toContain('openssl genrsa -aes256 -out customerCA.key 2048\n');
  const id = /cluster-[2-7a-z]{11}/.exec(text)?.[0] ?? '';
  expect(text.match(new RegExp(`^${id}_HsmCertificate.crt: OK$`, 'gm'))).toHaveLength(2);
  expect(text).toMatch(new RegExp(`^${id}_CustomerHsmCertificate.crt: OK$`, 'm'));
  expect(text).toContain('"State": "INITIALIZE_IN_PROGRESS"');
  expect(text).toContain('"data": "Cluster activation successful"');
  expect(text.trimEnd().endsWith(`# Cluster ${id} is ACTIVE`)).toBe(true);
  const keyIn = (name: string): string => readFileSync(join(cwd, `${id}_${name}.pub`), 'utf8');
  expect(keyIn('HsmCertificate')).toBe(keyIn('ClusterCsr'));
  const { clusters } = await callAdmin(home, 'Status');
  // all HSMs of the one were deleted, and the other was made from its backup
  expect(clusters.map(({ state, hsms }) => [state, hsms.length])).toEqual([
    ['ACTIVE', 1],
    ['ACTIVE', 1],
  ]);
  const ca = readFileSync(join(cwd, 'customerCA.crt'), 'utf8');
  const signed = readFileSync(join(cwd, `${id}_CustomerHsmCertificate.crt`), 'utf8');
  // the key behind the certificate came from the first HSM, through the backups
  for (const { eniIp } of clusters.flatMap(({ hsms }) => hsms)) {
    expect(await certificateAt(eniIp, ca)).toBe(new X509Certificate(signed).fingerprint256);
  }
}, 120_000);
