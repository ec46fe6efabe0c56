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
