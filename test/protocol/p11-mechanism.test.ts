import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CKM } from '../../src/core/pkcs11.js';
import {
  isOpaque,
  mechanismsOf,
  parameterKind,
  readMechanism,
  updatedParameter,
  writeMechanism,
  type P11Mechanism,
} from '../../src/protocol/p11-mechanism.js';
import {
  P11Reader,
  P11WireError,
  P11Writer,
  type P11Version,
} from '../../src/protocol/p11-wire.js';
import { mechanisms, P11_VERSIONS } from '../support/p11-arbitraries.js';

function written(mechanism: P11Mechanism | null, version: P11Version): Buffer {
  const writer = new P11Writer(1);
  writeMechanism(writer, mechanism, version);
  return writer.end().subarray(12);
}

const readerOf = (hex: string): P11Reader =>
  new P11Reader(Buffer.from(hex.replaceAll(' ', ''), 'hex'));

describe('a mechanism', () => {
  test.each(P11_VERSIONS)('is the same after it crossed the wire in version %d', (version) => {
    fc.assert(
      fc.property(mechanisms(version), (mechanism) => {
        const reader = new P11Reader(written(mechanism, version));
        expect(readMechanism(reader, version)).toEqual(mechanism);
        expect(reader.left).toBe(0);
      }),
      { numRuns: 500 },
    );
  });

  test.each(P11_VERSIONS)('is cut off nowhere in version %d', (version) => {
    fc.assert(
      fc.property(mechanisms(version), (mechanism) => {
        const bytes = written(mechanism, version);
        for (let length = 0; length < bytes.length; length += 1) {
          const cut = new P11Reader(bytes.subarray(0, length));
          expect(() => readMechanism(cut, version)).toThrow(P11WireError);
        }
      }),
    );
  });

  test('of no parameter is followed by an array that is not there, later by nothing', () => {
    const mechanism = { type: CKM.SHA256 };
    expect(written(mechanism, 0).toString('hex')).toBe('00000250ffffffff');
    expect(written(mechanism, 1).toString('hex')).toBe('00000250ffffffff');
    expect(written(mechanism, 2).toString('hex')).toBe('00000250');
  });

  test('that is not known may have a parameter before version 2: it is read past', () => {
    const reader = readerOf('00001057 00000002 6162 07');
    expect(readMechanism(reader, 1)).toEqual({
      type: CKM.EDDSA,
      parameter: { kind: 'bytes', bytes: Buffer.from('ab') },
    });
    expect(reader.u8()).toBe(7);
  });

  test('may lack its parameter from version 2', () => {
    const mechanism = { type: CKM.AES_GCM };
    expect(written(mechanism, 2).toString('hex')).toBe('0000108700');
    expect(readMechanism(readerOf('0000108700'), 2)).toEqual(mechanism);
    expect(() => written(mechanism, 1)).toThrow(TypeError);
  });

  test('with the parameter of another is a mistake of ours', () => {
    const parameter = { kind: 'length', length: 4 } as const;
    for (const version of P11_VERSIONS) {
      expect(() => written({ type: CKM.AES_CBC, parameter }, version)).toThrow(TypeError);
    }
  });

  test('that is NULL is not that of number 0', () => {
    for (const version of P11_VERSIONS) {
      expect(readMechanism(readerOf('ffffffff'), version)).toBeNull();
      expect(readMechanism(readerOf('00000000 ffffffff'), version)).toEqual({ type: 0 });
    }
  });

  test('of a vendor has a form that is not known', () => {
    for (const version of P11_VERSIONS) {
      const reader = readerOf('80010005 01 0000');
      const mechanism = readMechanism(reader, version);
      expect(mechanism).toEqual({ type: 0x8001_0005 });
      expect(mechanism && isOpaque(mechanism)).toBe(true);
      expect(reader.left).toBe(3);
    }
    expect(isOpaque({ type: CKM.AES_GCM })).toBe(false);
  });

  test('has a parameter of any length, which is checked where it is used', () => {
    const iv = Buffer.from('0102', 'hex');
    expect(readMechanism(readerOf('00001082 00000002 0102'), 1)).toEqual({
      type: CKM.AES_CBC,
      parameter: { kind: 'iv', iv },
    });
    expect(readMechanism(readerOf('00001082 01 ffffffff'), 2)).toEqual({
      type: CKM.AES_CBC,
      parameter: { kind: 'iv', iv: new Uint8Array(0) },
    });
  });
});

test('the answer of C_DeriveKey2 says whether there was a parameter', () => {
  const parameter = { kind: 'ecdh', kdf: 1, sharedData: null, publicData: null } as const;
  expect(updatedParameter({ type: CKM.ECDH1_DERIVE, parameter })).toBe(true);
  expect(updatedParameter({ type: CKM.ECDH1_DERIVE })).toBe(false);
  expect(updatedParameter({ type: CKM.SHA256_KEY_DERIVATION })).toBeNull();
});

describe('what clients let pass', () => {
  const first = mechanismsOf(0);
  const later = mechanismsOf(1);

  test('grew with 0.25 and stayed', () => {
    expect([...first].filter((type) => !later.has(type))).toEqual([]);
    expect(mechanismsOf(2)).toBe(later);
  });

  test('is in the first version RSA, ECDSA without a digest, AES in ECB and HMAC', () => {
    const { RSA_PKCS_PSS, RSA_PKCS_OAEP, ECDSA, ECDSA_SHA1, AES_ECB, SHA256_HMAC } = CKM;
    for (const type of [RSA_PKCS_PSS, RSA_PKCS_OAEP, ECDSA, ECDSA_SHA1, AES_ECB, SHA256_HMAC]) {
      expect(first.has(type)).toBe(true);
    }
    const { SHA224, ECDSA_SHA256, AES_CBC, AES_GCM, AES_CTR, AES_CMAC, ECDH1_DERIVE } = CKM;
    for (const type of [SHA224, ECDSA_SHA256, AES_CBC, AES_GCM, AES_CTR, AES_CMAC, ECDH1_DERIVE]) {
      expect(first.has(type)).toBe(false);
      expect(later.has(type)).toBe(true);
    }
  });

  test('has no Edwards curves and no wrapping by AES in any version', () => {
    const { EDDSA, EC_EDWARDS_KEY_PAIR_GEN, AES_KEY_WRAP, AES_KEY_WRAP_PAD, AES_CCM } = CKM;
    for (const type of [EDDSA, EC_EDWARDS_KEY_PAIR_GEN, AES_KEY_WRAP, AES_KEY_WRAP_PAD, AES_CCM]) {
      expect(later.has(type)).toBe(false);
    }
  });

  test('has in the first version two mechanisms with parameters', () => {
    const kinds = [...first].map(parameterKind).filter((kind) => kind !== undefined);
    expect(kinds.sort()).toEqual(['oaep', 'pss']);
  });
});
