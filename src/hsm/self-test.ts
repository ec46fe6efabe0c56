import { KeyspanError } from '../core/errors.js';
import { asBuffer, equalConstantTime, parseHex } from '../core/bytes.js';
import { gcmDecrypt, gcmEncrypt } from '../token/cipher.js';
import { cmac } from '../token/mac.js';
import { destroyObject } from '../token/objects.js';
import type { Token } from '../token/token.js';
import { importSessionKey } from '../token/known-key.js';

/**
 * Known answers, checked before service. AES-256-GCM: test case 16 of "The Galois/Counter Mode
 * of Operation" (McGrew, Viega);
 * AES-256-CMAC: NIST SP 800-38B, D.3, example 2 (16 bytes).
 */
const GCM = {
  key: 'feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308',
  iv: 'cafebabefacedbaddecaf888',
  aad: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
  plaintext:
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
    '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
  sealed:
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
    '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
    '76fc6ece0f4e1768cddf8853bb2d551b',
} as const;

const CMAC = {
  key: '603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4',
  message: '6bc1bee22e409f96e93d7e117393172a',
  mac: '28a7023f452e8f82bd4bf28d8c37c35c',
} as const;

function check(name: string, got: Uint8Array, expected: string): void {
  if (equalConstantTime(got, parseHex(expected))) return;
  throw new KeyspanError('HsmDeviceError', `the self-test of ${name} failed`);
}

/** @throws KeyspanError HsmDeviceError when the token does not compute what it must */
export function selfTest(token: Token): void {
  const key = importSessionKey(token, parseHex(GCM.key));
  const [iv, aad] = [parseHex(GCM.iv), parseHex(GCM.aad)];
  const sealed = gcmEncrypt(token, key, iv, aad, parseHex(GCM.plaintext));
  check('AES-GCM encryption', sealed, GCM.sealed);
  check('AES-GCM decryption', gcmDecrypt(token, key, iv, aad, sealed), GCM.plaintext);
  rejectsForgery(() => gcmDecrypt(token, key, iv, aad, flipLastBit(sealed)));
  destroyObject(token, key);
  const macKey = importSessionKey(token, parseHex(CMAC.key));
  check('AES-CMAC', cmac(token, macKey, parseHex(CMAC.message)), CMAC.mac);
  destroyObject(token, macKey);
  if (equalConstantTime(token.random(32), token.random(32))) {
    throw new KeyspanError('HsmDeviceError', 'the self-test of the random numbers failed');
  }
}

function flipLastBit(bytes: Uint8Array): Buffer {
  const copy = Buffer.from(asBuffer(bytes));
  copy[copy.length - 1] = (copy[copy.length - 1] ?? 0) ^ 1;
  return copy;
}

function rejectsForgery(open: () => unknown): void {
  try {
    open();
  } catch {
    return;
  }
  throw new KeyspanError('HsmDeviceError', 'the token accepts a forged tag');
}
