import { afterAll, beforeAll, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { AdminAction, AdminResults } from '../../src/protocol/admin.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { TokenSigner } from '../support/token-signer.js';

const PASSWORD = 'password-1';
const NAMES = ['alice', 'bob', 'carol'] as const;
type Name = (typeof NAMES)[number];
let daemon: DaemonFixture;
const sessions = {} as Record<Name, string>;
const signers = {} as Record<Name, TokenSigner>;
const ask = <A extends AdminAction>(action: A, params: object): Promise<AdminResults[A]> =>
  callAdmin(daemon.home, action, params, 60_000);
const data = Buffer.from('what is signed').toString('base64');
const MECHANISM = { name: 'ecdsa', hash: 'sha256' };
let key = '';

const bytesOf = (blob: unknown): Buffer => Buffer.from(String(blob), 'base64');

beforeAll(async () => {
  daemon = await DaemonFixture.start({ hsms: 3 });
  const password = (await ask('Credentials', {})).admin?.password;
  const login = { username: 'admin', role: 'admin', password };
  const { session: admin } = await ask('UserLogin', login);
  for (const username of NAMES) {
    const user = { username, role: 'crypto-user', password: PASSWORD };
    await ask('UserCreate', { session: admin, ...user });
    const { session } = await ask('UserLogin', user);
    sessions[username] = session;
    const signer = new TokenSigner();
    signers[username] = signer;
    const { tokens } = await ask('QuorumGenerate', { session, service: 'registration' });
    const signed = tokens.map(({ token }) => ({
      token,
      signature: signer.sign(bytesOf(token)).toString('base64'),
    }));
    await ask('UserChangeQuorum', { session, publicKey: signer.pem, tokens: signed });
  }
  const { privateKey } = await ask('KeyGeneratePair', {
    session: sessions.alice,
    spec: { type: 'ec', curve: 'secp256r1' },
    publicKey: { label: 'public' },
    privateKey: { label: 'private', attributes: { sign: true } },
    share: ['bob'],
    quorum: { manage: 2, use: 2 },
  });
  key = privateKey['key-reference'];
});
afterAll(async () => {
  for (const signer of Object.values(signers)) signer[Symbol.dispose]();
  await daemon?.[Symbol.asyncDispose]();
});

/** A token of one user's login, that others sign. */
async function approved(
  by: readonly Name[],
  of: { who?: Name; service?: 'key-usage' | 'key-management'; key?: string } = {},
): Promise<object> {
  const { who = 'alice', service = 'key-usage', key: named = key } = of;
  const asked = { session: sessions[who], service, key: named };
  const { tokens } = await ask('QuorumGenerate', asked);
  const all = Buffer.concat(tokens.map(({ token }) => bytesOf(token)));
  const signatures = by.map((username) => ({
    username,
    role: 'crypto-user',
    signature: signers[username].sign(all).toString('base64'),
  }));
  return { data: all.toString('base64'), signatures };
}

const sign = (approval?: object, who: Name = 'alice'): Promise<unknown> =>
  ask('KeySign', { session: sessions[who], key, mechanism: MECHANISM, data, approval });
const message = (text: string | RegExp): unknown =>
  expect.objectContaining({
    message: typeof text === 'string' ? text : expect.stringMatching(text),
  });

test('a key that two must approve of is used when two of its users did', async () => {
  await expect(sign()).rejects.toEqual(message('Quorum Failed'));
  expect(await sign(await approved(['alice', 'bob']))).toHaveProperty('signature');
  const forBob = await approved(['alice', 'bob'], { who: 'bob' });
  expect(await sign(forBob, 'bob')).toHaveProperty('signature');
});

test('an approval is for one use, by one login, on one key', async () => {
  const once = await approved(['alice', 'bob']);
  for (let at = 0; at < 3; at += 1) {
    // each HSM has a token of its own, which is used up there
    await sign(once).catch(() => undefined);
  }
  await expect(sign(once)).rejects.toEqual(
    message('Invalid username-signature pair for quorum authorization'),
  );
  const others = await approved(['alice', 'bob'], { who: 'bob' });
  await expect(sign(others)).rejects.toEqual(
    message('Invalid username-signature pair for quorum authorization'),
  );
  const another = await approved(['alice', 'bob'], { service: 'key-management' });
  await expect(sign(another)).rejects.toEqual(message('Quorum Failed'));
});

test('whom the key is not shared with does not approve, and one is too few', async () => {
  await expect(sign(await approved(['alice', 'carol']))).rejects.toEqual(
    message('Invalid username-signature pair for quorum authorization'),
  );
  await expect(sign(await approved(['alice']))).rejects.toEqual(
    message('Too few quorum approvals: currently 1 approvals, but 2 approvals required'),
  );
  const twice = await approved(['alice', 'alice']);
  await expect(sign(twice)).rejects.toEqual(message(/^Too few quorum approvals/));
  const nobody = await approved([]);
  await expect(sign(nobody)).rejects.toEqual(message('No token signatures provided'));
});

test('sharing, naming and exporting it need approvals of their own', async () => {
  const session = sessions.alice;
  const share = { session, key, username: 'carol' };
  await expect(ask('KeyShare', share)).rejects.toEqual(message('Quorum Failed'));
  const approval = await approved(['alice', 'bob'], { service: 'key-management' });
  await ask('KeyShare', { ...share, approval });
  const wrapping = await ask('KeyGenerate', {
    session,
    spec: { type: 'aes', length: 32 },
    key: { label: 'wrapping', attributes: { wrap: true } },
  });
  const wrap = {
    session,
    payload: key,
    wrapping: wrapping.key['key-reference'],
    mechanism: { name: 'aes-zero-pad' },
  };
  await expect(ask('KeyWrap', wrap)).rejects.toEqual(message('Quorum Failed'));
  const payloadApproval = await approved(['bob', 'carol'], { service: 'key-management' });
  expect(await ask('KeyWrap', { ...wrap, payloadApproval })).toHaveProperty('data');
});
