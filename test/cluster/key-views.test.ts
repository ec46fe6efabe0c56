import { expect, test } from 'vitest';
import { mergeKeys } from '../../src/cluster/key-views.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import type { KeyFacts } from '../../src/protocol/hsm-key-frames.js';
import { defaultFlags, flagsOf } from '../../src/protocol/objects.js';

const id = newHsmKeyId();
const key: KeyFacts = {
  id,
  owner: 'alice',
  sharedWith: ['bob'],
  label: 'a key',
  revision: 1,
  object: {
    class: 'secret-key',
    type: 'aes',
    reference: '0x0000000000000007',
    flags: defaultFlags('secret-key'),
    id: Buffer.of(1, 2),
    length: 16,
    check: Buffer.of(9, 8, 7),
    manage: 2,
    use: 3,
    wrapTemplate: { mask: flagsOf('sign', 'encrypt'), flags: flagsOf('sign') },
  },
};
const never = (): boolean => false;

test('a key that all HSMs have alike is full', () => {
  const [merged] = mergeKeys([[key], [key]], never);
  expect(merged?.described).toMatchObject({
    'key-reference': '0x0000000000000007',
    'key-info': {
      'key-owners': [{ username: 'alice', 'key-coverage': 'full' }],
      'shared-users': [{ username: 'bob', 'key-coverage': 'full' }],
      'key-quorum-values': { 'manage-key-quorum-value': 2, 'use-key-quorum-value': 3 },
      'cluster-coverage': 'full',
    },
    attributes: { label: 'a key', id: '0x0102', 'check-value': '0x090807', sign: true },
  });
});

test('one that an HSM is without, or has otherwise, is inconsistent', () => {
  const other = { ...key, label: 'another', sharedWith: [] };
  const [merged] = mergeKeys([[key], [other], []], never);
  expect(merged?.described).toMatchObject({
    'key-info': {
      'shared-users': [{ username: 'bob', 'key-coverage': 'inconsistent' }],
      'cluster-coverage': 'inconsistent',
    },
    attributes: { label: 'inconsistent', sign: true },
  });
});

test('a session key is on one HSM, and that is all of it', () => {
  const [merged] = mergeKeys([[key], []], (one) => one === id);
  expect(merged?.described['key-info']['cluster-coverage']).toBe('full');
});

test('they are in the order of their references', () => {
  const later = { ...key, id: newHsmKeyId() };
  const first = { ...later, object: { ...key.object, reference: '0x0000000000000001' } };
  const order = mergeKeys([[key], [first]], never).map(
    ({ described }) => described['key-reference'],
  );
  expect(order).toEqual(['0x0000000000000001', '0x0000000000000007']);
});
