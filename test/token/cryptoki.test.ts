import { expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import { loadCryptoki } from '../../src/token/cryptoki.js';
import { loadModuleProfile } from '../../src/token/softhsm.js';

test('a module is loaded and speaks PKCS#11', () => {
  const cryptoki = loadCryptoki(loadModuleProfile().library);
  cryptoki.C_Initialize();
  expect(cryptoki.C_GetInfo().manufacturerID).toContain('SoftHSM');
  cryptoki.C_Finalize();
});

test('what is no library, or no PKCS#11 module, is a mistake of the configuration', () => {
  for (const path of ['/nowhere.so', packageFile('package.json')]) {
    expect(() => loadCryptoki(path)).toThrow(expect.objectContaining({ code: 'KeyspanConfig' }));
  }
});
