import { createDecipheriv, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newHsmKeyId } from '../../src/core/ids.js';
import { HsmHost, PASSWORDS, type FrameClient } from '../support/hsm-host.js';

const refused = (code: string): unknown => expect.objectContaining({ code });

let host: HsmHost;
let client: FrameClient;
const sessions = { alice: 0, bob: 0 };

beforeAll(async () => {
  host = await HsmHost.open();
  const hsm = await host.newHsm().start();
  client = await hsm.connect();
  const session = await host.found(hsm, client);
  for (const username of ['alice', 'bob'] as const) {
    const user = { username, role: 'crypto-user', password: PASSWORDS.user };
    await client.ask('user-create', user, { session });
    sessions[username] = await client.login(username, PASSWORDS.user);
  }
});
afterAll(() => host?.[Symbol.asyncDispose]());

describe('a key of given bytes', () => {
  const material = randomBytes(32);
  const fields = { keyId: newHsmKeyId(), material, label: '' };
  const given = { keyId: fields.keyId, aad: Buffer.from('aad'), data: Buffer.from('text') };

  test('is answered masked, is the key that was given, and its maker’s alone', async () => {
    const as = { session: sessions.alice };
    const { masked, proof } = await client.ask<'import'>('import', fields, as);
    expect(Buffer.from(masked).includes(material)).toBe(false);
    const inserted = await client.ask<'insert'>('insert', { masked }, as);
    expect(inserted).toEqual({ keyId: fields.keyId, revision: 1, proof });
    const { iv, data } = await client.ask<'encrypt'>('encrypt', given, as);
    const decipher = createDecipheriv('aes-256-gcm', material, iv).setAAD(given.aad);
    decipher.setAuthTag(data.subarray(-16));
    expect(decipher.update(data.subarray(0, -16)).toString()).toBe('text');
    decipher.final();
    const other = client.ask('encrypt', given, { session: sessions.bob });
    await expect(other).rejects.toEqual(refused('HsmKeyNotFound'));
  });

  test('takes no id that another has', async () => {
    const again = client.ask('import', fields, { session: sessions.alice });
    await expect(again).rejects.toEqual(refused('HsmAlreadyExists'));
  });

  test('proves itself under each id anew: proofs do not tell that two keys are one', async () => {
    const proofs = await Promise.all(
      [1, 2].map(async () => {
        const one = { keyId: newHsmKeyId(), material, label: '' };
        return (await client.ask<'import'>('import', one, { session: sessions.alice })).proof;
      }),
    );
    expect(Buffer.from(proofs[0] ?? []).equals(Buffer.from(proofs[1] ?? []))).toBe(false);
  });
});
