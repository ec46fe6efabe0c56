import { execFile, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { RecipeFolder, blocksOf } from '../support/recipes.js';

/** The recipes of docs/pkcs11.md, as they stand there, by the programs that they are for. */
const PAGE = 'docs/pkcs11.md';
const recipes = blocksOf(PAGE, 'sh');
const [program = ''] = blocksOf(PAGE, 'java').get('Java') ?? [];
const block = (heading: string, at = 0): string => {
  const found = recipes.get(heading)?.[at];
  if (found === undefined) throw new Error(`${PAGE} has no recipe ${heading}`);
  return found;
};

let daemon: DaemonFixture;
let folder: RecipeFolder;
beforeAll(async () => {
  daemon = await DaemonFixture.start();
  folder = new RecipeFolder(daemon.home.root);
});
afterAll(async () => {
  folder[Symbol.dispose]();
  await daemon[Symbol.asyncDispose]();
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Kills each HSM in turn, and waits until it is back. */
async function killEach(between: () => Promise<void>): Promise<void> {
  for (const { id } of await daemon.allActive()) {
    await callAdmin(daemon.home, 'HsmKill', { id });
    await between();
    await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.hsm(id);
  }
}

describe('the recipes', () => {
  test('of pkcs11-tool make keys and signatures that OpenSSL verifies', () => {
    const told = folder.run(block('pkcs11-tool'));
    expect(told).toContain('Verified OK');
    expect(told.match(/Private Key Object/g)?.length).toBe(4);
  });

  test('of pkcs11-tool decrypt what OpenSSL encrypted, and destroy a key', () => {
    const [shorthand = ''] = block('pkcs11-tool').split('\n');
    const told = folder.run(`${shorthand}\n${block('pkcs11-tool', 1)}`);
    expect(told).toContain('Signature Verified Successfully');
    // as it was made, and no more
    expect(told.match(/Secret Key Object/g)?.length).toBe(1);
  });

  test('in two lines test all that pkcs11-tool knows, without an error', () => {
    const [first = ''] = recipes.get('PKCS #11: any application, unmodified') ?? [];
    const told = folder.run(first.split('\n').slice(1).join('\n'));
    expect(told).toContain('No errors');
    expect(told).not.toMatch(/ERR:/);
  });

  test('of OpenSSL make requests and certificates, and serve TLS', async () => {
    const made = folder.run(block('OpenSSL 3, by its engine'));
    expect(made).toContain('site.pem: OK');
    expect(made).toContain('Certificate Object');
    const port = await freePort();
    const server = block('OpenSSL 3, by its engine', 1).replaceAll('8443', String(port));
    const before = block('OpenSSL 3, by its engine').split('\n').slice(1, 3).join('\n');
    const told = folder.run(`${before}\n${server}`);
    expect(told).toMatch(/Verification: OK/);
  });

  test('of Java make keys and sign, also in a program', () => {
    expect(folder.run(block('Java'))).toMatch(/orders, PrivateKeyEntry/);
    folder.write('Sign.java', program);
    expect(folder.run(block('Java', 1)).match(/Verified OK/g)?.length).toBe(2);
  });

  test('of GnuTLS make a key and try it', () => {
    const told = folder.run(block('GnuTLS'));
    expect(told).toContain('Verifying against public key in the token... ok');
  });

  test('of p11-kit show the cluster to all that it serves', async () => {
    const told = folder.runAtHome(block('p11-kit, and all that it serves'));
    const { cluster } = await daemon.status();
    expect(told).toContain(`token: ${cluster.id}`);
    expect(told).toContain(`Label: ${cluster.id}`);
  });

  test('of p11-kit reach a cluster on another machine', () => {
    const issue = block('On another machine');
    const there = `${issue}\nunset P11_KIT_SERVER_ADDRESS\nexport KEYSPAN_HOME=$PWD/nobody`;
    const told = folder.runAtHome(`${there}\n${block('On another machine', 1)}`);
    expect(told).toMatch(/Label: signer$/m);
  });

  test('of Node sign by pkcs11js', () => {
    const [signing = ''] = blocksOf(PAGE, 'js').get('Node') ?? [];
    folder.write('sign.mjs', signing);
    expect(folder.run(block('Node'))).toContain('Verified OK');
  });

  test('of NSS make a certificate in the token', () => {
    const told = folder.run(block('NSS'));
    expect(told).toMatch(/:web +u,u,u/);
  });

  test('of OpenSSH show keys that log somebody in', async () => {
    folder.run(block('OpenSSH'));
    const port = await freePort();
    const { username } = userInfo();
    if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true });
    folder.run("ssh-keygen -q -t ed25519 -N '' -f host");
    const given = {
      ListenAddress: '127.0.0.1',
      AuthorizedKeysFile: join(folder.path, 'authorized_keys'),
      PidFile: 'none',
      StrictModes: 'no',
      UsePAM: 'no',
      PermitRootLogin: 'yes',
    };
    const options = Object.entries(given).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
    const words = ['-D', '-f', '/dev/null', '-h', join(folder.path, 'host'), '-p', String(port)];
    const server = spawn('/usr/sbin/sshd', [...words, ...options], { stdio: 'ignore' });
    try {
      folder.write('askpass', '#!/bin/sh\nprintf "%s\\n" "$KEYSPAN_P11_PIN"\n');
      const login = [
        'export SSH_ASKPASS=$PWD/askpass SSH_ASKPASS_REQUIRE=force',
        'for i in 1 2 3 4 5 6 7 8 9 10; do',
        '  ssh -F none -o PKCS11Provider="$KEYSPAN_PKCS11_MODULE" -o StrictHostKeyChecking=no \\',
        `    -o UserKnownHostsFile=/dev/null -p ${port} ${username}@127.0.0.1 echo in && break`,
        '  sleep 0.3',
        'done',
      ];
      expect(folder.run(login.join('\n'))).toMatch(/^in$/m);
    } finally {
      server.kill();
    }
  });
});

describe('while each HSM is killed in turn', () => {
  test('Java signs on', async () => {
    const run = promisify(execFile);
    const line = 'eval "$(npx keyspan pkcs11 env)"; java Sign.java java.cfg "$KEYSPAN_P11_PIN"';
    const signing = run('bash', ['-c', `${line} orders 2500`], {
      cwd: folder.path,
      env: folder.environment,
    });
    let isOver = false;
    const over = signing.finally(() => (isOver = true));
    let kills = 0;
    await killEach(async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      if (!isOver) kills += 1;
    });
    expect((await over).stdout).toContain('Verified OK');
    expect(kills).toBeGreaterThan(0);
  });

  test('a TLS server of OpenSSL answers every client', async () => {
    const port = await freePort();
    const before = block('OpenSSL 3, by its engine').split('\n').slice(1, 3).join('\n');
    const [serve = ''] = block('OpenSSL 3, by its engine', 1).split('\n');
    const command = serve.replace('8443', String(port)).replace(/ &$/, '');
    const line = `eval "$(npx keyspan pkcs11 env)"\n${before}\nexec ${command}`;
    const server = spawn('bash', ['-c', line], {
      cwd: folder.path,
      env: folder.environment,
      stdio: 'ignore',
    });
    const connect = (): string =>
      folder.run(
        `echo | openssl s_client -connect 127.0.0.1:${port} -CAfile site.pem -brief ` +
          '-verify_return_error -no_ticket',
      );
    try {
      await expect.poll(() => attempt(connect), { timeout: 10_000 }).toContain('OK');
      let answered = 0;
      await killEach(async () => {
        for (let i = 0; i < 4; i += 1) {
          expect(connect()).toContain('Verification: OK');
          answered += 1;
        }
      });
      expect(answered).toBe(12);
    } finally {
      server.kill();
    }
  });
});

function attempt(work: () => string): string {
  try {
    return work();
  } catch {
    return '';
  }
}
