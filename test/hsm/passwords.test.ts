import { describe, expect, test, vi } from 'vitest';
import { deadlineIn } from '../../src/core/deadline.js';
import { Passwords } from '../../src/hsm/passwords.js';
import type { UserRecord } from '../../src/hsm/records.js';
import type { HsmRole } from '../../src/protocol/hsm-frames.js';
import { expectCode } from '../support/store-calls.js';

/** The real scrypt, counted. */
const calls = vi.hoisted(() => ({ scrypt: 0 }));
vi.mock('node:crypto', async (original) => {
  const real = await original<typeof import('node:crypto')>();
  const scrypt = (...args: Parameters<typeof real.scrypt>): void => {
    calls.scrypt += 1;
    real.scrypt(...args);
  };
  return { ...real, scrypt };
});

async function newUser(
  passwords: Passwords,
  password: string,
  role: HsmRole = 'crypto-user',
): Promise<UserRecord> {
  const { salt, hash } = await passwords.hash(password, { role });
  const rest = { version: 1 as const, revision: 1, failures: 0, locked: false };
  return { ...rest, username: 'alice', role, salt, hash };
}

async function hashesOf(work: () => Promise<unknown>): Promise<number> {
  const before = calls.scrypt;
  await work();
  return calls.scrypt - before;
}

describe('passwords', () => {
  test('match themselves alone', async () => {
    const passwords = new Passwords();
    const user = await newUser(passwords, 'correct horse');
    expect(await passwords.matches(user, 'correct horse')).toBe(true);
    expect(await passwords.matches(user, 'correct horsf')).toBe(false);
    expect(await passwords.matches(user, '')).toBe(false);
    expect(user.hash).toHaveLength(32);
    const again = await passwords.hash('correct horse', { role: 'crypto-user' });
    expect(again.hash).not.toEqual(user.hash);
  });

  test('cost one hash for many logins after a success, and one for each failure', async () => {
    const passwords = new Passwords();
    const user = await newUser(passwords, 'correct horse');
    expect(await hashesOf(() => passwords.matches(user, 'correct horse'))).toBe(1);
    expect(await hashesOf(() => passwords.matches(user, 'correct horse'))).toBe(0);
    expect(await hashesOf(() => passwords.matches(user, 'wrong'))).toBe(1);
    expect(await hashesOf(() => passwords.matches(user, 'wrong'))).toBe(1);
    expect(await hashesOf(() => passwords.matches(user, 'correct horse'))).toBe(0);
  });

  test('whose asker has gone before their turn are not compared', async () => {
    const passwords = new Passwords();
    const user = await newUser(passwords, 'correct horse');
    for (const who of [user, null]) {
      const late = (): Promise<void> =>
        expectCode(passwords.matches(who, 'correct horse', deadlineIn(0)), 'HsmDeadlineExceeded');
      expect(await hashesOf(late)).toBe(0);
    }
    expect(await passwords.matches(user, 'correct horse', deadlineIn(60_000))).toBe(true);
  });

  test('that are random bits are not stretched, and must be long enough', async () => {
    const passwords = new Passwords();
    const kind = { role: 'crypto-user', random: true } as const;
    const password = 'a'.repeat(22);
    const user = { ...(await newUser(passwords, 'x')), ...(await passwords.hash(password, kind)) };
    const random = { ...user, random: true as const };
    const hashes = await hashesOf(async () => {
      expect(await passwords.matches(random, password)).toBe(true);
      expect(await passwords.matches(random, `${password}b`)).toBe(false);
    });
    expect(hashes).toBe(0);
    // the one hash is not the other
    expect(await new Passwords().matches(user, password)).toBe(false);
    const short = passwords.hash('a'.repeat(21), kind);
    await expect(short).rejects.toThrow(expect.objectContaining({ code: 'HsmBadFrame' }));
  });

  test('of nobody cost as much as those of somebody, and are wrong', async () => {
    const passwords = new Passwords();
    for (let time = 0; time < 2; time += 1) {
      expect(await hashesOf(() => passwords.matches(null, 'anything'))).toBe(1);
    }
    expect(await passwords.matches(null, 'anything')).toBe(false);
  });

  test('that were changed are remembered no more', async () => {
    const passwords = new Passwords();
    const old = await newUser(passwords, 'the old one');
    await passwords.matches(old, 'the old one');
    const changed = await newUser(passwords, 'the new one');
    expect(await hashesOf(() => passwords.matches(changed, 'the old one'))).toBe(1);
    expect(await passwords.matches(changed, 'the old one')).toBe(false);
    expect(await passwords.matches(changed, 'the new one')).toBe(true);
    expect(await passwords.matches(changed, 'the old one')).toBe(false);
  });

  test('of the appliance user are not stretched, and match themselves alone', async () => {
    const passwords = new Passwords();
    const made = await hashesOf(async () => {
      const user = await newUser(passwords, 'made of random bits', 'appliance-user');
      expect(await passwords.matches(user, 'made of random bits')).toBe(true);
      expect(await passwords.matches(user, 'made of random bitt')).toBe(false);
    });
    expect(made).toBe(0);
  });
});
