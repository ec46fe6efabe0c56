import { createServer, type Server, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { callPatiently } from '../../src/cli/admin-client.js';
import { findHome, type Home } from '../../src/core/home.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const PROBE_MS = 10;

let home: Home;
let server: Server;
let joining: ServerResponse;
/** how often the status was asked for */
let probes: number;
let answersStatus: boolean;

const answer = (response: ServerResponse, body: object): void => {
  response.end(JSON.stringify(body));
};

beforeEach(async () => {
  [probes, answersStatus] = [0, true];
  const root = temporaryDirectory();
  home = { ...findHome(root), adminSocket: join(root, 'admin.sock') };
  server = createServer((request, response) => {
    if (request.url === '/v1/HsmAdd') return void (joining = response);
    probes += 1;
    if (answersStatus) answer(response, {});
    else response.destroy();
  });
  await new Promise<void>((resolve) => {
    server.listen(home.adminSocket, resolve);
  });
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

test('what takes long is waited for while the daemon tells its status', async () => {
  const called = callPatiently(home, 'HsmAdd', {}, PROBE_MS);
  await expect.poll(() => probes).toBeGreaterThan(3);
  answer(joining, { id: 'hsm-new' });
  expect(await called).toEqual({ id: 'hsm-new' });
});

test('and no longer', async () => {
  const called = callPatiently(home, 'HsmAdd', {}, PROBE_MS);
  const refused = expect(called).rejects.toMatchObject({ code: 'KeyspanConnection' });
  await expect.poll(() => probes).toBeGreaterThan(1);
  answersStatus = false;
  await refused;
});
