import { afterAll, beforeAll, expect, test } from 'vitest';
import { newHsmKeyId } from '../../src/core/ids.js';
import type { HsmResults } from '../../src/protocol/hsm-frames.js';
import { HsmHost, PASSWORDS, type FrameClient } from '../support/hsm-host.js';
import { expectCode } from '../support/store-calls.js';

let host: HsmHost;
let client: FrameClient;
let session: number;
beforeAll(async () => {
  host = await HsmHost.open();
  const hsm = await host.newHsm().start();
  client = await hsm.connect();
  const admin = await host.found(hsm, client);
  const password = PASSWORDS.user;
  const alice = { username: 'alice', role: 'crypto-user', password };
  await client.ask<'user-create'>('user-create', alice, { session: admin });
  session = await client.login('alice', password);
});
afterAll(() => host[Symbol.asyncDispose]());

const generate = (): Promise<HsmResults['generate']> =>
  client.ask<'generate'>(
    'generate',
    { keyId: newHsmKeyId(), kind: 'aes-256', label: '' },
    { session },
  );
const insert = (masked: Uint8Array, timeoutMs?: number): Promise<HsmResults['insert']> =>
  client.ask<'insert'>('insert', { masked }, { session, ...(timeoutMs && { timeoutMs }) });
const keys = async (): Promise<number> => (await client.ask<'info'>('info', {})).keys;

test('a key that waited for its turn longer than its asker is not put on the token', async () => {
  const made = await Promise.all(Array.from({ length: 12 }, () => generate()));
  const before = await keys();
  // each of the others takes the token longer than the last one has
  const [last, ...first] = made.map(({ masked }) => masked);
  const inTime = first.map((masked) => insert(masked));
  await expectCode(insert(last ?? expect.unreachable(), 1), 'HsmDeadlineExceeded');
  await Promise.all(inTime);
  expect(await keys()).toBe(before + first.length);
  // nothing stands in the way of another attempt
  expect(await insert(last ?? expect.unreachable())).toMatchObject({ revision: 1 });
});

test('one that waits for the same key to be put there is looked at again, too', async () => {
  const others = await Promise.all(Array.from({ length: 12 }, () => generate()));
  const { masked } = await generate();
  const inTime = others.map((other) => insert(other.masked));
  const first = insert(masked);
  await expectCode(insert(masked, 1), 'HsmDeadlineExceeded');
  await Promise.all(inTime);
  expect(await first).toEqual(await insert(masked));
});
