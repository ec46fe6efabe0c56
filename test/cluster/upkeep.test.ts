import { USERS } from '../../src/cluster/lifecycle.js';
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Member } from '../../src/cluster/member.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { CKA } from '../../src/core/pkcs11.js';
import type { ClusterCheck } from '../../src/protocol/admin.js';
import { ClusterFixture } from '../support/cluster-fixture.js';
import { eventually } from '../support/daemon-fixture.js';
import { expectCode } from '../support/store-calls.js';

const PLAINTEXT = Buffer.from('a secret');
const input = { aad: Buffer.from('context'), plaintext: PLAINTEXT };
const WORD = 8;

let fixture: ClusterFixture;
let members: readonly Member[];
beforeAll(async () => {
  fixture = await ClusterFixture.start(3);
});
afterAll(async () => {
  await fixture?.[Symbol.asyncDispose]();
});
beforeEach(() => {
  members = fixture.cluster.members;
});

const call = (entry?: Member): { requestId: string; deadline: number; entry?: Member['id'] } => ({
  requestId: 'test',
  deadline: deadlineIn(30_000),
  ...(entry && { entry: entry.id }),
});
const member = (at: number): Member => members[at] ?? expect.unreachable();

async function makeKey(): Promise<HsmKeyId> {
  const prepared = await fixture.cluster.vault.createKey('AES_256', call());
  await fixture.store.commit(prepared.part);
  prepared.committed();
  await clean();
  return prepared.id;
}

/** Waits until all copies are where they belong. */
const clean = (): Promise<ClusterCheck> =>
  eventually(async () => {
    const check = await fixture.cluster.check(false);
    return check.clean && check.hsms.every(({ answered }) => answered) ? check : undefined;
  }, 'a clean cluster');

async function objectsOf({ id }: Member): Promise<Set<string>> {
  const tokens = join(fixture.home.hsms, id, 'tokens');
  const [token = ''] = readdirSync(tokens);
  const names = readdirSync(join(tokens, token)).filter((name) => name.endsWith('.object'));
  return new Set(names.map((name) => join(tokens, token, name)));
}

/** A new key, and the file of its copy on one HSM. */
async function keyWithFile(on: Member): Promise<{ key: HsmKeyId; file: string }> {
  const before = await objectsOf(on);
  const key = await makeKey();
  const added = [...(await objectsOf(on))].filter((file) => !before.has(file));
  expect(added).toHaveLength(1);
  return { key, file: added[0] ?? '' };
}

/** Does something to an HSM's files while it has ended. */
async function whileStopped(on: Member, work: () => void): Promise<void> {
  await fixture.cluster.want(on.id, 'stop');
  await eventually(async () => (on.supervisor.pid === undefined ? true : undefined), 'its end');
  work();
  await fixture.cluster.want(on.id, 'run');
  await eventually(async () => on.channel, 'it serves again');
}

/** This HSM itself works with the key, and another opens what it sealed. */
async function serves(on: Member, key: HsmKeyId): Promise<void> {
  const request = call(on);
  const sealed = await fixture.cluster.vault.encrypt(key, input, request);
  expect((request as { servedBy?: string }).servedBy).toBe(on.id);
  const other = members.find((one) => one !== on);
  const opened = await fixture.cluster.vault.decrypt(
    key,
    { ...sealed, aad: input.aad },
    call(other),
  );
  expect(Buffer.from(opened)).toEqual(PLAINTEXT);
}

describe('a copy that was harmed while its HSM was away is made again', () => {
  test('one whose file is gone', async () => {
    const { key, file } = await keyWithFile(member(0));
    await whileStopped(member(0), () => rmSync(file));
    await clean();
    await serves(member(0), key);
  });

  test('one whose file is torn', async () => {
    const { key, file } = await keyWithFile(member(1));
    const bytes = readFileSync(file);
    await whileStopped(member(1), () => writeFileSync(file, bytes.subarray(0, bytes.length / 2)));
    await clean();
    await serves(member(1), key);
    const torn = readdirSync(join(fixture.home.hsms, member(1).id, 'torn'));
    expect(torn.map((name) => file.endsWith(name))).toContain(true);
  });

  test('one that is another key now, though its file is whole', async () => {
    const { key, file } = await keyWithFile(member(2));
    await whileStopped(member(2), () => changeValue(file));
    await clean();
    await serves(member(2), key);
  });
});

/**
 * Changes the first byte of a key's value: it is sealed with AES-CBC behind its initialization
 * vector, and a byte of that changes a byte of the value and nothing else.
 */
function changeValue(file: string): void {
  const bytes = readFileSync(file);
  const head = Buffer.alloc(2 * WORD);
  head.writeBigUInt64BE(BigInt(CKA.VALUE), 0);
  head.writeBigUInt64BE(3n, WORD);
  const at = bytes.indexOf(head);
  expect(at).toBeGreaterThan(0);
  const first = at + head.length + WORD;
  bytes[first] = (bytes[first] ?? 0) ^ 0xff;
  writeFileSync(file, bytes);
}

test('a copy that the ledger does not know is kept and reported, and not served', async () => {
  const on = member(0);
  const keyId = newHsmKeyId();
  const deadline = deadlineIn(30_000);
  const password = await fixture.secrets.passwordOf(fixture.cluster.id, USERS.kms);
  const session = await fixture.cluster.login(USERS.kms, password);
  const fields = { keyId, kind: 'aes-256', label: 'stray' } as const;
  const made = await session.run('generate', fields, call(on));
  fixture.cluster.logout(session);
  await on.ask('insert', { masked: made.masked }, deadline);
  const expected = { clean: false, hsms: [{ unknown: 1 }, { unknown: 0 }, { unknown: 0 }] };
  expect(await fixture.cluster.check(false)).toMatchObject(expected);
  // neither a repair nor a new life of the HSM lets it go
  expect(await fixture.cluster.check(true)).toMatchObject(expected);
  await whileStopped(on, () => undefined);
  expect(await fixture.cluster.check(true)).toMatchObject(expected);
  await expectCode(fixture.cluster.vault.encrypt(keyId, input, call(on)), 'VaultKeyMissing');
  // the operator's word does, and names who could not be asked
  await fixture.cluster.want(member(1).id, 'stop');
  await eventually(async () => (member(1).channel ? undefined : true), 'it is away');
  expect(await fixture.cluster.unknown.discard()).toEqual({
    discarded: [{ hsm: on.id, key: keyId }],
    unasked: [member(1).id],
  });
  await fixture.cluster.want(member(1).id, 'run');
  await clean();
});

test('an HSM that lost a copy while it serves gets it again when that is seen', async () => {
  const key = await makeKey();
  const on = member(1);
  await on.ask('discard', { keyId: key }, deadlineIn(30_000));
  expect(await fixture.cluster.check(false)).toMatchObject({
    clean: false,
    live: expect.any(Number),
  });
  const request = call(on);
  await fixture.cluster.vault.encrypt(key, input, request);
  // another did it, and told of the one that could not
  expect((request as { servedBy?: string }).servedBy).not.toBe(on.id);
  await clean();
  await serves(on, key);
});

test('a repair by order makes what is missing', async () => {
  const key = await makeKey();
  await member(2).ask('discard', { keyId: key }, deadlineIn(30_000));
  const before = await fixture.cluster.check(false);
  expect(before).toMatchObject({ clean: false, scarce: 0, lost: 0 });
  expect(before.hsms.map(({ missing }) => missing)).toEqual([0, 0, 1]);
  const after = await fixture.cluster.check(true);
  expect(after).toMatchObject({ clean: true, live: before.live });
  await serves(member(2), key);
});

test('what is destroyed is gone from every HSM, and forgotten', async () => {
  const key = await makeKey();
  const { live } = await clean();
  await fixture.store.commit(await fixture.cluster.vault.destroyKey(key));
  const after = await eventually(async () => {
    const check = await fixture.cluster.check(false);
    return check.clean ? check : undefined;
  }, 'nothing is buried');
  expect(after).toMatchObject({ buried: 0, live: live - 1 });
  expect(after.hsms.map(({ held }) => held)).toEqual([live - 1, live - 1, live - 1]);
  await expectCode(fixture.cluster.vault.encrypt(key, input, call()), 'VaultKeyMissing');
});

test('what is destroyed while an HSM is away is remembered until it is back', async () => {
  const key = await makeKey();
  await fixture.cluster.want(member(0).id, 'stop');
  await eventually(async () => (member(0).channel ? undefined : true), 'it is away');
  await fixture.store.commit(await fixture.cluster.vault.destroyKey(key));
  expect(await fixture.cluster.check(true)).toMatchObject({ clean: false, buried: 1 });
  await fixture.cluster.want(member(0).id, 'run');
  await clean();
  expect(await fixture.cluster.check(false)).toMatchObject({ buried: 0 });
});
