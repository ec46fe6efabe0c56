import { describe, expect, test } from 'vitest';
import { FormError } from '../../src/protocol/form.js';
import { HSM_SESSION_ACTIONS, isHsmSessionAction } from '../../src/protocol/hsm-session.js';

describe('a request of the data plane', () => {
  test('takes bytes, and base64 for them', () => {
    const sign = { session: 's', key: '0x0000000000000001', mechanism: { name: 'ecdsa' } };
    const given = HSM_SESSION_ACTIONS.KeySign({ ...sign, data: 'aGk=' });
    expect(given.data).toEqual(Buffer.from('hi'));
    expect(HSM_SESSION_ACTIONS.KeySign({ ...sign, data: Buffer.from('hi') })).toEqual(given);
  });

  test.each([
    ['KeySign', { session: 's', key: '0x1', mechanism: { name: 'ecdsa' }, data: 'aGk=' }],
    ['KeySign', { session: 's', key: '0x0000000000000001', mechanism: {}, data: 'aGk=' }],
    ['KeyFind', { session: 's', limit: 0 }],
    ['UserCreate', { session: 's', username: 'a-b', role: 'admin', password: 'long-enough' }],
    ['UserCreate', { session: 's', username: 'ab', role: 'admin', password: 'with:colon' }],
    ['QuorumGenerate', { session: 's', service: 'another' }],
  ] as const)('%s of another form is refused', (action, params) => {
    expect(() => HSM_SESSION_ACTIONS[action](params)).toThrow(FormError);
  });

  test('is known by its name', () => {
    expect(isHsmSessionAction('KeySign')).toBe(true);
    expect(isHsmSessionAction('toString')).toBe(false);
  });
});
