import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CKA } from '../../src/core/pkcs11.js';
import { selfTest } from '../../src/hsm/self-test.js';
import type { Cryptoki } from '../../src/token/cryptoki.js';
import { findObjects } from '../../src/token/objects.js';
import type { Token } from '../../src/token/token.js';
import { TokenFixture } from '../support/token-fixture.js';

const failed = (what: string): unknown =>
  expect.objectContaining({ code: 'HsmDeviceError', message: expect.stringContaining(what) });

let fixture: TokenFixture;
beforeAll(() => {
  fixture = TokenFixture.ready();
});
afterAll(() => fixture[Symbol.dispose]());

/** The real token with some members replaced: a fault of the module. */
function faulty<T extends object>(real: T, faults: Partial<T>): T {
  return new Proxy(real, {
    get(target, name) {
      if (Object.hasOwn(faults, name)) return faults[name as keyof T];
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

const withFaults = (faults: Partial<Cryptoki>): Token => {
  const { token } = fixture;
  return faulty(token, { cryptoki: faulty(token.cryptoki, faults) });
};

const flip = (bytes: Buffer, at: number): Buffer => {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
};

describe('the self-test', () => {
  test('passes on a token that works, and leaves nothing on it', () => {
    selfTest(fixture.token);
    selfTest(withFaults({}));
    expect(findObjects(fixture.token, [{ type: CKA.CLASS, value: 4 }])).toEqual([]);
  });

  test.each([0, 59, 60, 75])('sees byte %i of a ciphertext or tag that is wrong', (at) => {
    const { cryptoki } = fixture.token;
    const lying = withFaults({
      C_Encrypt: (session, data, out) => flip(cryptoki.C_Encrypt(session, data, out), at),
    });
    expect(() => selfTest(lying)).toThrow(failed('encryption'));
  });

  test('sees a plaintext that is wrong', () => {
    const { cryptoki } = fixture.token;
    const lying = withFaults({
      C_Decrypt: (session, data, out) => flip(cryptoki.C_Decrypt(session, data, out), 5),
    });
    expect(() => selfTest(lying)).toThrow(failed('decryption'));
  });

  test('sees a token that takes a forged tag', () => {
    const { cryptoki } = fixture.token;
    let opened: Buffer | undefined;
    const lying = withFaults({
      C_Decrypt: (session, data, out) => {
        try {
          opened = cryptoki.C_Decrypt(session, data, out);
        } catch {
          // as a module that does not look at the tag would
        }
        return opened ?? out;
      },
    });
    expect(() => selfTest(lying)).toThrow(failed('forged'));
  });

  test('sees a CMAC that is wrong', () => {
    const { cryptoki } = fixture.token;
    const lying = withFaults({
      C_Sign: (session, data, out) => flip(cryptoki.C_Sign(session, data, out), 15),
    });
    expect(() => selfTest(lying)).toThrow(failed('CMAC'));
  });

  test('sees random numbers that repeat', () => {
    const lying = faulty(fixture.token, { random: (length: number) => Buffer.alloc(length, 4) });
    expect(() => selfTest(lying)).toThrow(failed('random'));
  });
});
