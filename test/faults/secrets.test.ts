import { constants, publicEncrypt, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { KeyspanClient } from '../../src/client/client.js';
import { Secrets } from '../../src/cluster/secrets.js';
import { pause } from '../../src/core/deadline.js';
import { findHome, type Home } from '../../src/core/home.js';
import type { StatusDocument } from '../../src/protocol/admin.js';
import { openStore } from '../../src/store/open.js';
import { loadInstallationKey, Sealer } from '../../src/store/sealed.js';
import { cloudhsmCli, keyspan, type Outcome } from '../support/command.js';
import { eventually } from '../support/daemon-fixture.js';

/** What must be found nowhere, by what it is. */
const marked = new Map<string, Buffer>();
function mark(name: string, secret: string | Buffer): string {
  marked.set(name, Buffer.from(secret));
  return secret.toString();
}

const PASSWORDS = {
  erin: mark('a password', 'Marked-password-of-erin-1'),
  later: mark('a later password', 'Another-marked-one-of-erin'),
  wrong: mark('a wrong password', 'Marked-password-of-nobody'),
  refused: mark('a password that is none', 'Marked:password'),
};
const KEYS = { aes: randomBytes(32), secret: randomBytes(48) };
mark('an AES key', KEYS.aes);
mark('a secret', KEYS.secret);

/** As it may stand in a file; in base64 wherever in a longer content it began. */
function forms(secret: Buffer): Buffer[] {
  const texts = [0, 1, 2].flatMap((begin) => {
    const whole = secret.length - begin - ((secret.length - begin) % 3);
    const inner = secret.subarray(begin, begin + whole);
    return [inner.toString('base64'), inner.toString('base64url')];
  });
  return [secret, ...[...texts, secret.toString('hex')].map((text) => Buffer.from(text))];
}

function found(where: string, content: Buffer): string[] {
  return [...marked]
    .filter(([, secret]) => forms(secret).some((form) => content.includes(form)))
    .map(([name]) => `${name} in ${where}`);
}

function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** What every process of the machine shows of itself, again and again. */
class Watch {
  readonly seen = new Set<string>();
  looks = 0;
  #goesOn = true;
  readonly #end: Promise<void>;

  constructor() {
    this.#end = this.#run();
  }

  async #run(): Promise<void> {
    while (this.#goesOn) {
      for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        this.#look(`/proc/${pid}/cmdline`);
      }
      this.looks += 1;
      await pause(2);
    }
  }

  #look(path: string): void {
    try {
      for (const one of found(path.replace(/\d+/, 'PID'), readFileSync(path))) this.seen.add(one);
    } catch {
      // it has ended
    }
  }

  async end(): Promise<void> {
    this.#goesOn = false;
    await this.#end;
  }
}

let home: Home;
let status: StatusDocument;
let watch: Watch;

beforeAll(async () => {
  home = findHome(join(mkdtempSync(join(tmpdir(), 'keyspan-secrets-')), 'home'));
  const { code, stderr } = await keyspan(['up', '--detach'], {
    home: home.root,
    // all that is ever logged
    env: { KEYSPAN_LOG_LEVEL: 'debug' },
  });
  if (code !== 0) throw new Error(stderr);
  watch = new Watch();
  status = (await callAdmin(home, 'Status')) as StatusDocument;
});
afterAll(async () => {
  await watch?.end();
  await keyspan(['down', '--delete', '--yes'], { home: home.root });
  rmSync(dirname(home.root), { recursive: true, force: true });
});

const pids = (): number[] => [status.pid, ...status.cluster.hsms.map(({ pid }) => pid ?? 0)];

describe.skipIf(process.platform !== 'linux')('processes', () => {
  test('leave no core', () => {
    for (const pid of pids()) {
      const limits = readFileSync(`/proc/${pid}/limits`, 'utf8');
      expect(limits).toMatch(/^Max core file size +0 +0 /m);
      expect(readFileSync(`/proc/${pid}/coredump_filter`, 'utf8').trim()).toBe('00000000');
    }
  });

  test('nor does one that is started anew', async () => {
    const [hsm] = status.cluster.hsms;
    const id = hsm?.id ?? '';
    await callAdmin(home, 'HsmKill', { id });
    await callAdmin(home, 'HsmStart', { id });
    const pid = await eventually(async () => {
      const { cluster } = (await callAdmin(home, 'Status')) as StatusDocument;
      const one = cluster.hsms.find((other) => other.id === id);
      return one?.state === 'ACTIVE' ? (one.pid ?? undefined) : undefined;
    }, 'the HSM is back');
    expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 +0 /m);
  });
});

test.each([0, 1, 2])('a trace would be found, in base64 too', (before) => {
  const content = Buffer.from(`${'x'.repeat(before)}${PASSWORDS.erin} and more`);
  for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const) {
    const text = Buffer.from(`a ${content.toString(encoding)}`);
    expect(found('it', text)).toEqual(['a password in it']);
  }
});

/** Users and keys by the command line and by the library, in good order and wrongly. */
async function work(): Promise<void> {
  const credentials = await callAdmin(home, 'Credentials');
  const { username = '', password = '' } = credentials.admin ?? {};
  mark("the admin's password", password);
  mark("the crypto-user's password", credentials.cryptoUser?.password ?? '');
  const command = (args: string[], input: string, user?: string): Promise<Outcome> =>
    cloudhsmCli(args, {
      home: home.root,
      input: Buffer.from(input),
      env: user === undefined ? {} : { CLOUDHSM_ROLE: 'admin', CLOUDHSM_PIN: user },
    });
  const erin = ['--username', 'erin', '--role', 'crypto-user'];
  const twice = (text: string): string => `${text}\n${text}\n`;
  const admin = `${username}:${password}`;
  const made = await command(['user', 'create', ...erin], twice(PASSWORDS.erin), admin);
  expect(made.code).toBe(0);
  const refusals = [
    await command(['user', 'create', ...erin], twice(PASSWORDS.refused), admin),
    await command(['user', 'list'], '', `${username}:${PASSWORDS.wrong}`),
    await command(['login', ...erin], `${PASSWORDS.wrong}\n`),
  ];
  expect(refusals.map(({ code }) => code)).toEqual([1, 1, 1]);
  const change = ['user', 'change-password', ...erin];
  expect((await command(change, twice(PASSWORDS.later), admin)).code).toBe(0);
  await workInProgram();
}

async function workInProgram(): Promise<void> {
  const read = (path: string): string => readFileSync(path, 'utf8');
  await using client = await KeyspanClient.connect({
    endpoints: status.endpoints.websocket,
    ca: read(home.customerCa),
    certificate: read(home.clientCertificate),
    privateKey: read(home.clientKey),
    subprotocol: 'keyspan.v1.json',
  });
  const user = { username: 'erin', password: PASSWORDS.later };
  await expect(client.session({ ...user, password: PASSWORDS.wrong })).rejects.toThrow();
  // a form that is wrong, with a password in it
  const wrong = { password: PASSWORDS.wrong, username: [PASSWORDS.wrong], role: 'admin' };
  await expect(client.call('UserLogin', wrong)).rejects.toThrow();
  await using session = await client.session(user);
  const pair = await session.generateKeyPair({
    spec: { type: 'rsa', bits: 2_048 },
    publicKey: { label: 'kek', attributes: { wrap: true } },
    privateKey: { label: 'kek', attributes: { unwrap: true } },
  });
  const pem = await session.publicKey(pair.publicKey['key-reference']);
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  for (const [kind, bytes] of [
    ['aes', KEYS.aes],
    ['generic-secret', KEYS.secret],
  ] as const) {
    const key = await session.unwrapKey({
      wrapping: pair.privateKey['key-reference'],
      mechanism: { name: 'rsa-oaep', hash: 'sha256', mgf: 'sha256' },
      data: publicEncrypt({ key: pem, padding, oaepHash: 'sha256' }, bytes),
      kind,
      key: { label: kind },
    });
    expect(key.attributes['key-length-bytes']).toBe(bytes.length);
  }
}

test('no password and no key is shown, logged or kept in clear', async () => {
  await work();
  await watch.end();
  expect(watch.looks).toBeGreaterThan(50);
  expect([...watch.seen]).toEqual([]);
  status = (await callAdmin(home, 'Status')) as StatusDocument;
  // what the daemon and the HSMs were started with
  for (const pid of pids()) {
    expect(found('an environment', readFileSync(`/proc/${pid}/environ`))).toEqual([]);
  }
  expect((await keyspan(['down'], { home: home.root })).code).toBe(0);
  // now also the PINs of the tokens, which only the daemon knows
  const key = await loadInstallationKey({ path: home.installationKey });
  {
    await using store = await openStore({ kind: 'sqlite', directory: home.store });
    const secrets = new Secrets(store, new Sealer(key));
    for (const { id } of status.cluster.hsms) {
      const { soPin, userPin } = await secrets.pins(status.cluster.id as never, id as never);
      mark('the PIN of a token', userPin);
      mark("an officer's PIN", soPin);
    }
  }
  const files = filesIn(home.root);
  expect(files.length).toBeGreaterThan(20);
  const traces = files.flatMap((path) => found(path.slice(home.root.length), readFileSync(path)));
  expect(traces).toEqual([]);
}, 60_000);
