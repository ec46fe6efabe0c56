import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { keyObject, type KeyObject } from '../../src/protocol/hsm-key-frames.js';
import { attributesOf, writeTemplate } from '../../src/protocol/key-description.js';
import { defaultFlags, flagsOf } from '../../src/protocol/objects.js';

const secret: KeyObject = {
  class: 'secret-key',
  type: 'aes',
  reference: '0x0000000000000007',
  flags: defaultFlags('secret-key'),
  id: Buffer.of(1, 2),
  length: 16,
  check: Buffer.of(9, 8, 7),
  manage: 2,
  use: 3,
};

describe("a key's attributes", () => {
  test('are shown as CloudHSM shows them', () => {
    expect(attributesOf(secret, 'a label')).toMatchObject({
      'key-type': 'aes',
      label: 'a label',
      id: '0x0102',
      'check-value': '0x090807',
      class: 'secret-key',
      sign: true,
      encrypt: false,
      'key-length-bytes': 16,
    });
    expect(attributesOf({ ...secret, id: Buffer.alloc(0) }, '')).toMatchObject({ id: '0x' });
  });

  test('say what its public half is', () => {
    const spki = (key: 'rsa' | 'ec'): Buffer =>
      (key === 'rsa'
        ? generateKeyPairSync('rsa', { modulusLength: 2_048 })
        : generateKeyPairSync('ec', { namedCurve: 'P-521' })
      ).publicKey.export({ format: 'der', type: 'spki' });
    const of = (type: 'rsa' | 'ec', more: object): KeyObject =>
      keyObject({ ...secret, class: 'public-key', type, public: spki(type), ...more });
    expect(attributesOf(of('rsa', { length: 256 }), '')).toMatchObject({
      'public-exponent': '0x010001',
      'modulus-size-bits': 2_048,
      modulus: expect.stringMatching(/^0x[0-9a-f]{512}$/),
    });
    expect(attributesOf(of('ec', { curve: 'secp521r1' }), '')).toMatchObject({
      curve: 'secp521r1',
      'ec-point': expect.stringMatching(/^0x04[0-9a-f]{264}$/),
    });
  });
});

test('a template names the flags that it is about', () => {
  const wrapTemplate = { mask: flagsOf('sign', 'encrypt'), flags: flagsOf('sign') };
  const described = attributesOf({ ...secret, wrapTemplate }, '');
  expect(described['wrap-template']).toBe('{"encrypt":false,"sign":true}');
  expect(writeTemplate({ mask: 0, flags: 0 })).toBe('{}');
});
