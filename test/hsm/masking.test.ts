import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newClusterId, newHsmKeyId, newMaskingKeyId } from '../../src/core/ids.js';
import {
  mask,
  maskRecord,
  openSecret,
  sealSecret,
  unmask,
  unmaskRecord,
  type MaskingContext,
} from '../../src/hsm/masking.js';
import {
  encodeKeyRecord,
  encodeMaskedBody,
  encodeMaskedRecordBody,
  joinMasked,
  splitMasked,
  type KeyRecord,
} from '../../src/hsm/records.js';
import { cmac } from '../../src/token/mac.js';
import { foundMaskingKeys } from '../../src/token/masking-keys.js';
import { generateSessionKey, wrapKey } from '../../src/token/wrapping.js';
import { newKeyRecord } from '../support/hsm-machine.js';
import { TokenFixture } from '../support/token-fixture.js';

const refused = expect.objectContaining({ code: 'HsmBadRecord' });

let fixture: TokenFixture;
let context: MaskingContext;
beforeAll(() => {
  fixture = TokenFixture.ready();
  const masking = foundMaskingKeys(fixture.token, fixture, newMaskingKeyId());
  context = { token: fixture.token, masking, cluster: newClusterId() };
});
afterAll(() => fixture[Symbol.dispose]());

const newBlob = (): Buffer =>
  wrapKey(context.token, context.masking.wrap, generateSessionKey(context.token));

/** A masked object that mask-auth vouches for, whatever stands in it. */
function vouched(
  changes: Partial<Parameters<typeof encodeMaskedBody>[0]>,
  record: KeyRecord,
): Buffer {
  const body = encodeMaskedBody({
    maskingKeyId: context.masking.id,
    cluster: context.cluster,
    keyId: record.id,
    revision: record.revision,
    record: encodeKeyRecord(record),
    blob: newBlob(),
    ...changes,
  });
  return joinMasked(body, cmac(context.token, context.masking.auth, body));
}

describe('a masked object', () => {
  test('opens to what was masked', () => {
    const record = newKeyRecord();
    const blob = newBlob();
    const opened = unmask(context, mask(context, record, blob));
    expect(opened.record).toEqual(record);
    expect(Buffer.from(opened.object.blob).equals(blob)).toBe(true);
    expect(opened.object).toMatchObject({
      keyId: record.id,
      cluster: context.cluster,
      revision: 1,
    });
    expect(unmask(context, vouched({}, record)).record).toEqual(record);
  });

  test('is refused with any one bit changed', () => {
    const masked = mask(context, newKeyRecord(), newBlob());
    for (let bit = 0; bit < masked.length * 8; bit += 1) {
      const copy = Buffer.from(masked);
      copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => unmask(context, copy)).toThrow(refused);
    }
  });

  test('is refused when it is cut short or extended', () => {
    const masked = mask(context, newKeyRecord(), newBlob());
    for (const length of [0, 1, 64, masked.length - 1]) {
      expect(() => unmask(context, masked.subarray(0, length))).toThrow(refused);
    }
    expect(() => unmask(context, Buffer.concat([masked, Buffer.alloc(1)]))).toThrow(refused);
  });

  test("is refused when one key's blob is put under another's record", () => {
    const mine = mask(context, newKeyRecord({ owner: 'mallory' }), newBlob());
    const theirs = mask(context, newKeyRecord({ owner: 'alice' }), newBlob());
    const [a, b] = [splitMasked(mine), splitMasked(theirs)];
    expect(() => unmask(context, joinMasked(a.body, b.mac))).toThrow(refused);
    const { object } = unmask(context, mine);
    const swapped = encodeMaskedBody({ ...object, blob: unmask(context, theirs).object.blob });
    expect(() => unmask(context, joinMasked(swapped, a.mac))).toThrow(refused);
  });

  test('is refused when it belongs elsewhere, even if it is authentic', () => {
    const record = newKeyRecord();
    for (const changes of [
      { cluster: newClusterId() },
      { maskingKeyId: newMaskingKeyId() },
      { keyId: newHsmKeyId() },
      { revision: 2 },
    ]) {
      expect(() => unmask(context, vouched(changes, record))).toThrow(refused);
    }
    expect(() => unmask(context, vouched({ record: Buffer.from('x') }, record))).toThrow(refused);
  });

  test('is refused by another cluster', () => {
    const masked = mask(context, newKeyRecord(), newBlob());
    expect(() => unmask({ ...context, cluster: newClusterId() }, masked)).toThrow(refused);
  });

  test('is refused under other masking keys', () => {
    using other = new OtherKeys(context);
    const masked = mask(other.context, newKeyRecord(), newBlob());
    expect(unmask(other.context, masked)).toBeDefined();
    expect(() => unmask(context, masked)).toThrow(refused);
  });
});

describe('a sealed secret', () => {
  test('opens under its name alone', () => {
    const secret = Buffer.from('a seed of odd length.');
    const sealed = sealSecret(context, secret, 'key a');
    expect(openSecret(context, sealed, 'key a').equals(secret)).toBe(true);
    const invalid = expect.objectContaining({ code: 'HsmDataInvalid' });
    expect(() => openSecret(context, sealed, 'key b')).toThrow(invalid);
    sealed[sealed.length - 1] = (sealed.at(-1) ?? 0) ^ 1;
    expect(() => openSecret(context, sealed, 'key a')).toThrow(invalid);
  });

  test('is another one each time', () => {
    const seal = (): string => sealSecret(context, Buffer.from('x'), 'n').toString('hex');
    expect(seal()).not.toBe(seal());
  });
});

/** A set of masking keys beside the first, with the first one's name. */
class OtherKeys implements Disposable {
  readonly context: MaskingContext;

  constructor(like: MaskingContext) {
    const auth = generateSessionKey(like.token);
    this.context = { ...like, masking: { ...like.masking, auth } };
  }

  [Symbol.dispose](): void {
    this.context.token.destroy(this.context.masking.auth);
  }
}

describe('a masked record', () => {
  test('opens to what was masked', () => {
    const record = newKeyRecord({ revision: 7, sharedWith: ['bob'] });
    expect(unmaskRecord(context, maskRecord(context, record))).toEqual(record);
  });

  test('is refused with any one bit changed', () => {
    const masked = maskRecord(context, newKeyRecord());
    for (let at = 0; at < masked.length; at += 1) {
      const copy = Buffer.from(masked);
      copy[at] = (copy[at] ?? 0) ^ 1;
      expect(() => unmaskRecord(context, copy), `byte ${at}`).toThrow(refused);
    }
  });

  test('is no masked key, and a masked key is no record', () => {
    const record = newKeyRecord();
    expect(() => unmask(context, maskRecord(context, record))).toThrow(refused);
    expect(() => unmaskRecord(context, mask(context, record, newBlob()))).toThrow(refused);
  });

  test('belongs to one cluster and its masking keys', () => {
    const elsewhere = [{ cluster: newClusterId() }, { maskingKeyId: newMaskingKeyId() }];
    for (const other of elsewhere) {
      const body = encodeMaskedRecordBody({
        maskingKeyId: context.masking.id,
        cluster: context.cluster,
        record: encodeKeyRecord(newKeyRecord()),
        ...other,
      });
      const vouchedFor = joinMasked(body, cmac(context.token, context.masking.auth, body));
      expect(() => unmaskRecord(context, vouchedFor)).toThrow(refused);
    }
  });
});
