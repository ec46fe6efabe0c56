import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { newClusterId, newHsmKeyId, newMaskingKeyId } from '../../src/core/ids.js';
import {
  decodeKeyRecord,
  decodeMaskedBody,
  decodeUserRecord,
  decodeUsers,
  digestOfRecord,
  encodeKeyRecord,
  encodeMaskedBody,
  encodeUserRecord,
  encodeUsers,
  joinMasked,
  packDataObject,
  splitMasked,
  unpackDataObject,
  versionOf,
  withKey,
  type KeyObject,
  type KeyRecord,
  type UserRecord,
} from '../../src/hsm/records.js';
import { encodeCbor } from '../../src/protocol/frame-codec.js';
import { newKeyRecord } from '../support/hsm-machine.js';

const refused = expect.objectContaining({ code: 'HsmBadRecord' });
const user: UserRecord = {
  version: 1,
  username: 'alice',
  role: 'crypto-user',
  revision: 2,
  salt: Buffer.alloc(16, 1),
  hash: Buffer.alloc(32, 2),
  failures: 3,
  locked: false,
};

describe('records', () => {
  test('come back as they were', () => {
    const record = newKeyRecord({ sharedWith: ['bob'], label: 'schlüssel ☃' });
    expect(decodeKeyRecord(encodeKeyRecord(record))).toEqual(record);
    expect(decodeUserRecord(encodeUserRecord(user))).toEqual(user);
    const users = [user, { ...user, username: 'bob', locked: true }];
    expect(decodeUsers(encodeUsers(users))).toEqual(users);
    expect(decodeUsers(encodeUsers([]))).toEqual([]);
  });

  test('of another version or form are refused', () => {
    const record = newKeyRecord();
    const wrong = [
      { ...record, version: 2 },
      { ...record, revision: 0 },
      { ...record, kind: 'aes-128' },
      { ...record, proof: Buffer.alloc(15) },
      { ...record, id: 'x' },
      { ...record, more: 1 },
      { ...record, usage: { encrypt: 1, decrypt: true } },
      [record],
      null,
    ];
    for (const value of wrong) expect(() => decodeKeyRecord(encodeCbor(value))).toThrow(refused);
    const { hash: _, ...without } = user;
    for (const value of [without, { ...user, role: 'root' }, { ...user, failures: -1 }]) {
      expect(() => decodeUserRecord(encodeCbor(value))).toThrow(refused);
    }
    expect(() => decodeUsers(encodeCbor([1]))).toThrow(refused);
  });

  test('say by their version who reads them whole', () => {
    const object: KeyObject = {
      class: 'secret-key',
      type: 'aes',
      reference: '0x0000000000000001',
      flags: 3,
      id: Buffer.of(1),
      length: 32,
      manage: 0,
      use: 0,
    };
    const of = (more: object, version: number): KeyRecord => {
      const whole = { ...object, ...more };
      return newKeyRecord({
        version: version as KeyRecord['version'],
        kind: 'object',
        object: whole,
      });
    };
    const extra = { '16': Buffer.of(1), '3': Buffer.alloc(0) };
    const cases: [object, number][] = [
      [{}, 2],
      [{ class: 'public-key', type: 'rsa' }, 2],
      [{ extra }, 3],
      [{ class: 'certificate', type: 'none', length: 0 }, 3],
      [{ class: 'data', type: 'none', length: 32_768 }, 3],
    ];
    for (const [more, version] of cases) {
      const record = of(more, version);
      expect(versionOf(record.object)).toBe(version);
      expect(decodeKeyRecord(encodeKeyRecord(record))).toEqual(record);
      for (const other of [1, 2, 3].filter((one) => one !== version)) {
        const wrong = encodeCbor({ ...record, version: other });
        expect(() => decodeKeyRecord(wrong)).toThrow(refused);
      }
    }
    expect(versionOf(undefined)).toBe(1);
  });

  test('have digests that say what is in them, in whatever order it was written', () => {
    const record = newKeyRecord();
    const at = (extra: Record<string, Uint8Array>): string => {
      const object = { class: 'data', type: 'none', extra } as unknown as KeyObject;
      return digestOfRecord({ ...record, object }).toString('hex');
    };
    const [a, b] = [Buffer.of(1), Buffer.of(2)];
    expect(at({ '4294967295': a, x: b })).toBe(at({ x: b, '4294967295': a }));
    expect(at({ '1': a })).not.toBe(at({ '1': b }));
    expect(at({ '1': a })).not.toBe(at({ '2': a }));
  });

  test('of users with a key are of version 2, and say what it is for', () => {
    const publicKey = Buffer.alloc(294, 3);
    const both = withKey(user, { publicKey, mfa: true, quorum: true });
    expect(both).toEqual({ ...user, version: 2, publicKey, mfa: true, quorum: true });
    const one = withKey(both, { publicKey, mfa: false, quorum: true });
    expect(one).toEqual({ ...user, version: 2, publicKey, quorum: true });
    for (const record of [both, one]) {
      expect(decodeUserRecord(encodeUserRecord(record))).toEqual(record);
    }
    expect(withKey(one, { publicKey, mfa: false, quorum: false })).toEqual(user);
    const wrong = [
      { ...user, version: 2 },
      { ...user, version: 2, publicKey },
      { ...user, version: 2, mfa: true },
      { ...user, publicKey, mfa: true },
      { ...both, mfa: false },
      { ...both, version: 3 },
    ];
    for (const value of wrong) expect(() => decodeUserRecord(encodeCbor(value))).toThrow(refused);
  });

  test('that are cut short are refused at every length', () => {
    const whole = encodeKeyRecord(newKeyRecord());
    for (let length = 0; length < whole.length; length += 1) {
      expect(() => decodeKeyRecord(whole.subarray(0, length))).toThrow(refused);
    }
    expect(() => decodeKeyRecord(Buffer.concat([whole, Buffer.alloc(1)]))).toThrow(refused);
  });
});

describe('data objects', () => {
  const object = { id: 'alice', revision: 4, body: Buffer.from('a body of some length') };
  const packed = packDataObject(object);

  test('come back as they were', () => {
    expect(unpackDataObject(packed)).toEqual(object);
    expect(
      unpackDataObject(packDataObject({ ...object, body: Buffer.alloc(0) }))?.body.length,
    ).toBe(0);
  });

  test('are nothing when they are torn anywhere', () => {
    for (let length = 0; length < packed.length; length += 1) {
      expect(unpackDataObject(packed.subarray(0, length))).toBeUndefined();
      const zeroed = Buffer.concat([
        packed.subarray(0, length),
        Buffer.alloc(packed.length - length),
      ]);
      expect(unpackDataObject(zeroed)).toBeUndefined();
    }
  });

  test('are nothing when one bit is another', () => {
    for (let bit = 0; bit < packed.length * 8; bit += 1) {
      expect(unpackDataObject(flipped(packed, bit))).toBeUndefined();
    }
  });

  test('are nothing when parts of two are put together', () => {
    const digest = createHash('sha256')
      .update(encodeCbor(['alice', 5, object.body]))
      .digest();
    expect(unpackDataObject(encodeCbor([1, 'alice', 5, object.body, digest]))).toBeDefined();
    expect(unpackDataObject(encodeCbor([1, 'alice', 6, object.body, digest]))).toBeUndefined();
    expect(unpackDataObject(encodeCbor([1, 'bob', 5, object.body, digest]))).toBeUndefined();
    expect(unpackDataObject(encodeCbor([2, 'alice', 5, object.body, digest]))).toBeUndefined();
  });
});

describe('masked objects', () => {
  const object = {
    maskingKeyId: newMaskingKeyId(),
    cluster: newClusterId(),
    keyId: newHsmKeyId(),
    revision: 7,
    record: Buffer.from([1, 2]),
    blob: Buffer.from([3, 4, 5]),
  };

  test('come back as they were', () => {
    const body = encodeMaskedBody(object);
    expect(decodeMaskedBody(body)).toEqual(object);
    const mac = Buffer.alloc(16, 9);
    const split = splitMasked(joinMasked(body, mac));
    expect([body.equals(split.body), mac.equals(split.mac)]).toEqual([true, true]);
  });

  test('of another form are refused', () => {
    for (const value of [[], [Buffer.alloc(1)], [1, 2], 'x', [Buffer.alloc(1), 'mac']]) {
      expect(() => splitMasked(encodeCbor(value))).toThrow(refused);
    }
    const parts = [1, object.maskingKeyId, object.cluster, object.keyId, 7, object.record];
    expect(() => decodeMaskedBody(encodeCbor(parts))).toThrow(refused);
    expect(() => decodeMaskedBody(encodeCbor([2, ...parts.slice(1), object.blob]))).toThrow(
      refused,
    );
  });
});

function flipped(bytes: Uint8Array, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}
