import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isKeyspanError } from '../../src/core/errors.js';
import { LIMITS } from '../../src/core/limits.js';
import { Token } from '../../src/token/token.js';
import { TokenFixture } from '../support/token-fixture.js';

let fixture: TokenFixture;
beforeEach(() => {
  fixture = new TokenFixture();
});
afterEach(() => fixture[Symbol.dispose]());

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return isKeyspanError(error) ? error.code : `not a KeyspanError: ${String(error)}`;
  }
  return 'no error';
};

describe('a token directory without a token', () => {
  test('reads as empty', () => {
    expect(fixture.token.info).toEqual({ initialized: false, serial: '', label: '' });
    expect(fixture.token.isLoggedIn).toBe(false);
  });

  test('refuses work that needs a token', () => {
    expect(codeOf(() => fixture.token.random(8))).toBe('HsmPhase');
    expect(codeOf(() => fixture.token.loginUser(fixture.userPin))).toBe('HsmPhase');
  });
});

describe('initialisation', () => {
  test('makes one token with its label and serial, which a restart finds again', () => {
    const { serial } = fixture.token.initialize({ label: 'hsm one', ...fixture.pins });
    expect(serial).toMatch(/^[0-9a-f]{16}$/);
    const info = { initialized: true, serial, label: 'hsm one' };
    expect(fixture.token.info).toEqual(info);
    fixture.restart();
    expect(fixture.token.info).toEqual(info);
  });

  test('gives a token that says what it is made of', () => {
    expect(codeOf(() => fixture.token.device)).toBe('HsmPhase');
    fixture.token.initialize({ label: 'one', ...fixture.pins });
    const { vendor, model, hardware, firmware } = fixture.token.device;
    expect(vendor).toMatch(/\S$/);
    expect(model).toMatch(/\S$/);
    for (const { major, minor } of [hardware, firmware]) {
      expect([major, minor].every(Number.isInteger)).toBe(true);
    }
  });

  test('a label of exactly 32 bytes is kept whole', () => {
    fixture.token.initialize({ label: 'x'.repeat(32), ...fixture.pins });
    expect(fixture.token.info.label).toBe('x'.repeat(32));
  });

  test('happens once', () => {
    fixture.token.initialize({ label: 'one', ...fixture.pins });
    expect(codeOf(() => fixture.token.initialize({ label: 'two', ...fixture.pins }))).toBe(
      'HsmPhase',
    );
    expect(fixture.token.info.label).toBe('one');
  });

  test('a PIN that the binding would mangle is refused', () => {
    const pins = { soPin: Buffer.from([0xff, 0, 1, 2]), userPin: fixture.userPin };
    expect(() => fixture.token.initialize({ label: 'one', ...pins })).toThrow('PIN');
  });
});

describe('a token that fails to load', () => {
  test('is an error, not an empty HSM', () => {
    fixture.token.initialize({ label: 'one', ...fixture.pins });
    fixture.token[Symbol.dispose]();
    const tokens = join(fixture.directory, 'tokens');
    const [folder = ''] = readdirSync(tokens);
    rmSync(join(tokens, folder, 'token.object'));
    fixture.token = Token.open(fixture);
    expect(codeOf(() => fixture.token.info)).toBe('HsmDeviceError');
    expect(codeOf(() => fixture.token.initialize({ label: 'two', ...fixture.pins }))).toBe(
      'HsmDeviceError',
    );
  });

  test('a stray folder beside a token is an error too', () => {
    fixture.token.initialize({ label: 'one', ...fixture.pins });
    mkdirSync(join(fixture.directory, 'tokens', 'stray'));
    expect(codeOf(() => fixture.token.info)).toBe('HsmDeviceError');
  });
});

describe('login', () => {
  beforeEach(() => {
    fixture.token.initialize({ label: 'one', ...fixture.pins });
  });

  test('changes between officer and user', () => {
    expect(fixture.token.isLoggedIn).toBe(false);
    fixture.token.loginUser(fixture.userPin);
    expect(fixture.token.isLoggedIn).toBe(true);
    fixture.token.loginOfficer(fixture.soPin);
    expect(fixture.token.isLoggedIn).toBe(false);
    fixture.token.loginUser(fixture.userPin);
    fixture.token.loginUser(fixture.userPin);
    expect(fixture.token.isLoggedIn).toBe(true);
  });

  test('a wrong PIN is a failure of the token that names the return value for the log', () => {
    try {
      fixture.token.loginUser(Buffer.from('wrong-pin'));
      expect.unreachable();
    } catch (error) {
      expect(isKeyspanError(error, 'HsmDeviceError')).toBe(true);
      expect(String((error as Error).cause)).toContain('CKR_PIN_INCORRECT');
      expect(String((error as Error).cause)).not.toContain('wrong-pin');
    }
    expect(fixture.token.isLoggedIn).toBe(false);
  });
});

describe('random', () => {
  beforeEach(() => {
    fixture.token.initialize({ label: 'one', ...fixture.pins });
  });

  test('has the length asked for, within bounds', () => {
    const max = LIMITS.hsm_random_max_bytes;
    expect(fixture.token.random(1)).toHaveLength(1);
    expect(fixture.token.random(max)).toHaveLength(max);
    expect(fixture.token.random(32)).not.toEqual(fixture.token.random(32));
    for (const length of [0, -1, 1.5, max + 1, Number.NaN]) {
      expect(codeOf(() => fixture.token.random(length))).toBe('HsmBadFrame');
    }
  });

  test('IVs never repeat and stay as they were handed out', () => {
    const ivs = Array.from({ length: 2000 }, () => fixture.token.iv());
    const seen = new Set(ivs.map((iv) => iv.toString('hex')));
    expect(ivs.every((iv) => iv.length === 12)).toBe(true);
    expect(seen.size).toBe(2000);
  });
});

describe('attach', () => {
  test('shares the login and the objects of the process', () => {
    fixture.token.initialize({ label: 'one', ...fixture.pins });
    fixture.token.loginUser(fixture.userPin);
    const second = Token.attach(fixture);
    expect(second.isLoggedIn).toBe(true);
    expect(second.info).toEqual(fixture.token.info);
    second[Symbol.dispose]();
    expect(fixture.token.isLoggedIn).toBe(true);
  });

  test('needs a process that opened the token', () => {
    fixture.token[Symbol.dispose]();
    expect(codeOf(() => Token.attach(fixture))).toBe('HsmPhase');
    fixture.token = Token.open(fixture);
  });
});
