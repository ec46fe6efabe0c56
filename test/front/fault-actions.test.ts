import { beforeEach, describe, expect, test } from 'vitest';
import { KeyspanError } from '../../src/core/errors.js';
import type { FaultRule } from '../../src/core/fault-rules.js';
import { isFaultAction, performFault, type FaultControl } from '../../src/front/fault-actions.js';
import { parsePrincipal } from '../../src/iam/principal.js';
import { expectCode } from '../support/store-calls.js';

const root = parsePrincipal('arn:aws:iam::123456789012:root');
const RULE: FaultRule = {
  operation: 'insert',
  when: 'after',
  nth: 1,
  times: 1,
  action: { do: 'crash' },
};
const calls: unknown[] = [];
const control: FaultControl = {
  add: async (place, rule) => {
    if (place === 'hsm-x') throw new KeyspanError('KeyspanUsage', 'there is no HSM hsm-x');
    if (place === 'hsm-y') throw new KeyspanError('KeyspanConnection');
    return calls.push([place, rule]);
  },
  list: async () => [{ ...RULE, id: 3, seen: 0, hsm: 'next' }],
  clear: async () => void calls.push('clear'),
};
beforeEach(() => {
  calls.length = 0;
});

test('only these are actions on faults', () => {
  const names = ['AddFault', 'ListFaults', 'ClearFaults', 'CreateKey', 'addFault', 'toString'];
  expect(names.filter(isFaultAction)).toEqual(['AddFault', 'ListFaults', 'ClearFaults']);
});

describe('the account root', () => {
  const perform = (action: string, params: unknown = {}): ReturnType<typeof performFault> =>
    performFault(control, root, { action, params });

  test('adds, lists and clears', async () => {
    expect(await perform('AddFault', { Hsm: 'next', Rule: RULE })).toEqual({ Id: 1 });
    expect(calls).toEqual([['next', RULE]]);
    expect(await perform('ListFaults')).toEqual({
      Faults: [{ ...RULE, id: 3, seen: 0, hsm: 'next' }],
    });
    expect(await perform('ClearFaults')).toEqual({});
    expect(calls).toEqual([['next', RULE], 'clear']);
  });

  test.each([
    ['nothing', undefined],
    ['no rule', { Hsm: 'next' }],
    ['a rule of another form', { Hsm: 'next', Rule: { ...RULE, nth: 0 } }],
    ['more than that', { Hsm: 'next', Rule: RULE, Times: 1 }],
    ['an HSM that is not there', { Hsm: 'hsm-x', Rule: RULE }],
  ])('is told what is wrong with %s', async (_, params) => {
    await expectCode(perform('AddFault', params), 'ValidationException');
    expect(calls).toEqual([]);
  });

  test('is not told that it was wrong when an HSM does not answer', async () => {
    await expectCode(perform('AddFault', { Hsm: 'hsm-y', Rule: RULE }), 'KeyspanConnection');
  });
});

test.each(['AddFault', 'ListFaults', 'ClearFaults'])('%s is for nobody else', async (action) => {
  const user = parsePrincipal('arn:aws:iam::123456789012:user/alice');
  const params = { Hsm: 'next', Rule: RULE };
  await expectCode(performFault(control, user, { action, params }), 'AccessDeniedException');
  const off = performFault(undefined, root, { action, params });
  await expectCode(off, 'UnsupportedOperationException');
  expect(calls).toEqual([]);
});
