import { expect, test } from 'vitest';
import { USERS } from '../../src/cluster/lifecycle.js';
import { listTokens, mergeTokens, mergeValues, newTokens } from '../../src/cluster/quorum.js';
import type { HsmToken } from '../../src/protocol/quorum-frames.js';
import { ClusterFixture } from '../support/cluster-fixture.js';
import { newCall } from '../support/parts-fixture.js';

const values = { user: 2, quorum: 2, cluster: 1 };
const token = (changes: Partial<HsmToken> = {}): HsmToken => ({
  username: 'admin',
  service: 'user',
  expiresInMs: 597_900,
  ...changes,
});

test('values that differ say so, each for itself', () => {
  expect(mergeValues([values, values])).toEqual(values);
  expect(mergeValues([values, { ...values, user: 3 }])).toEqual({
    ...values,
    user: 'inconsistent',
  });
});

test('a token of a service of admins is one over all HSMs', () => {
  const lists = [
    { tokens: [token(), token({ service: 'registration' })], values },
    { tokens: [token({ expiresInMs: 596_100 }), token({ username: 'second' })], values },
  ];
  const listed = {
    service: 'user',
    'approvals-required': 2,
    'number-of-approvals': 0,
    'cluster-coverage': 'full',
  };
  expect(mergeTokens(lists)).toEqual([
    { ...listed, username: 'admin', 'token-timeout-seconds': 596 },
    {
      ...listed,
      username: 'second',
      'token-timeout-seconds': 597,
      'cluster-coverage': 'inconsistent',
    },
  ]);
  expect(mergeTokens([])).toEqual([]);
});

test('tokens of a key are counted on the HSM that has the fewest, if it has one', () => {
  const use = token({ service: 'key-usage', key: '0x0000000000680006', username: 'cu1' });
  const other = { ...use, key: '0x0000000000680007' };
  const lists = [
    { tokens: [use, use, other], values },
    { tokens: [use, use, use], values },
  ];
  const listed = { username: 'cu1', service: 'key-usage' };
  expect(mergeTokens(lists)).toEqual([
    { ...listed, 'key-reference': '0x0000000000680006', 'minimum-token-count': 2 },
  ]);
});

test('what one HSM does for all is approved for none of the others any more', async () => {
  await using fixture = await ClusterFixture.start(2);
  const { cluster, secrets } = fixture;
  const password = await secrets.passwordOf(cluster.id, USERS.admin);
  const session = await cluster.login(USERS.admin, password);
  const tokens = await newTokens(session, { service: 'user' });
  await newTokens(session, { service: 'cluster' });
  expect(await listTokens(cluster.members)).toHaveLength(2);
  const approval = { data: Buffer.concat(tokens.map((one) => one.token)), signatures: [] };
  const user = { username: 'alice', role: 'crypto-user', password: 'password-1' } as const;
  await session.run('user-create', { ...user, approval }, newCall());
  expect(await listTokens(cluster.members)).toMatchObject([{ service: 'cluster' }]);
});
