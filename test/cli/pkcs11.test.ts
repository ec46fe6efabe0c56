import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TOOLS } from '../../src/cli/commands/pkcs11.js';
import { examine } from '../../src/cli/pkcs11-doctor.js';
import {
  addressOf,
  clientVersion,
  findClientModule,
  findModuleFile,
  isAddressOf,
} from '../../src/cli/pkcs11-module.js';
import { pipeLocal } from '../../src/cli/pkcs11-stdio.js';
import { findHome } from '../../src/core/home.js';
import { Duplex } from 'node:stream';
import { keyspan, type Outcome } from '../support/command.js';
import { P11Client } from '../support/p11-client.js';
import { P11Fixture } from '../support/p11-fixture.js';

let fixture: P11Fixture;
let folder = '';
beforeAll(async () => {
  fixture = await P11Fixture.start();
  folder = mkdtempSync(join(tmpdir(), 'keyspan-p11-'));
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await fixture[Symbol.asyncDispose]();
});

const run = (...words: string[]): Promise<Outcome> =>
  keyspan(['pkcs11', ...words], { home: fixture.daemon.home.root });

describe('keyspan pkcs11 env', () => {
  test('prints what applications read, in three forms', async () => {
    const told = JSON.parse((await run('env', '--json')).stdout.toString()) as object;
    expect(told).toEqual({
      P11_KIT_SERVER_ADDRESS: `unix:path=${fixture.socket}`,
      KEYSPAN_PKCS11_MODULE: findClientModule(),
      KEYSPAN_P11_PIN: fixture.pin,
    });
    const lines = (await run('env')).stdout.toString();
    expect(lines).toContain(`export KEYSPAN_P11_PIN='${fixture.pin}'`);
    expect((await run('env', '--github')).stdout.toString()).toMatch(/^KEYSPAN_P11_PIN=/m);
    const all = await keyspan(['env', '--json'], { home: fixture.daemon.home.root });
    expect(JSON.parse(all.stdout.toString())).toMatchObject(told);
  });

  test('encodes what an address does not take as it is', () => {
    expect(addressOf('/tmp/a b/é;x.sock')).toBe('unix:path=/tmp/a%20b/%C3%A9%3Bx.sock');
    expect(findClientModule([folder])).toBeUndefined();
  });
});

describe('keyspan pkcs11 config', () => {
  test.each(Object.keys(TOOLS))(
    'writes that of %s with the paths of this machine',
    async (tool) => {
      const told = (await run('config', tool)).stdout.toString();
      expect(told).not.toMatch(/@\w+@/);
      expect(told).toContain(tool === 'p11-kit' ? fixture.socket : (findClientModule() ?? ''));
      const file = join(folder, tool);
      await run('config', tool, '--out', file);
      expect(readFileSync(file, 'utf8').trimEnd()).toBe(told.trimEnd());
    },
  );

  test('knows no other tool', async () => {
    expect((await run('config', 'netscape')).code).toBe(252);
  });
});

describe('keyspan doctor', () => {
  const words = async (
    env: Readonly<Record<string, string>>,
    home = fixture.daemon.home,
  ): Promise<string[]> =>
    (await examine(home, env)).map(({ what, isFine }) => `${isFine ? 'ok' : 'wrong'} ${what}`);

  test('finds nothing wrong where all is well', async () => {
    const env = {
      P11_KIT_SERVER_ADDRESS: addressOf(fixture.socket),
      PATH: process.env['PATH'] ?? '',
    };
    const told = await words(env);
    expect(told.filter((one) => one.startsWith('wrong'))).toEqual([]);
    expect(told[0]).toMatch(/^ok cluster-\w+ is a slot; 3 of 3 HSMs serve$/);
    expect(clientVersion()?.version).toMatch(/^\d+\.\d+\.\d+$/);
    const { home } = fixture.daemon;
    expect((await keyspan(['doctor', '--json'], { home: home.root, env })).code).toBe(0);
  });

  test('says what applications would stumble over', async () => {
    expect(await words({})).toContain('wrong P11_KIT_SERVER_ADDRESS is not set');
    const elsewhere = { P11_KIT_SERVER_ADDRESS: 'unix:path=/elsewhere' };
    expect(await words(elsewhere)).toContain(
      'wrong P11_KIT_SERVER_ADDRESS is unix:path=/elsewhere',
    );
    const empty = findHome(join(folder, 'nobody'));
    const told = await words({}, empty);
    expect(told[0]).toBe('wrong no daemon answers');
    expect(told[1]).toBe(`wrong there is no ${empty.pkcs11Socket}`);
    const long = { ...empty, pkcs11Socket: `/tmp/${'x'.repeat(120)}` };
    expect((await words({}, long))[1]).toMatch(/is too long for a socket$/);
    const open = { ...empty, pkcs11Socket: join(folder, 'open.sock') };
    writeFileSync(open.pkcs11Socket, '');
    chmodSync(open.pkcs11Socket, 0o666);
    expect((await words({}, open))[1]).toBe(`wrong others may open ${open.pkcs11Socket}`);
    chmodSync(open.pkcs11Socket, 0o600);
    expect((await words({}, open))[1]).toBe(`wrong nobody answers on ${open.pkcs11Socket}`);
    expect((await keyspan(['pkcs11', 'doctor'], { home: empty.root })).code).toBe(1);
  });
});

describe('an address of the socket', () => {
  test('is known in whatever way it is written', () => {
    const socket = "/run/a b/p11's.sock";
    for (const [address, isThat] of [
      [addressOf(socket), true],
      [`unix:path=${socket}`, true],
      ['unix:path=/run/a%20b/p11%27s.sock', true],
      ['unix:path=/run/a', false],
      ['unix:path=%zz', false],
      ['vsock:cid=2;port=1', false],
    ] as const) {
      expect([address, isAddressOf(socket, address)]).toEqual([address, isThat]);
    }
  });

  test("is found in p11-kit's module files", () => {
    const modules = join(folder, 'modules');
    mkdirSync(modules);
    writeFileSync(join(modules, 'other.module'), 'remote: |keyspan pkcs11 stdio\n');
    writeFileSync(join(modules, 'ours.txt'), `remote: ${addressOf(fixture.socket)}\n`);
    const find = (): string | undefined =>
      findModuleFile(fixture.socket, [join(folder, 'nowhere'), modules]);
    expect(find()).toBeUndefined();
    const file = join(modules, 'ours.module');
    writeFileSync(file, `# ours\nremote: ${addressOf(fixture.socket)}\n`);
    expect(find()).toBe(file);
  });
});

describe('keyspan pkcs11 stdio', () => {
  test('carries an application until it ends', async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const piped = pipeLocal(fixture.socket, { input, output });
    const client = await P11Client.over(Duplex.from({ readable: output, writable: input }));
    expect(await client.slots()).toHaveLength(1);
    input.end();
    await piped;
  });

  test('gives what was answered when the application ends at once', async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const piped = pipeLocal(fixture.socket, { input, output });
    input.end(Buffer.of(2));
    await piped;
    expect(output.read()).toEqual(Buffer.of(2));
  });

  test('reaches the ENIs that the environment names where no daemon is', async () => {
    const { endpoints } = await fixture.daemon.status();
    const { customerCa, clientCertificate, clientKey } = fixture.daemon.home;
    const dead = 'wss://127.0.0.1:1/v1/us-east-1';
    const env = {
      KEYSPAN_ENDPOINTS: [dead, ...endpoints.websocket].join(','),
      KEYSPAN_CA: customerCa,
      KEYSPAN_CERTIFICATE: clientCertificate,
      KEYSPAN_PRIVATE_KEY: clientKey,
    };
    const options = { home: join(folder, 'nobody'), input: Buffer.of(1), env };
    const { code, stdout, stderr } = await keyspan(['pkcs11', 'stdio'], options);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toEqual(Buffer.of(1));
  });

  test('says that no daemon listens', async () => {
    const nowhere = keyspan(['pkcs11', 'stdio'], {
      home: join(folder, 'nobody'),
      env: { KEYSPAN_ENDPOINTS: '' },
    });
    const { code, stderr } = await nowhere;
    expect([code, stderr.includes('No daemon listens')]).toEqual([255, true]);
    const words = ['pkcs11', 'stdio', '--endpoint', 'wss://127.0.0.1:1/v1/us-east-1'];
    const without = await keyspan(words, { home: folder, env: { KEYSPAN_CA: '' } });
    expect(without.code).not.toBe(0);
  });
});
