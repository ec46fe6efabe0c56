import { describe, expect, test } from 'vitest';
import { parseSeed, type Seed } from '../../src/daemon/seed-file.js';

const ACCOUNT = '111122223333';
const SECRET = 'a/secret+of/somebody';
const DOCUMENT = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: 'kms:*', Resource: '*' }],
};
const TRUST = {
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` },
      Action: 'sts:AssumeRole',
    },
  ],
};

const read = async (account: object): Promise<Seed['accounts']> =>
  (await parseSeed(JSON.stringify({ accounts: { [ACCOUNT]: account } }))).accounts;
const refusal = async (text: string): Promise<string> => {
  const outcome = await parseSeed(text).catch((error: unknown) => error);
  return (outcome as Error).message;
};

test('an account with its root’s keys, policies, users and roles', async () => {
  const policies = { own: DOCUMENT };
  const attached = [`arn:aws:iam::${ACCOUNT}:policy/keys`];
  const accessKeys = [{ id: 'AKIDBOB', secret: SECRET }];
  const inline = [{ name: 'own', text: JSON.stringify(DOCUMENT) }];
  const given = {
    accessKeys: [{ id: 'AKIDROOT', secret: SECRET }],
    policies: [{ name: 'keys', policy: JSON.stringify(DOCUMENT) }],
    users: [
      { name: 'bob', path: '/team/', tags: { team: 'post' }, policies, attached, accessKeys },
      { name: 'carol', boundary: attached[0] },
    ],
    roles: [{ name: 'reader', trust: TRUST, policies, maxSessionSeconds: 7_200 }],
  };
  expect(await read(given)).toEqual({
    roots: [{ account: ACCOUNT, accessKeys: given.accessKeys }],
    policies: [{ account: ACCOUNT, name: 'keys', text: JSON.stringify(DOCUMENT) }],
    users: [
      {
        account: ACCOUNT,
        name: 'bob',
        path: '/team/',
        tags: [{ key: 'team', value: 'post' }],
        policies: inline,
        attached,
        accessKeys,
      },
      { account: ACCOUNT, name: 'carol', boundary: attached[0] },
    ],
    roles: [
      {
        account: ACCOUNT,
        name: 'reader',
        trust: JSON.stringify(TRUST),
        policies: inline,
        maxSessionSeconds: 7_200,
      },
    ],
  });
});

test('an account of which nothing is said', async () => {
  expect(await read({})).toEqual({ roots: [], policies: [], users: [], roles: [] });
});

describe('what is wrong is named by its place, and never what stands there', () => {
  const key = { id: 'AKIDBOB', secret: SECRET };
  const at = `accounts.${ACCOUNT}`;
  test.each<[object, string]>([
    [{ users: [{ name: 'b b' }] }, `${at}.users[0].name: must be letters, digits and`],
    [{ users: [{ name: 'bob', path: 'team/' }] }, `${at}.users[0].path: must be a path`],
    [{ users: [{ name: 'bob', rols: [] }] }, `${at}.users[0].rols: is none of name, path,`],
    [
      { users: [{ name: 'bob', accessKeys: [{ id: 'AKIDBOB' }] }] },
      `${at}.users[0].accessKeys[0].secret: is missing`,
    ],
    [
      { users: [{ name: 'bob', accessKeys: [{ id: 'AKIDBOB', secret: `${SECRET} ` }] }] },
      `${at}.users[0].accessKeys[0].secret: must be 1 to 128 visible characters, in quotes`,
    ],
    [
      { users: [{ name: 'bob', accessKeys: [{ id: 1, secret: SECRET }] }] },
      `${at}.users[0].accessKeys[0].id: must be 3 to 128 letters and digits, in quotes`,
    ],
    [
      { accessKeys: [key], users: [{ name: 'bob', accessKeys: [key] }] },
      `${at}.users[0].accessKeys[0].id: is the id of two keys`,
    ],
    [{ users: [{ name: 'bob' }, { name: 'Bob' }] }, `${at}.users[1].name: is the name of two`],
    [
      { users: [{ name: 'bob', policies: { own: { Statement: [] } } }] },
      `${at}.users[0].policies.own: The policy must have a statement.`,
    ],
    [{ users: [{ name: 'bob', policies: { 'a b': DOCUMENT } }] }, 'is no name of a policy'],
    [{ roles: [{ name: 'reader' }] }, `${at}.roles[0].trust: is missing`],
    [{ roles: [{ name: 'reader', trust: '{' }] }, `${at}.roles[0].trust: `],
    [{ policies: [{ name: 'keys' }] }, `${at}.policies[0].policy: is missing`],
  ])('%j', async (account, sentence) => {
    const said = await refusal(JSON.stringify({ accounts: { [ACCOUNT]: account } }));
    expect(said).toContain(sentence);
    expect(said).not.toContain(SECRET);
  });

  test('an account that lost its first zero', async () => {
    expect(await refusal('accounts: { 012345678901: {} }')).toBe(
      'accounts.12345678901: must be twelve digits, in quotes',
    );
  });
});
