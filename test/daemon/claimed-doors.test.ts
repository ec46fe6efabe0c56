import { createServer } from 'node:net';
import { connect } from 'node:tls';
import { expect, test } from 'vitest';
import { WEBSOCKET_PORT } from '../../src/protocol/client-frames.js';
import { CloudHsmAccount } from '../support/cloudhsm-account.js';
import { eventually } from '../support/daemon-fixture.js';

/** Whether a cluster whose operator's CA this is answers there. */
function answers(host: string, ca: string): Promise<boolean> {
  // it names no address: openssl made it from the CSR
  const options = { host, port: WEBSOCKET_PORT, ca, checkServerIdentity: () => undefined };
  return new Promise((resolve) => {
    const socket = connect(options, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

test('an ENI whose address somebody has is opened when it is free', async () => {
  await using account = await CloudHsmAccount.open();
  const { ClusterId } = await account.create();
  const { EniIp = '' } = await account.createHsm(ClusterId);
  await account.claimable(ClusterId);
  const squatter = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => squatter.listen(WEBSOCKET_PORT, EniIp, resolve));
  const ca = await account.initialize(ClusterId);
  await eventually(
    async () => (account.daemon.log().includes('could not be opened') ? true : undefined),
    'it was tried',
  );
  expect(await answers(EniIp, ca)).toBe(false);
  await new Promise((resolve) => squatter.close(resolve));
  await eventually(async () => ((await answers(EniIp, ca)) ? true : undefined), 'it is open');
});
