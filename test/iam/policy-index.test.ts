import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { parsePolicy } from '../../src/iam/policy-document.js';

const policy = (
  kind: 'key' | 'identity',
  ...statements: object[]
): ReturnType<typeof parsePolicy> =>
  parsePolicy(JSON.stringify({ Version: '2012-10-17', Statement: statements }), kind);

function found(
  document: ReturnType<typeof parsePolicy>,
  asked: { action: string; names?: string[]; resource?: string },
): (string | undefined)[] {
  const sids: (string | undefined)[] = [];
  const { action, names = [], resource = '*' } = asked;
  document.index.of(action).Allow.each(names, resource, ({ sid }) => {
    sids.push(sid);
    return true;
  });
  return sids;
}

test('finds statements by action, by the names of principals, and by resource', () => {
  const arn = (name: string): string => `arn:aws:iam::111122223333:${name}`;
  const named = (Sid: string, AWS: string, Action: string): object => ({
    Sid,
    Effect: 'Allow',
    Principal: { AWS },
    Action,
    Resource: '*',
  });
  const key = policy(
    'key',
    named('alice', arn('user/alice'), 'kms:En*'),
    named('bob', arn('user/bob'), 'kms:Encrypt'),
    named('everyone', '*', 'kms:Encrypt'),
    named('root', arn('root'), 'kms:Decrypt'),
  );
  const names = [arn('user/alice'), arn('root')];
  expect(found(key, { action: 'kms:encrypt', names })).toEqual(['alice', 'everyone']);
  expect(found(key, { action: 'kms:decrypt', names })).toEqual(['root']);
  expect(found(key, { action: 'kms:sign', names })).toEqual([]);
});

test('forgets what it found for the oldest questions, and finds it again', () => {
  const allow = (Sid: string, Resource: string): object => ({
    Sid,
    Effect: 'Allow',
    Action: '*',
    Resource,
  });
  const variable = 'arn:aws:kms:x:1:key/${aws:username}';
  const document = policy(
    'identity',
    allow('all', '*'),
    allow('some', 'arn:aws:kms:x:1:key/1*'),
    allow('variable', variable),
  );
  const rounds = Math.max(LIMITS.policy_actions_max, LIMITS.policy_resources_max) + 10;
  for (let round = 0; round < 2; round += 1) {
    for (let at = 0; at < rounds; at += 1) {
      const resource = `arn:aws:kms:x:1:key/${at}`;
      const about = String(at).startsWith('1') ? ['all', 'some', 'variable'] : ['all', 'variable'];
      expect(found(document, { action: 'kms:encrypt', resource })).toEqual(about);
      expect(found(document, { action: `kms:a${at}`, resource })).toEqual(about);
    }
  }
});
