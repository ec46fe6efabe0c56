import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { cloudhsmCli } from '../support/command.js';
import { ForeignInstallation } from '../support/foreign-installation.js';

/** What the program asks the daemon, which is played here, and what it makes of the answers. */
let place: ForeignInstallation;
beforeAll(async () => {
  place = await new ForeignInstallation().start();
});
afterAll(() => place.stop());
beforeEach(() => {
  place.calls.length = 0;
  place.admin = answer;
});

const referenceOf = (number: number): string => `0x${number.toString(16).padStart(16, '0')}`;
const ONE = referenceOf(1);
const KEY = { 'key-reference': ONE, 'key-info': {}, attributes: { label: 'one' } };
const bytes = (text: string): string => Buffer.from(text).toString('base64');

/** A daemon with one key. */
function answer(action: string, params: object): unknown {
  const { username, role } = params as { username?: string; role?: string };
  const answers: Record<string, unknown> = {
    UserLogin: { session: 'token', username, role },
    KeyFind: { keys: [KEY], total: 1, more: false },
    KeyGenerate: { key: KEY },
    KeyGeneratePair: { publicKey: { ...KEY, half: 'public' }, privateKey: KEY },
    KeyImport: { key: KEY },
    KeyUnwrap: { key: KEY },
    KeyWrap: { data: bytes('wrapped'), iv: bytes('iv') },
    KeySign: { signature: bytes('signature') },
    KeyVerify: { valid: true },
    QuorumGenerate: { tokens: [{ hsm: 'a', token: bytes('a') }] },
  };
  return answers[action] ?? {};
}

const LOGIN = 'login --username cu1 --role crypto-user --password password-1';

/** The answers to lines of one dialogue, behind a login; what it asked the daemon is in `calls`. */
async function converse(
  lines: readonly string[],
  env: Record<string, string> = {},
): Promise<readonly { error_code: number; data: unknown }[]> {
  const input = Buffer.from([LOGIN, ...lines].map((line) => `${line}\n`).join(''));
  const { stdout } = await cloudhsmCli(['interactive'], { home: place.home.root, input, env });
  const [, ...answers] = JSON.parse(`[${stdout.toString().replaceAll(/^\}\n\{/gm, '},{')}]`) as {
    error_code: number;
    data: unknown;
  }[];
  return answers;
}

/** What was asked of an action, without the login. */
const asked = (action: string): object[] =>
  place.calls
    .filter((call) => call.action === action)
    .map(({ params }) => {
      const { session: _, ...rest } = params as { session?: string };
      return rest;
    });

describe('key list', () => {
  const all = Array.from({ length: 1_234 }, (_, at) => ({
    'key-reference': referenceOf(at + 1),
    attributes: { label: `key-${at}` },
  }));
  beforeEach(() => {
    place.admin = (action, params) => {
      if (action !== 'KeyFind') return answer(action, params);
      const { after, limit = 10 } = params as { after?: string; limit?: number };
      const begin = after === undefined ? 0 : Number(after);
      const keys = all.slice(begin, begin + limit);
      return { keys, total: all.length, more: begin + limit < all.length };
    };
  });
  const page = (begin: number, end: number, next?: string): object => ({
    matched_keys: all.slice(begin, end),
    total_key_count: 1_234,
    returned_key_count: end - begin,
    ...(next !== undefined && { next_token: next }),
  });

  test.each([
    ['', page(0, 10, '10')],
    ['--starting-token 10', page(10, 20, '20')],
    ['--max-items 2 --starting-token 1233', page(1_233, 1_234)],
    ['--max-items 1234', page(0, 1_234)],
    ['--starting-token 5000', page(0, 0)],
    ['--max-items 150 --starting-token 1050 -v', page(1_050, 1_200, '1200')],
  ])('%s is a page', async (options, data) => {
    const printed = options.includes('5000') ? { ...data, matched_keys: [] } : data;
    expect(await converse([`key list ${options}`])).toEqual([{ error_code: 0, data: printed }]);
    for (const { limit } of asked('KeyFind') as { limit: number }[]) {
      expect(limit).toBeLessThanOrEqual(1_000);
    }
  });

  test('of what is before the page only references are asked', async () => {
    await converse(['key list --starting-token 1020 --max-items 200 --verbose']);
    expect(asked('KeyFind')).toMatchObject([
      { limit: 1_000, verbose: false },
      { limit: 20, verbose: false, after: referenceOf(1_000) },
      { limit: 100, verbose: true, after: referenceOf(1_020) },
      { limit: 100, verbose: true, after: referenceOf(1_120) },
    ]);
  });

  test.each(['--max-items 0', '--max-items x', '--starting-token -1', '--starting-token x'])(
    '%s is refused',
    async (options) => {
      const sentence = expect.stringMatching(/^(--[a-z-]+ is a whole number|unknown option)/);
      expect(await converse([`key list ${options}`])).toEqual([{ error_code: 1, data: sentence }]);
      expect(asked('KeyFind')).toEqual([]);
    },
  );
});

test('filters are asked for together, quoted or not, in one option or in many', async () => {
  await converse([
    'key list --filter attr.label=a attr.class=private-key --max-items 3',
    'key list --filter attr.label="two words" --filter attr.sign=true',
    `key list --filter='attr.label=a attr.class=private-key' --filter key-reference=0xAB`,
  ]);
  expect(asked('KeyFind')).toMatchObject([
    { filter: { attributes: { label: 'a', class: 'private-key' } }, limit: 3 },
    { filter: { attributes: { label: 'two words', sign: 'true' } } },
    {
      filter: {
        attributes: { label: 'a', class: 'private-key' },
        reference: '0x00000000000000ab',
      },
    },
  ]);
});

describe('a command about one key', () => {
  const lines = [
    'key delete --filter attr.label=a',
    'key share --filter attr.label=a --username cu2 --role crypto-user',
    'key set-attribute --filter attr.label=a --name sign --value true',
    'crypto sign ed25519 --key-filter attr.label=a --data YWJj',
    'quorum token-sign generate --service key-usage --token t --filter attr.label=a',
  ];

  test.each([
    [0, 'Key not found'],
    [2, 'More than one key matches the filter'],
  ])('with %d that fit does nothing', async (total, data) => {
    place.admin = (action, params) =>
      action === 'KeyFind'
        ? { keys: [KEY, KEY].slice(0, total), total, more: false }
        : answer(action, params);
    const refused = lines.map(() => ({ error_code: 1, data }));
    expect(await converse(lines)).toEqual(refused);
    const others = place.calls.filter(({ action }) => !['KeyFind'].includes(action));
    expect(others.map(({ action }) => action)).toEqual(['UserLogin', 'UserLogout']);
  });

  test('names it to the daemon', async () => {
    const path = place.path('usage.json');
    const all = lines.map((line) => line.replace('--token t', `--token ${path}`));
    expect((await converse(all)).map(({ error_code }) => error_code)).toEqual([0, 0, 0, 0, 0]);
    expect(asked('KeyDelete')).toEqual([{ key: ONE }]);
    expect(asked('KeyShare')).toEqual([{ key: ONE, username: 'cu2' }]);
    expect(asked('KeySetAttribute')).toEqual([{ key: ONE, name: 'sign', value: 'true' }]);
    const signing = { mechanism: { name: 'ed25519' }, data: 'YWJj', digested: false };
    expect(asked('KeySign')).toEqual([{ key: ONE, ...signing }]);
    expect(asked('QuorumGenerate')).toEqual([{ service: 'key-usage', key: ONE }]);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({
      service: 'key-usage',
      key_reference: ONE,
    });
  });
});

test('what makes a key goes to the daemon, and comes back in the shapes of CloudHSM', async () => {
  const quorum = '--manage-key-quorum-value 2 --use-key-quorum-value 3 --share-crypto-users a b';
  const pair = '--public-label p --private-label q';
  const attributes = '--private-attributes sign=true id=0x01';
  const answers = await converse([
    `key generate-symmetric aes --label l --key-length-bytes 32 ${quorum} --session`,
    `key generate-asymmetric-pair rsa ${pair} --modulus-size-bits 2048 --public-exponent 65537`,
    `key generate-asymmetric-pair ec ${pair} --curve prime256v1 ${attributes}`,
  ]);
  expect(answers).toEqual([
    { error_code: 0, data: { key: KEY } },
    { error_code: 0, data: { public_key: { ...KEY, half: 'public' }, private_key: KEY } },
    { error_code: 0, data: { public_key: { ...KEY, half: 'public' }, private_key: KEY } },
  ]);
  expect(asked('KeyGenerate')).toEqual([
    {
      spec: { type: 'aes', length: 32 },
      key: { label: 'l', attributes: {} },
      sessionKey: true,
      share: ['a', 'b'],
      quorum: { manage: 2, use: 3 },
    },
  ]);
  const publicKey = { label: 'p', attributes: {} };
  expect(asked('KeyGeneratePair')).toEqual([
    {
      spec: { type: 'rsa', bits: 2_048, exponent: 65_537 },
      publicKey,
      privateKey: { label: 'q', attributes: {} },
    },
    {
      spec: { type: 'ec', curve: 'secp256r1' },
      publicKey,
      privateKey: { label: 'q', attributes: { sign: 'true', id: '0x01' } },
    },
  ]);
});

describe('keys under others', () => {
  const filters = '--payload-filter attr.label=a --wrapping-filter attr.label=b';
  const references = { payload_key_reference: ONE, wrapping_key_reference: ONE };

  test('are printed, or written where --path says', async () => {
    const path = place.path('wrapped.bin');
    const line = `key wrap aes-gcm ${filters} --tag-length-bits 64 --aad 0x10`;
    expect(await converse([line, `${line} --path ${path}`])).toEqual([
      {
        error_code: 0,
        data: { ...references, iv: '0x6976', wrapped_key_data: bytes('wrapped') },
      },
      { error_code: 0, data: { ...references, iv: '0x6976' } },
    ]);
    expect(readFileSync(path, 'utf8')).toBe('wrapped');
    const mechanism = { name: 'aes-gcm', tagBits: 64, aad: 'EA==' };
    expect(asked('KeyWrap')[0]).toEqual({ payload: ONE, wrapping: ONE, mechanism });
  });

  test('come from a file or from the line, with an approval', async () => {
    const [path, approval] = [place.path('data.bin'), place.path('approval.json')];
    writeFileSync(path, 'wrapped');
    const signatures = [{ username: 'cu2', role: 'crypto-user', signature: 'c2ln' }];
    writeFileSync(approval, JSON.stringify({ approval_data: 'YWJj', signatures }));
    const line = 'key unwrap rsa-aes --filter attr.label=b --label l --key-type-class aes';
    const mechanism = '--hash-function sha256 --mgf mgf1-sha256';
    await converse([`${line} ${mechanism} --data-path ${path} --approval ${approval}`]);
    expect(asked('KeyUnwrap')).toEqual([
      {
        wrapping: ONE,
        mechanism: { name: 'rsa-aes', hash: 'sha256', mgf: 'sha256' },
        data: bytes('wrapped'),
        kind: 'aes',
        key: { label: 'l', attributes: {} },
        approval: { data: 'YWJj', signatures },
      },
    ]);
  });

  test('need a file that is there, before any key is looked for', async () => {
    const line = 'key unwrap aes-no-pad --filter attr.label=b --label l --key-type-class aes';
    expect(await converse([`${line} --data-path /nowhere`])).toEqual([
      { error_code: 1, data: 'The file /nowhere cannot be read: ENOENT' },
    ]);
    expect(asked('KeyFind')).toEqual([]);
  });
});

test('a signature that is not one of the key is an error', async () => {
  place.admin = (action, params) =>
    action === 'KeyVerify' ? { valid: false } : answer(action, params);
  const line = 'crypto verify ed25519 --key-filter attr.label=a --data YWJj --signature YWJj';
  expect(await converse([line])).toEqual([
    { error_code: 1, data: 'Signature verification failed' },
  ]);
});

describe('the key-availability check', () => {
  const lines = ['key list', 'key generate-symmetric aes --label l --key-length-bytes 32'];
  const sentence =
    'Cannot perform the requested key operation as the key must be available on at least 2 HSMs. ' +
    'Either increase the number of HSMs in the cluster, or disable the key availability check.';

  test('refuses in the words of CloudHSM', async () => {
    place.admin = (action, params) =>
      action.startsWith('Key')
        ? { error: { code: 'VaultNotDurable', message: 'too few' } }
        : answer(action, params);
    const refused = lines.map(() => ({ error_code: 1, data: sentence }));
    expect(await converse(lines)).toEqual(refused);
  });

  test.each([
    ['the flag', ' --disable-key-availability-check', {}],
    ['the environment', '', { CLOUDHSM_DISABLE_KEY_AVAILABILITY_CHECK: 'true' }],
  ])('is left out by %s', async (_, flag, env) => {
    await converse(
      lines.map((line) => line + flag),
      env,
    );
    for (const action of ['KeyFind', 'KeyGenerate']) {
      expect(asked(action)).toMatchObject([{ availabilityCheck: false }]);
    }
  });

  test('is made otherwise', async () => {
    await converse(lines, { CLOUDHSM_DISABLE_KEY_AVAILABILITY_CHECK: 'false' });
    for (const action of ['KeyFind', 'KeyGenerate']) {
      expect(asked(action)).toEqual([expect.not.objectContaining({ availabilityCheck: false })]);
    }
  });
});

describe('several logins', () => {
  const b = 'cluster-bbbbbbbbbbb';
  const own = 'cluster-aaaaaaaaaaa';
  beforeEach(() => {
    place.admin = (action, params) => {
      const { cluster } = params as { cluster?: string };
      if (action !== 'UserLogin') return answer(action, params);
      return { session: `on ${cluster ?? 'own'}`, username: 'cu1', role: 'crypto-user' };
    };
  });
  const sessions = (action: string): unknown[] =>
    place.calls
      .filter((call) => call.action === action)
      .map(({ params }) => (params as { session?: string }).session);

  test('each serve commands that name their cluster, and the newest all others', async () => {
    const answers = await converse([
      `${LOGIN} --cluster-id ${b}`,
      'key list',
      `key list --cluster-id ${own}`,
      `key list --cluster-id ${b}`,
      'logout',
      'key list',
      `key list --cluster-id ${b}`,
    ]);
    expect(sessions('KeyFind')).toEqual([`on ${b}`, 'on own', `on ${b}`, 'on own']);
    expect(answers.at(-1)).toEqual({ error_code: 1, data: `The login is not on the cluster ${b}` });
    // who is logged in at the end is logged out
    expect(sessions('UserLogout')).toEqual([`on ${b}`, 'on own']);
  });

  test('are what replication works with; the environment names who else', async () => {
    const ends = `--source-cluster-id ${own} --destination-cluster-id ${b}`;
    const line = `key replicate --filter attr.label=a ${ends}`;
    expect(await converse([line])).toEqual([
      { error_code: 1, data: `You are not logged in on the cluster ${b}` },
    ]);
    await converse([`${LOGIN} --cluster-id ${b}`, line]);
    expect(asked('KeyReplicate')).toEqual([{ destination: `on ${b}`, key: ONE }]);
    await converse([line], {
      DESTINATION_CLOUDHSM_ROLE: 'crypto-user',
      DESTINATION_CLOUDHSM_PIN: 'cu2:password-2',
    });
    expect(asked('UserLogin').at(-1)).toEqual({
      cluster: b,
      username: 'cu2',
      role: 'crypto-user',
      password: 'password-2',
    });
    // the login that was made for it is over with it
    expect(sessions('UserLogout').filter((one) => one === `on ${b}`)).toHaveLength(2);
  });
});

describe('a second factor, in a process of its own', () => {
  const pem = '-----BEGIN PUBLIC KEY-----\n';
  const token = bytes('token of an HSM');
  beforeEach(() => {
    const given = { tokens: [{ hsm: 'hsm-a', token }] };
    place.admin = (action, params) =>
      action === 'UserMfaTokens' || action === 'QuorumGenerate' ? given : answer(action, params);
  });
  const run = async (args: string, input: string): Promise<unknown> => {
    const env = { CLOUDHSM_ROLE: 'admin', CLOUDHSM_PIN: 'admin:password-1' };
    const options = { home: place.home.root, input: Buffer.from(input), env };
    const { stdout } = await cloudhsmCli(args.split(' '), options);
    return (JSON.parse(stdout.toString()) as { data: unknown }).data;
  };

  test('is asked for on standard input', async () => {
    const [unsigned, signed, key] = ['unsigned', 'signed', 'key.pub'].map((name) =>
      place.path(name),
    );
    writeFileSync(key ?? '', pem);
    writeFileSync(
      signed ?? '',
      JSON.stringify({ tokens: [{ approval_data: token, signed: 'c2ln' }] }),
    );
    const user = '--username alice --role crypto-user';
    const path = `--token ${unsigned}`;
    const factor = [{ token, signature: 'c2ln' }];
    await run(`login ${user} mfa-token-sign ${path}`, `password-1\n${signed}\n`);
    expect(asked('UserLogin')).toEqual([
      { username: 'alice', role: 'crypto-user', password: 'password-1', mfa: factor },
    ]);
    expect(JSON.parse(readFileSync(unsigned ?? '', 'utf8'))).toMatchObject({
      tokens: [{ approval_data: token, signed: '' }],
    });
    const change = `user change-mfa token-sign ${user} ${path}`;
    await run(`${change} --change-quorum`, `password-2\npassword-2\n${signed}\n${key}\n`);
    expect(asked('UserChangeMfa')).toEqual([
      {
        username: 'alice',
        role: 'crypto-user',
        password: 'password-2',
        changeQuorum: true,
        publicKey: pem,
        tokens: factor,
      },
    ]);
    expect(await run(change, `password-2\npassword-2\n\n${key}\n`)).toBe(
      `The file ${unsigned} is no token file: a token is not signed`,
    );
    expect(await run(change, `password-2\npassword-2\n${signed}\n`)).toBe(
      'No public key was given',
    );
    expect(await run(`${change} --deregister`, '')).toBe(
      'Either --token or --deregister is needed',
    );
    await run(`user change-mfa token-sign ${user} --disable --change-password password-3`, '');
    expect(asked('UserChangeMfa').at(-1)).toEqual({
      username: 'alice',
      role: 'crypto-user',
      password: 'password-3',
    });
  });

  test('is not asked for where its file cannot be written', async () => {
    const path = place.path('none/of/these');
    const login = `login --username a --role admin --password x mfa-token-sign --token ${path}`;
    expect(await run(login, '')).toBe(`The file ${path} cannot be written: ENOENT`);
    expect(existsSync(path)).toBe(false);
    expect(asked('UserLogin')).toEqual([]);
  });
});
