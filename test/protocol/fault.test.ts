import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { faultRule } from '../../src/protocol/fault.js';
import { FormError } from '../../src/protocol/form.js';

const RULE = { operation: 'insert', when: 'after', nth: 2, times: 3, action: { do: 'crash' } };

describe('a fault that crosses a wire', () => {
  test.each([
    [{ do: 'crash' }],
    [{ do: 'drop' }],
    [{ do: 'delay', ms: 1 }],
    [{ do: 'delay', ms: LIMITS.fault_delay_max_ms }],
    [{ do: 'error', ckr: 'CKR_DEVICE_ERROR' }],
  ])('%j', (action) => {
    expect(faultRule({ ...RULE, action })).toEqual({ ...RULE, action });
  });

  test.each([
    ['no rule', undefined],
    ['without an operation', { ...RULE, operation: undefined }],
    ['an operation of no name', { ...RULE, operation: '' }],
    ['another moment', { ...RULE, when: 'during' }],
    ['a match before the first', { ...RULE, nth: 0 }],
    ['a strike that is none', { ...RULE, times: 0 }],
    ['half a strike', { ...RULE, times: 1.5 }],
    ['no action', { ...RULE, action: undefined }],
    ['an action of null', { ...RULE, action: null }],
    ['another action', { ...RULE, action: { do: 'dance' } }],
    ['an action that every object has', { ...RULE, action: { do: 'toString' } }],
    ['an action with more', { ...RULE, action: { do: 'crash', ms: 1 } }],
    ['a delay of no length', { ...RULE, action: { do: 'delay' } }],
    ['a delay of no time', { ...RULE, action: { do: 'delay', ms: 0 } }],
    ['a delay too long', { ...RULE, action: { do: 'delay', ms: LIMITS.fault_delay_max_ms + 1 } }],
    ['an error of no name', { ...RULE, action: { do: 'error' } }],
    ['an error that PKCS#11 has not', { ...RULE, action: { do: 'error', ckr: 'CKR_NONSENSE' } }],
    ['an error without its prefix', { ...RULE, action: { do: 'error', ckr: 'DEVICE_ERROR' } }],
    ['an error that every object has', { ...RULE, action: { do: 'error', ckr: 'CKR_toString' } }],
    ['more than a rule', { ...RULE, hsm: 'next' }],
  ])('%s is refused', (_, value) => {
    expect(() => faultRule(value)).toThrow(FormError);
  });
});
