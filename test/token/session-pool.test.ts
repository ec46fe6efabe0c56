import { afterEach, beforeEach, expect, test } from 'vitest';
import { CKM, CKR } from '../../src/core/pkcs11.js';
import { ckrOf } from '../../src/token/ckr.js';
import type { Handle } from '../../src/token/cryptoki.js';
import { AES_CMAC } from '../../src/token/mechanism.js';
import { SessionPool } from '../../src/token/session-pool.js';
import { generateSessionKey } from '../../src/token/wrapping.js';
import { TokenFixture } from '../support/token-fixture.js';

const MAX = 3;
let fixture: TokenFixture;
let pool: SessionPool;
let key: Handle;

beforeEach(() => {
  fixture = TokenFixture.ready();
  key = generateSessionKey(fixture.token);
  const { cryptoki } = fixture.token;
  const { slotID } = cryptoki.C_GetSessionInfo(fixture.token.anchor);
  pool = new SessionPool(cryptoki, () => slotID, MAX);
});
afterEach(() => {
  pool.close();
  fixture[Symbol.dispose]();
});

const mac = (): Buffer =>
  pool.operate(
    'C_Sign',
    (session) => fixture.token.cryptoki.C_SignInit(session, AES_CMAC, key),
    (session) => fixture.token.cryptoki.C_Sign(session, Buffer.from('data'), Buffer.alloc(16)),
  );

/** An operation that ends in the return value given, as the module would. */
const fail = (ckr: number, harmless?: ReadonlySet<number>): number | undefined => {
  try {
    pool.operate(
      'C_Sign',
      () => undefined,
      () => {
        throw Object.assign(new Error('CKR'), { code: ckr });
      },
      harmless,
    );
  } catch (error) {
    return ckrOf(error);
  }
  return undefined;
};

test('a session is used again and again', () => {
  const first = mac();
  for (let at = 0; at < 100; at += 1) expect(mac().equals(first)).toBe(true);
  expect(pool.open).toBe(1);
});

test('as many as are taken are open, and not one more than the bound', () => {
  const taken = [pool.take(), pool.take(), pool.take()];
  expect(() => pool.take()).toThrow(expect.objectContaining({ code: 'HsmBusy' }));
  for (const session of taken) pool.give(session);
  expect(mac()).toHaveLength(16);
  expect(pool.open).toBe(MAX);
});

test('a session that failed in mid-operation is not used again', () => {
  expect(fail(CKR.GENERAL_ERROR)).toBe(CKR.GENERAL_ERROR);
  expect(pool.retired).toBe(1);
  expect(mac()).toHaveLength(16);
  expect(pool.open).toBe(2);
});

test('a failure that ends the operation cleanly retires nothing', () => {
  expect(fail(CKR.GENERAL_ERROR, new Set([CKR.GENERAL_ERROR]))).toBe(CKR.GENERAL_ERROR);
  expect(pool.retired).toBe(0);
});

test('a session that the module left stuck is retired, and the next call works', () => {
  // an operation that was begun behind the pool's back: the real CKR_OPERATION_ACTIVE
  const session = pool.take();
  fixture.token.cryptoki.C_SignInit(session, { mechanism: CKM.AES_CMAC }, key);
  pool.give(session);
  let ckr: number | undefined;
  try {
    mac();
  } catch (error) {
    ckr = ckrOf(error);
  }
  expect(ckr).toBe(CKR.OPERATION_ACTIVE);
  expect(pool.retired).toBe(1);
  expect(mac()).toHaveLength(16);
});

test('a key that is refused at the start costs no session', () => {
  const run = (): Buffer =>
    pool.operate(
      'C_Sign',
      (session) => fixture.token.cryptoki.C_SignInit(session, AES_CMAC, Buffer.alloc(8, 0xfe)),
      () => Buffer.alloc(0),
    );
  expect(run).toThrow(expect.objectContaining({ code: 'HsmKeyNotFound' }));
  expect(pool.retired).toBe(0);
  expect(pool.open).toBe(1);
});

test('retired sessions make room when the bound is reached, so failures never exhaust it', () => {
  for (let at = 0; at < 5 * MAX; at += 1) expect(fail(CKR.DEVICE_ERROR)).toBe(CKR.DEVICE_ERROR);
  expect(pool.open).toBeLessThanOrEqual(MAX);
  expect(mac()).toHaveLength(16);
});

test('a mistake of ours is thrown as it is and retires the session', () => {
  const run = (): unknown =>
    pool.operate(
      'C_Sign',
      () => undefined,
      () => {
        throw new TypeError('a mistake');
      },
    );
  expect(run).toThrow(TypeError);
  expect(pool.retired).toBe(1);
});
