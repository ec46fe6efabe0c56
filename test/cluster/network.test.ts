import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { canListen, claimBlock, eniAt, freeEni, type Eni } from '../../src/cluster/network.js';
import { expectCode } from '../support/store-calls.js';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
});

async function occupy({ ip, port }: Eni): Promise<void> {
  const server = createServer();
  servers.push(server);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, ip, resolve);
  });
}

const ports = { mode: 'ports', bind: '127.0.0.1', hsms: 3 } as const;
const addresses = { mode: 'addresses', bind: '127.0.0.1', hsms: 3 } as const;
const onLinux = test.runIf(process.platform === 'linux');

describe('claimBlock', () => {
  test('finds consecutive ports that can be listened on', async () => {
    const block = await claimBlock({ home: '/one', ...ports });
    const enis = [0, 1, 2].map((index) => eniAt(block, index));
    expect(enis.map(({ port }) => port - (enis[0]?.port ?? 0))).toEqual([0, 1, 2]);
    for (const eni of enis) expect(await canListen(eni)).toBe(true);
  });

  test('keeps away from the ports of outgoing connections', async () => {
    for (let index = 0; index < 50; index += 1) {
      const block = await claimBlock({ home: `/home-${index}`, ...ports, hsms: 1 });
      const { port } = eniAt(block, 63);
      expect(port).toBeGreaterThanOrEqual(1024);
      expect(port).toBeLessThan(32_768);
    }
  });

  onLinux('finds a network of 127/8, for two homes two', async () => {
    const one = await claimBlock({ home: '/one', ...addresses });
    const two = await claimBlock({ home: '/two', ...addresses });
    expect(eniAt(one, 0).ip).toMatch(/^127\.(6[4-9]|[7-9]\d|10\d|11[01])\.\d+\.10$/);
    expect(eniAt(one, 2)).toEqual({ ip: eniAt(one, 0).ip.replace(/10$/, '12'), port: 2225 });
    expect(one).not.toEqual(two);
  });

  test('asks for the same block again, unless one of its ENIs is taken', async () => {
    const block = await claimBlock({ home: '/three', ...ports });
    expect(await claimBlock({ home: '/three', ...ports })).toEqual(block);
    await occupy(eniAt(block, 2));
    const other = await claimBlock({ home: '/three', ...ports });
    expect(other).not.toEqual(block);
    expect(await canListen(eniAt(other, 2))).toBe(true);
  });

  test('says so when there is none', async () => {
    // an address that is not of this machine
    await expectCode(
      claimBlock({ home: '/x', mode: 'ports', bind: '192.0.2.1', hsms: 1 }),
      'KeyspanConfig',
    );
  });
});

describe('freeEni', () => {
  test('passes over what HSMs have and what others hold', async () => {
    const block = await claimBlock({ home: '/four', ...ports, hsms: 4 });
    await occupy(eniAt(block, 1));
    const found = await freeEni(block, [eniAt(block, 0)]);
    expect(found).toEqual(eniAt(block, 2));
  });
});
