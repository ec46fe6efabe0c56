import { describe, expect, test } from 'vitest';
import { newBootId, newClusterId, newHsmId } from '../../src/core/ids.js';
import { failed, launch, listening } from '../../src/hsm/launch.js';

const right = {
  hsm: newHsmId(),
  cluster: newClusterId(),
  boot: newBootId(),
  directory: '/d',
  socket: '/s',
  log: '/l',
  audit: '/a',
  serial: null,
  soPin: 'cGlu',
  userPin: 'cGlu',
};

describe('the launch line', () => {
  test('is read back as it was written, with a serial and without', () => {
    expect(launch(JSON.parse(JSON.stringify(right)))).toEqual(right);
    expect(launch({ ...right, serial: '0123456789abcdef' }).serial).toBe('0123456789abcdef');
  });

  test('is refused when anything is missing, wrong or too much', () => {
    for (const name of Object.keys(right)) {
      const { [name as keyof typeof right]: _, ...without } = right;
      expect(() => launch(without)).toThrow(name);
      expect(() => launch({ ...right, [name]: 1 })).toThrow(name);
    }
    expect(() => launch({ ...right, more: 1 })).toThrow();
    expect(() => launch({ ...right, hsm: right.cluster })).toThrow('hsm');
    expect(() => launch('')).toThrow();
  });
});

test('a process says that it listens, or why it cannot', () => {
  expect(listening({ listening: true, serial: 'a' })).toEqual({ listening: true, serial: 'a' });
  expect(() => listening({ listening: false, serial: 'a' })).toThrow();
  expect(failed({ failed: 'HsmDeviceError', message: '' }).failed).toBe('HsmDeviceError');
  expect(() => failed({ failed: 'HsmDeviceError' })).toThrow();
});
