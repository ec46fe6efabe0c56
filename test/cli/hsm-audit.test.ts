import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { findHome, hsmAuditPath, type Home } from '../../src/core/home.js';
import { newHsmId } from '../../src/core/ids.js';
import { auditFile, formatAuditEntry, type HsmAuditEntry } from '../../src/protocol/hsm-audit.js';
import { keyspan } from '../support/command.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const entry = (sequence: number): HsmAuditEntry => ({
  version: 1,
  usecs: 1_513_717_277_140_812 + sequence,
  sequence,
  reboot: 0,
  commandType: 'CN_MGMT_CMD',
  opcode: 'CN_INIT_DONE',
  session: 0,
  response: '0:HSM Return: SUCCESS',
  logType: 'MINIMAL_LOG_ENTRY',
});
const lines = (...sequences: number[]): string =>
  sequences.map((sequence) => `${JSON.stringify(entry(sequence))}\n`).join('');

function newHome(): Home {
  const home = findHome(join(temporaryDirectory(), 'home'));
  mkdirSync(home.audit, { recursive: true });
  return home;
}

test('all files are printed as one, as they are shown in AWS or as objects', async () => {
  const home = newHome();
  const id = newHsmId();
  const path = hsmAuditPath(home, id);
  // what became an older file while the command read it is there twice
  writeFileSync(auditFile(path, 2), lines(3));
  writeFileSync(auditFile(path, 1), lines(4, 5));
  writeFileSync(path, `${lines(5, 6)}{"version":1,"us`);
  const audit = (...more: string[]): ReturnType<typeof keyspan> =>
    keyspan(['hsm', 'audit', id, ...more], { home: home.root });
  const entries = [3, 4, 5, 6].map(entry);
  const text = await audit();
  expect(text).toMatchObject({ code: 0, stderr: '' });
  expect(text.stdout.toString()).toBe(`${entries.map(formatAuditEntry).join('\n\n')}\n`);
  expect(JSON.parse((await audit('--json')).stdout.toString())).toEqual(entries);
  appendFileSync(path, `\n${lines(8)}`);
  const damaged = await audit('--json');
  expect(damaged).toMatchObject({ code: 1, stderr: 'keyspan: 1 line cannot be read\n' });
  expect(JSON.parse(damaged.stdout.toString())).toEqual([...entries, entry(8)]);
  rmSync(path);
  expect((await audit()).code).toBe(0);
});

test('an id that is none, or of no HSM that was here, is an error of usage', async () => {
  const home = newHome();
  for (const id of ['../audit', newHsmId()]) {
    const { code, stderr } = await keyspan(['hsm', 'audit', id], { home: home.root });
    expect(code).toBe(252);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'KeyspanUsage' } });
  }
});

test('the HSMs of a cluster tell how it began, and who made a key', async () => {
  await using daemon = await DaemonFixture.start({ hsms: 2 });
  const client = await daemon.client();
  await client.kms.createKey();
  const { hsms } = (await daemon.status()).cluster;
  const logs: HsmAuditEntry[][] = [];
  for (const { id } of hsms) {
    const { stdout } = await keyspan(['hsm', 'audit', id, '--json'], { home: daemon.home.root });
    const found = JSON.parse(stdout.toString()) as HsmAuditEntry[];
    expect(found.map(({ sequence }) => sequence)).toEqual([...found.keys()]);
    logs.push(found);
  }
  const opcodes = logs.map((found) => found.map(({ opcode }): string => opcode));
  const [first] = opcodes.filter((found) => found[0] === 'CN_INIT_TOKEN');
  const [second] = opcodes.filter((found) => found[0] === 'CN_RESTORE_BEGIN');
  expect(first?.slice(0, 4)).toEqual([
    'CN_INIT_TOKEN',
    'CN_GEN_PSWD_ENC_KEY',
    'CN_CREATE_APPLIANCE_USER',
    'CN_INIT_DONE',
  ]);
  expect(first).toEqual(expect.arrayContaining(['CN_CHANGE_PSWD', 'CN_BACKUP_END']));
  expect(second).toEqual(expect.arrayContaining(['CN_RESTORE_END', 'CN_LOGIN']));
  const made = logs.flat().filter(({ opcode }) => opcode === 'CN_GENERATE_KEY');
  expect(made).toHaveLength(1);
  const copies = logs.map((found) =>
    found.filter(({ opcode, key }) => {
      return opcode === 'CN_INSERT_MASKED_OBJECT_USER' && key === made[0]?.key;
    }),
  );
  expect(copies.map((found) => found.length)).toEqual([1, 1]);
});
