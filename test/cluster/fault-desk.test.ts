import { describe, expect, test } from 'vitest';
import { FaultDesk, STEPS } from '../../src/cluster/fault-desk.js';
import type { Member } from '../../src/cluster/member.js';
import { KeyspanError } from '../../src/core/errors.js';
import { FaultRules, type FaultAction, type FaultRule } from '../../src/core/fault-rules.js';
import { LIMITS } from '../../src/core/limits.js';
import { expectCode } from '../support/store-calls.js';

const rule = (operation: string, action: FaultAction = { do: 'drop' }): FaultRule => ({
  operation,
  when: 'before',
  nth: 1,
  times: 1,
  action,
});

/** An HSM that takes faults, or one whose channel is of no use. */
function member(id: string, rules?: FaultRules): Member {
  const request = async (frame: { operation: string; fields: { rule: FaultRule } }) => {
    if (!rules) throw new KeyspanError('KeyspanConnection');
    if (frame.operation === 'fault-add') return { id: rules.add(frame.fields.rule) };
    if (frame.operation === 'fault-clear') rules.clear();
    return { faults: rules.list() };
  };
  return { id, channel: { request } } as unknown as Member;
}

describe('a fault waits', () => {
  test('in the HSM that it is for', async () => {
    const [mine, other] = [new FaultRules(), new FaultRules()];
    const desk = new FaultDesk(() => [member('hsm-a', mine), member('hsm-b', other)]);
    await desk.add('hsm-a', rule('insert'));
    expect(mine.list()).toMatchObject([rule('insert')]);
    expect(other.list()).toEqual([]);
    expect(await desk.list()).toMatchObject([{ hsm: 'hsm-a', operation: 'insert' }]);
    await desk.clear();
    expect(mine.list()).toEqual([]);
  });

  test('for the next process, and goes with it', async () => {
    const desk = new FaultDesk(() => []);
    await desk.add('next', rule('join'));
    expect(await desk.list()).toMatchObject([{ hsm: 'next', seen: 0 }]);
    expect(desk.takeNext()).toEqual([rule('join')]);
    expect(desk.takeNext()).toEqual([]);
    expect(await desk.list()).toEqual([]);
    await desk.add('next', rule('join'));
    await desk.clear();
    expect(desk.takeNext()).toEqual([]);
  });

  test('in the daemon, for a step of its own', async () => {
    const desk = new FaultDesk(() => []);
    await desk.add('daemon', rule('create.made', { do: 'error', ckr: 'CKR_DEVICE_ERROR' }));
    expect(await desk.list()).toMatchObject([{ hsm: 'daemon', operation: 'create.made' }]);
    await desk.step('create.intended');
    await expectCode(desk.step('create.made'), 'KeyspanRefused');
    await desk.step('create.made');
    await desk.add('daemon', rule('*', { do: 'delay', ms: 1 }));
    await desk.clear();
    expect(await desk.list()).toEqual([]);
  });
});

describe('refused is', () => {
  const desk = new FaultDesk(() => [member('hsm-a', new FaultRules())]);

  test.each([
    ['an HSM that is not there', 'hsm-b', 'insert'],
    ['an operation that no HSM has', 'hsm-a', 'enrypt'],
    ['one that is a step of the daemon', 'hsm-a', 'create.made'],
    ['an operation that the next HSM will not have', 'next', 'dance'],
    ['a step that the daemon has not', 'daemon', 'insert'],
  ])('%s', async (_, place, operation) => {
    await expectCode(desk.add(place, rule(operation)), 'KeyspanUsage');
  });

  test.each(['daemon', 'next'])('more than the bound for %s', async (place) => {
    const full = new FaultDesk(() => []);
    for (let count = 0; count < LIMITS.faults_max; count += 1) await full.add(place, rule('*'));
    await expectCode(full.add(place, rule('*')), 'LimitExceededException');
  });
});

test('every step and every operation can be waited for', async () => {
  const desk = new FaultDesk(() => []);
  for (const step of [...STEPS, '*']) await desk.add('daemon', rule(step));
  for (const operation of ['insert', 'join', 'data-key', '*'])
    await desk.add('next', rule(operation));
  expect(await desk.list()).toHaveLength(STEPS.length + 5);
});

test('of an HSM that does not answer nothing is known, and the others are heard', async () => {
  const rules = new FaultRules();
  const idle = { id: 'hsm-d', channel: undefined } as unknown as Member;
  const desk = new FaultDesk(() => [member('hsm-c'), idle, member('hsm-a', rules)]);
  await desk.add('hsm-a', rule('insert'));
  expect(await desk.list()).toMatchObject([{ hsm: 'hsm-a' }]);
  await expectCode(desk.add('hsm-c', rule('insert')), 'KeyspanConnection');
  await desk.clear();
  expect(rules.list()).toEqual([]);
});
