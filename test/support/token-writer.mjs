/**
 * Writes keys and data objects to a token as fast as it can, and prints one line for each that is
 * acknowledged: its kind, its name and its proof. It is there to be killed. Argument: directory.
 */
import { createHash, randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { proveKey } from '../../dist/token/mac.js';
import { findMaskingKeys } from '../../dist/token/masking-keys.js';
import { createData } from '../../dist/token/objects.js';
import { loadModuleProfile, sweepTornFiles } from '../../dist/token/softhsm.js';
import { Token } from '../../dist/token/token.js';
import { generateSessionKey, unwrapToToken, wrapKey } from '../../dist/token/wrapping.js';

const [directory] = process.argv.slice(2);
sweepTornFiles(directory);
const token = Token.open({ profile: loadModuleProfile(), directory });
token.loginUser(Buffer.from('user-pin'));
const { wrap } = findMaskingKeys(token);
for (;;) {
  const name = randomBytes(16).toString('hex');
  const record = Buffer.concat([Buffer.from([1]), Buffer.from(name), Buffer.alloc(3000, 7)]);
  const key = generateSessionKey(token);
  const handle = unwrapToToken(token, wrap, wrapKey(token, wrap, key), {
    recordBytes: record,
    label: name,
  });
  writeSync(1, `key ${name} ${proveKey(token, handle, name).toString('hex')}\n`);
  const value = randomBytes(2000);
  createData(token, { application: 'writer', label: name, value });
  writeSync(1, `data ${name} ${createHash('sha256').update(value).digest('hex')}\n`);
}
