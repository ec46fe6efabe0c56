import { copyFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { CKO } from '../../src/core/pkcs11.js';
import { MachineFixture } from '../support/hsm-machine.js';
import { classOf, exchangeValue, objectFiles, spoilPadding } from '../support/object-files.js';

test('an HSM whose masking keys are damaged is no member and does not start', async () => {
  using fixture = await MachineFixture.founded();
  const { directory } = fixture.tokens;
  expect(fixture.restart()).toBe(true);
  const masks = objectFiles(directory).filter((path) => classOf(path) === CKO.SECRET_KEY);
  expect(masks).toHaveLength(3);
  for (const path of masks) {
    const backup = `${path}.backup`;
    copyFileSync(path, backup);
    // it loads as a key, and is another one
    exchangeValue(path);
    expect(() => fixture.restart()).toThrow('the masking keys on this token are damaged');
    copyFileSync(backup, path);
    spoilPadding(path);
    expect(fixture.restart()).toBe(false);
    copyFileSync(backup, path);
    expect(fixture.restart()).toBe(true);
  }
});

test('an HSM that is vouched for looks for its masking keys when it needs them', async () => {
  using fixture = await MachineFixture.founded();
  const notes = fixture.machine.notes();
  if (!notes) expect.unreachable('all is in order');
  const manifest = { census: '', ...notes };
  expect(fixture.restart(manifest)).toBe(true);
  expect([...fixture.machine.users.keys()].sort()).toEqual(['admin', 'app_user']);
  expect(fixture.machine.masking.masking.id).toBe(fixture.machine.masking.masking.id);
  const again = fixture.machine.notes();
  // not everything was looked at yet
  expect(again).toBeUndefined();
  while (fixture.machine.member.keyring.listSome(9));
  expect(fixture.machine.notes()).toEqual(notes);
  const [mask] = objectFiles(fixture.tokens.directory).filter(
    (path) => classOf(path) === CKO.SECRET_KEY,
  );
  exchangeValue(mask ?? '');
  expect(fixture.restart(manifest)).toBe(true);
  expect(() => fixture.machine.masking).toThrow('the masking keys on this token are damaged');
});
