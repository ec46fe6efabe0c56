import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findHome } from '../../src/core/home.js';
import { keyspan } from '../support/command.js';
import { DaemonFixture, eventually } from '../support/daemon-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

interface Logged {
  readonly name: string;
  readonly msg: string;
  readonly requestId?: string;
  readonly action?: string;
  readonly operation?: string;
  readonly code?: string;
  readonly hsm?: string;
  readonly ms?: number;
}

test('the logs of all processes are one, in the order of time', async () => {
  const home = findHome(join(temporaryDirectory(), 'home'));
  mkdirSync(home.logs, { recursive: true });
  const line = (second: number, msg: string): string =>
    `{"level":30,"time":"2030-01-01T00:00:0${second}.000Z","msg":"${msg}"}\n`;
  const hsm = (id: string): string => join(home.logs, `${id}.log`);
  writeFileSync(home.daemonLog, line(1, 'one') + line(4, 'four') + 'not of ours\n');
  writeFileSync(hsm('hsm-aaaaaaaaaaa'), line(0, 'zero') + line(5, 'five'));
  writeFileSync(hsm('hsm-bbbbbbbbbbb'), line(2, 'two') + '  at a stack\n' + line(3, 'three'));
  const read = async (...options: string[]): Promise<string[]> => {
    const { code, stdout } = await keyspan(['logs', ...options], { home: home.root });
    expect(code).toBe(0);
    return stdout
      .toString()
      .trimEnd()
      .split('\n')
      .map((text) => text.replace(/^.*info +/, ''));
  };
  const all = ['zero', 'one', 'two', '  at a stack', 'three', 'four', 'not of ours', 'five'];
  expect(await read()).toEqual(all);
  expect(await read('--hsm', 'hsm-bbbbbbbbbbb')).toEqual(['two', '  at a stack', 'three']);
  expect(await read('--request', 'thr')).toEqual(['three']);
  appendFileSync(hsm('hsm-bbbbbbbbbbb'), line(9, 'an end without a line').trimEnd());
  expect((await read()).at(-1)).toBe('an end without a line');
});

test('a request is followed by its id through daemon and HSMs', async () => {
  const env = { KEYSPAN_LOG_LEVEL: 'debug' };
  await using daemon = await DaemonFixture.start({ hsms: 2, env });
  const client = await daemon.client();
  const { KeyId } = await client.kms.createKey();
  await client.kms.encrypt({ KeyId, Plaintext: Buffer.from('text') });
  const logged = async (...options: string[]): Promise<Logged[]> => {
    const args = ['logs', '--json', ...options];
    const { stdout } = await keyspan(args, { home: daemon.home.root });
    const lines = stdout.toString().trimEnd().split('\n');
    return lines.map((text) => JSON.parse(text) as Logged);
  };
  const requests = (await logged()).filter(({ msg }) => msg === 'a request');
  const id = (action: string): string =>
    requests.find((one) => one.action === action)?.requestId ?? 'none';
  const ended = { name: 'daemon', action: 'Encrypt', ms: expect.any(Number) as unknown };
  const lines = await eventually(async () => {
    const found = await logged('--request', id('Encrypt'));
    return found.length < 2 ? undefined : found;
  }, 'the lines of both processes');
  expect(lines).toHaveLength(2);
  const asked = lines.find(({ name }) => name === 'hsm');
  expect(asked).toMatchObject({ requestId: id('Encrypt'), operation: 'encrypt' });
  expect(asked?.ms).toBeGreaterThanOrEqual(0);
  expect(lines).toContainEqual(expect.objectContaining({ ...ended, hsm: asked?.hsm }));
  // one HSM makes a key, and both take it
  const made = await eventually(async () => {
    const found = (await logged('--request', id('CreateKey'))).filter(({ name }) => name === 'hsm');
    return found.length < 3 ? undefined : found;
  }, 'the lines of a create');
  const by = (wanted: string): (string | undefined)[] =>
    made.filter(({ operation }) => operation === wanted).map(({ hsm }) => hsm);
  expect(made).toHaveLength(3);
  expect(by('generate')).toHaveLength(1);
  const ids = (await daemon.hsms()).map((hsm) => hsm.id);
  expect(new Set(by('insert'))).toEqual(new Set(ids));
});

test('at info nothing is said of requests that went well', async () => {
  await using daemon = await DaemonFixture.start({ hsms: 1, env: { KEYSPAN_LOG_LEVEL: 'info' } });
  const client = await daemon.client();
  await client.kms.createKey();
  const { stdout } = await keyspan(['logs', '--json'], { home: daemon.home.root });
  expect(stdout.toString()).toContain('the daemon is ready');
  expect(stdout.toString()).not.toContain('requestId');
});
