import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { keyspan, type Outcome } from '../support/command.js';
import { ForeignInstallation } from '../support/foreign-installation.js';

let place: ForeignInstallation;
beforeAll(async () => {
  place = await new ForeignInstallation().start();
});
afterAll(() => place.stop());
beforeEach(() => {
  place.calls.length = 0;
  place.admin = () => ({});
});

const run = (args: readonly string[], input?: Uint8Array): Promise<Outcome> =>
  keyspan(args, { home: place.home.root, ...(input ? { input } : {}) });
const json = ({ stdout }: Outcome): unknown => JSON.parse(stdout.toString());

const CREDENTIALS = {
  rootAccessKey: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: "it's" },
};

describe('what runs', () => {
  test('status', async () => {
    const document = await run(['status', '--json']);
    expect(document.code).toBe(0);
    expect(json(document)).toEqual(place.status());
    const text = (await run(['status'])).stdout.toString();
    expect(text).toMatch(/is READY/);
    expect(text).toMatch(/^hsm-aaaaaaaaaaa +us-east-1a +ACTIVE +127.0.0.1 +7 +3$/m);
  });

  test('up on a home that runs prints its status', async () => {
    const outcome = await run(['up', '--detach', '--json']);
    expect(outcome.code).toBe(0);
    expect(json(outcome)).toEqual(place.status());
  });

  test('env', async () => {
    place.admin = () => CREDENTIALS;
    const variables = json(await run(['env', '--json'])) as Record<string, string>;
    expect(variables).toMatchObject({
      KEYSPAN_HOME: place.home.root,
      KEYSPAN_ENDPOINTS: place.eni.endpoint,
      AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
      AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
      AWS_SECRET_ACCESS_KEY: "it's",
      AWS_REGION: 'us-east-1',
      AWS_DEFAULT_REGION: 'us-east-1',
    });
    const shell = (await run(['env'])).stdout.toString();
    expect(shell).toContain(`export KEYSPAN_HOME='${place.home.root}'\n`);
    expect(shell).toContain(String.raw`export AWS_SECRET_ACCESS_KEY='it'\''s'` + '\n');
    const github = (await run(['env', '--github'])).stdout.toString();
    expect(github).toContain(`\nKEYSPAN_ENDPOINTS=${place.eni.endpoint}\n`);
  });

  test('credentials', async () => {
    const document = { admin: { username: 'admin', password: 'secret' } };
    place.admin = () => document;
    expect(json(await run(['credentials', '--json']))).toEqual(document);
    expect((await run(['credentials'])).stdout.toString()).toMatch(/^admin +password +secret$/m);
  });

  test('logs', async () => {
    const line = {
      level: 30,
      time: '2030-01-01T00:00:00Z',
      pid: 1,
      name: 'd',
      msg: 'up',
      hsm: 'hsm-b',
    };
    writeFileSync(place.home.daemonLog, `${JSON.stringify(line)}\nplain\n`);
    const text = (await run(['logs'])).stdout.toString();
    expect(text).toBe('2030-01-01T00:00:00Z info  d up hsm="hsm-b"\nplain\n');
    const filtered = await run(['logs', '--hsm', 'hsm-b', '--json']);
    expect(json(filtered)).toEqual(line);
  });
});

describe('hsm', () => {
  test('list', async () => {
    expect(json(await run(['hsm', 'list', '--json']))).toEqual(place.status().cluster.hsms);
  });

  test.each(['start', 'stop', 'kill', 'crash', 'pause', 'resume'])('%s', async (verb) => {
    const id = 'hsm-aaaaaaaaaaa';
    place.admin = () => ({ id, state: 'KILLED' });
    const outcome = await run(['hsm', verb, id]);
    expect(outcome.code).toBe(0);
    expect(outcome.stdout.toString()).toBe(`${id} is KILLED\n`);
    const action = `Hsm${verb[0]?.toUpperCase()}${verb.slice(1)}`;
    expect(place.calls).toEqual([{ action, params: { id } }]);
  });

  test('what the daemon refuses is 254', async () => {
    place.admin = () => ({ error: { code: 'KeyspanRefused', message: 'no such HSM' } });
    const outcome = await run(['hsm', 'kill', 'hsm-x']);
    expect(outcome.code).toBe(254);
    expect(JSON.parse(outcome.stderr)).toEqual({
      error: { code: 'KeyspanRefused', message: 'no such HSM' },
    });
  });
});

describe('call', () => {
  test('prints the result, and with --debug who answered', async () => {
    writeFileSync(place.path('blob'), Buffer.from([0, 255]));
    const params = { A: [1], Blob: `fileb://${place.path('blob')}`, KeyId: 'alias/a' };
    const outcome = await run(['call', 'Echo', JSON.stringify(params), '--debug']);
    expect(outcome.code).toBe(0);
    expect(json(outcome)).toEqual({ A: [1], Blob: 'AP8=', KeyId: 'alias/a' });
    expect(outcome.stderr).toContain('hsm-aaaaaaaaaaa');
  });

  test('reads its parameters from a file', async () => {
    writeFileSync(place.path('params.json'), '{"N": 7}');
    expect(json(await run(['call', 'Echo', `file://${place.path('params.json')}`]))).toEqual({
      N: 7,
    });
  });

  test('a refusal is 254 and stands on standard error', async () => {
    const outcome = await run(['call', 'Dance', '{}']);
    expect(outcome).toMatchObject({ code: 254, stdout: Buffer.alloc(0) });
    expect(JSON.parse(outcome.stderr)).toEqual({
      error: { code: 'UnknownOperationException', message: 'there is no Dance' },
    });
  });
});

describe('encrypt and decrypt', () => {
  const key = ['--key', 'alias/a'];
  const leftovers = (): string[] =>
    readdirSync(dirname(place.home.root)).filter((name) => name.endsWith('.partial'));

  test.each([0, 1, 65_536, 1_000_000])('%i bytes from file to file', async (length) => {
    const [plain, sealed, opened] = [place.path('p'), place.path('s'), place.path('o')];
    writeFileSync(plain, randomBytes(length));
    expect((await run(['encrypt', plain, '-o', sealed, ...key])).code).toBe(0);
    expect((await run(['decrypt', sealed, '-o', opened])).code).toBe(0);
    expect(readFileSync(opened).equals(readFileSync(plain))).toBe(true);
    expect(leftovers()).toEqual([]);
  });

  test('through pipes, bound to a context', async () => {
    const plaintext = randomBytes(200_000);
    const sealed = await run(['encrypt', '-', ...key, '--context', 'a=b=c'], plaintext);
    expect(sealed.code).toBe(0);
    expect((await run(['decrypt', '-'], sealed.stdout)).stdout.equals(plaintext)).toBe(true);
    const insisting = await run(['decrypt', '-', '--context', 'a=b=c'], sealed.stdout);
    expect(insisting.stdout.equals(plaintext)).toBe(true);
    const other = await run(['decrypt', '-', '--context', 'a=x'], sealed.stdout);
    expect(other.code).toBe(254);
    expect(other.stdout.length).toBe(0);
    expect(other.stderr).toContain('InvalidCiphertextException');
  });

  test('a damaged file leaves nothing, and what was there stays', async () => {
    const plaintext = randomBytes(200_000);
    const { stdout: sealed } = await run(['encrypt', '-', ...key], plaintext);
    const flipped = Buffer.from(sealed);
    flipped[150_000] = (flipped[150_000] ?? 0) ^ 1;
    const damaged = [
      sealed.subarray(0, -1),
      sealed.subarray(0, 30),
      Buffer.concat([sealed, Buffer.of(1)]),
      flipped,
      Buffer.from('something else altogether'),
      Buffer.alloc(0),
    ];
    const [output, kept] = [place.path('gone'), place.path('kept')];
    writeFileSync(kept, 'before');
    for (const bytes of damaged) {
      const outcome = await run(['decrypt', '-', '-o', output], bytes);
      expect(outcome.code).toBe(1);
      expect(outcome.stderr).toContain('KeyspanFileFormat');
      await run(['decrypt', '-', '-o', kept], bytes);
    }
    expect(existsSync(output)).toBe(false);
    expect(readFileSync(kept, 'utf8')).toBe('before');
    expect(leftovers()).toEqual([]);
  });

  test('to a device', async () => {
    const outcome = await run(['encrypt', '-', '-o', '/dev/null', ...key], Buffer.from('hi'));
    expect(outcome.code).toBe(0);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });
});

test('cert issue writes files that only the owner can use', async () => {
  const issued = { certificate: 'CERT\n', privateKey: 'KEY\n', serverCa: 'CA\n' };
  place.admin = () => issued;
  const principal = 'arn:aws:iam::000000000000:user/alice';
  const out = place.path('alice');
  const args = ['cert', 'issue', '--principal', principal, '--days', '7'];
  expect(json(await run([...args, '--out', out, '--json']))).toEqual({
    certificate: `${out}/client.crt`,
    privateKey: `${out}/client.key`,
    serverCa: `${out}/customerCA.crt`,
  });
  expect(place.calls).toEqual([{ action: 'IssueCertificate', params: { principal, days: 7 } }]);
  expect(readFileSync(`${out}/client.crt`, 'utf8')).toBe('CERT\n');
  expect(statSync(`${out}/client.key`).mode & 0o777).toBe(0o600);
  expect((await run(args)).stdout.toString()).toBe('KEY\nCERT\n');
});

test('down --delete deletes homes and nothing else', async () => {
  const stranger = place.path('stranger');
  mkdirSync(stranger);
  writeFileSync(`${stranger}/precious`, '');
  const refused = await run(['down', '--delete', '--home', stranger]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('KeyspanRefused');
  expect(existsSync(`${stranger}/precious`)).toBe(true);
  const home = place.path('other-home');
  mkdirSync(`${home}/secrets`, { recursive: true });
  writeFileSync(`${home}/secrets/installation.key`, '');
  expect((await run(['down', '--delete', '--home', home])).code).toBe(0);
  expect(existsSync(home)).toBe(false);
});

test('up does not make a cluster ephemeral that was not', async () => {
  const home = place.path('kept-home');
  mkdirSync(`${home}/store`, { recursive: true });
  const refused = await run(['up', '--ephemeral', '--home', home]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('KeyspanRefused');
  expect(readdirSync(home)).toEqual(['store']);
});
