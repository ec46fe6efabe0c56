import { randomBytes } from 'node:crypto';
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { InstallationKey, loadInstallationKey, Sealer } from '../../src/store/sealed.js';
import { bytes, expectCode, text } from '../support/store-calls.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const hex = (value: Uint8Array): string => Buffer.from(value).toString('hex');
const newKey = (): InstallationKey => new InstallationKey(randomBytes(32));

describe('a sealed value', () => {
  const sealer = new Sealer(newKey());

  test('opens under the same key and store key', () => {
    const sealed = sealer.seal(bytes('0123456'), 'hsm-secret/a/b');
    expect(sealed[0]).toBe(1);
    expect(sealed.length).toBe(7 + 29);
    expect(hex(sealed)).not.toContain(hex(bytes('0123456')));
    expect(text(sealer.open(sealed, 'hsm-secret/a/b'))).toBe('0123456');
    expect(sealer.open(sealer.seal(new Uint8Array(0), 'k'), 'k').length).toBe(0);
  });

  test('is never sealed twice alike', () => {
    expect(hex(sealer.seal(bytes('x'), 'k'))).not.toBe(hex(sealer.seal(bytes('x'), 'k')));
  });

  test('does not open under another installation key or another store key', async () => {
    const sealed = sealer.seal(bytes('pin'), 'hsm-secret/a/b');
    const open = (by: Sealer, key: string) => async () => by.open(sealed, key);
    await expectCode(open(new Sealer(newKey()), 'hsm-secret/a/b')(), 'StoreCorrupt');
    await expectCode(open(sealer, 'hsm-secret/a/c')(), 'StoreCorrupt');
  });

  test('does not open when any byte of it was changed, or it was cut or extended', async () => {
    const sealed = sealer.seal(bytes('pin'), 'k');
    const open = async (changed: Uint8Array): Promise<Uint8Array> => sealer.open(changed, 'k');
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = new Uint8Array(sealed);
      changed[at] = (changed[at] ?? 0) ^ 0x10;
      await expectCode(open(changed), 'StoreCorrupt');
    }
    for (let length = 0; length < sealed.length; length += 1) {
      await expectCode(open(sealed.subarray(0, length)), 'StoreCorrupt');
    }
    await expectCode(open(Buffer.concat([sealed, Buffer.of(0)])), 'StoreCorrupt');
    expect(text(sealer.open(sealed, 'k'))).toBe('pin');
  });
});

describe('the installation key', () => {
  const pathIn = (directory: string): string => join(directory, 'secrets', 'installation.key');
  const modeOf = (path: string): number => statSync(path).mode & 0o777;
  const purpose = (key: InstallationKey): string => hex(key.derive('test'));

  test('is made once, for its owner alone', async () => {
    const path = pathIn(temporaryDirectory());
    const made = await loadInstallationKey({ path });
    expect([modeOf(path), modeOf(dirname(path))]).toEqual([0o600, 0o700]);
    expect(readdirSync(dirname(path))).toEqual(['installation.key']);
    const again = await loadInstallationKey({ path, passphrase: '' });
    expect(purpose(again)).toBe(purpose(made));
    expect(purpose(again)).not.toBe(hex(again.derive('other')));
    const other = await loadInstallationKey({ path: pathIn(temporaryDirectory()) });
    expect(purpose(other)).not.toBe(purpose(made));
  });

  test('is one key, however many make it at once', async () => {
    const path = pathIn(temporaryDirectory());
    const made = await Promise.all([1, 2, 3, 4].map(() => loadInstallationKey({ path })));
    expect(new Set(made.map(purpose)).size).toBe(1);
    expect(readdirSync(dirname(path))).toEqual(['installation.key']);
  });

  test('is sealed when there is a passphrase', async () => {
    const path = pathIn(temporaryDirectory());
    const made = await loadInstallationKey({ path, passphrase: 'correct horse' });
    expect(modeOf(path)).toBe(0o600);
    expect(readFileSync(path).length).toBe(1 + 16 + 12 + 32 + 16);
    const again = await loadInstallationKey({ path, passphrase: 'correct horse' });
    expect(purpose(again)).toBe(purpose(made));
  });

  test('says when the passphrase is wrong, missing or one too many', async () => {
    const sealed = pathIn(temporaryDirectory());
    await loadInstallationKey({ path: sealed, passphrase: 'right' });
    const wrong = loadInstallationKey({ path: sealed, passphrase: 'wrong' });
    await expect(wrong).rejects.toMatchObject({
      code: 'KeyspanConfig',
      message: `KEYSPAN_PASSPHRASE does not open the installation key in ${sealed}.`,
    });
    const missing = loadInstallationKey({ path: sealed });
    await expect(missing).rejects.toMatchObject({
      code: 'KeyspanConfig',
      message: `The installation key in ${sealed} needs a passphrase: set KEYSPAN_PASSPHRASE.`,
    });
    const clear = pathIn(temporaryDirectory());
    await loadInstallationKey({ path: clear });
    const needless = loadInstallationKey({ path: clear, passphrase: 'right' });
    await expect(needless).rejects.toMatchObject({
      code: 'KeyspanConfig',
      message: expect.stringContaining('has no passphrase') as string,
    });
  });

  test('that is damaged, unknown or open to others is not used and not replaced', async () => {
    const path = pathIn(temporaryDirectory());
    await loadInstallationKey({ path });
    const whole = readFileSync(path);
    const newer = Buffer.from(whole);
    newer[0] = 9;
    for (const content of [Buffer.alloc(0), whole.subarray(0, 20), newer]) {
      writeFileSync(path, content);
      await expectCode(loadInstallationKey({ path }), 'KeyspanConfig');
      expect(readFileSync(path)).toEqual(content);
    }
    writeFileSync(path, whole);
    chmodSync(path, 0o640);
    await expect(loadInstallationKey({ path })).rejects.toThrow('chmod 600');
  });

  test('cannot be made where there is no directory', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    await expectCode(loadInstallationKey({ path: join(file, 'key') }), 'KeyspanConfig');
  });
});
