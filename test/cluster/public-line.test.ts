import { expect, test } from 'vitest';
import { PublicLine } from '../../src/cluster/public-line.js';
import type { Member } from '../../src/cluster/member.js';
import { KeyspanError } from '../../src/core/errors.js';
import { newHsmId } from '../../src/core/ids.js';
import { CKM } from '../../src/core/pkcs11.js';
import { newCall } from '../support/parts-fixture.js';

const FIELDS = { type: CKM.SHA256, data: Buffer.from('abc') };

/** An HSM that answers, or fails so. */
function member(answer: 'digest' | KeyspanError, serves = true): Member {
  const ask = (): Promise<unknown> =>
    answer === 'digest' ? Promise.resolve({ digest: Buffer.from('made') }) : Promise.reject(answer);
  return { id: newHsmId(), channel: serves ? {} : undefined, ask } as unknown as Member;
}

const lost = (): KeyspanError => new KeyspanError('KeyspanConnection');

test('asks those that serve by turns, and another when one is lost', async () => {
  const good = member('digest');
  const line = new PublicLine(() => [member(lost()), good, member('digest', false)]);
  for (let i = 0; i < 4; i += 1) {
    const call = newCall();
    const { digest } = await line.run('digest', FIELDS, call);
    expect([Buffer.from(digest).toString(), call.servedBy]).toEqual(['made', good.id]);
  }
  await expect(line.runOn(newHsmId(), 'digest', FIELDS, newCall())).rejects.toMatchObject({
    code: 'VaultKeyMissing',
  });
  const { digest } = await line.runOn(good.id, 'digest', FIELDS, newCall());
  expect(Buffer.from(digest).toString()).toBe('made');
});

test('says what is wrong with a request, and that nobody serves', async () => {
  const refused = new PublicLine(() => [member(new KeyspanError('HsmRoleRefused'))]);
  await expect(refused.run('digest', FIELDS, newCall())).rejects.toMatchObject({
    code: 'HsmRoleRefused',
  });
  const nobody = new PublicLine(() => []);
  await expect(nobody.run('digest', FIELDS, newCall())).rejects.toMatchObject({
    code: 'VaultUnavailable',
  });
});
