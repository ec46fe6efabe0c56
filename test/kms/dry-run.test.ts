import { describe, expect, test } from 'vitest';
import { KMS_ACTIONS, type KmsAction } from '../../src/protocol/kms.js';
import type { Members } from '../../src/protocol/aws-shapes.js';
import { ALICE, KmsFixture, ROOT } from '../support/kms-fixture.js';
import { leastParams } from '../support/least-params.js';

const DRY_RUN =
  'DryRunOperationException: The request would have succeeded, but the DryRun option is set.';
const ABSENT = '00000000-0000-4000-8000-000000000000';

interface Given {
  readonly KeyId: string;
  readonly CiphertextBlob: Uint8Array;
}

/** A request that would succeed, of each action that is tried here, with the key that it uses. */
const REQUESTS: Readonly<Partial<Record<KmsAction, (given: Given) => object>>> = {
  Encrypt: ({ KeyId }) => ({ KeyId, Plaintext: Buffer.of(1) }),
  Decrypt: ({ KeyId, CiphertextBlob }) => ({ KeyId, CiphertextBlob }),
  ReEncrypt: ({ KeyId, CiphertextBlob }) => ({ DestinationKeyId: KeyId, CiphertextBlob }),
  GenerateDataKey: ({ KeyId }) => ({ KeyId, NumberOfBytes: 7 }),
  GenerateDataKeyWithoutPlaintext: ({ KeyId }) => ({ KeyId, KeySpec: 'AES_128' }),
};
/** Their own tests try them. */
const ELSEWHERE: readonly KmsAction[] = ['CreateGrant', 'RetireGrant', 'RevokeGrant'];

const CASES = Object.entries(REQUESTS) as [KmsAction, (given: Given) => object][];

test('every action that has DryRun is tried, or not built', async () => {
  await using at = await KmsFixture.open();
  for (const action of Object.keys(KMS_ACTIONS) as KmsAction[]) {
    const members: Members = KMS_ACTIONS[action];
    if (!members['DryRun'] || REQUESTS[action] || ELSEWHERE.includes(action)) continue;
    expect(await at.refused(action, { ...leastParams(action), DryRun: true })).toBe(
      `UnsupportedOperationException: Keyspan does not support the ${action} operation.`,
    );
  }
});

describe.each(CASES)('%s', (action, requestOf) => {
  test('says that it would have succeeded, and nothing comes of it', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, CurrentKeyMaterialId } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: Buffer.of(7) });
    const request = requestOf({ KeyId, CiphertextBlob });
    expect(await at.refused(action, { ...request, DryRun: true })).toBe(DRY_RUN);
    await at.call(action, { ...requestOf({ KeyId, CiphertextBlob }), DryRun: false });
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata.CurrentKeyMaterialId).toBe(CurrentKeyMaterialId);
  });

  test('decides in order: form, key, permission, state, and DryRun last', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: Buffer.of(7) });
    await at.call('DisableKey', { KeyId });
    const ask = (given: Given, more: object = {}, caller = ROOT): Promise<string> =>
      at.refused(action, { ...requestOf(given), ...more, DryRun: true }, caller);
    const good = { KeyId, CiphertextBlob };
    const tooMany = { GrantTokens: Array.from({ length: 11 }, () => 't') };
    expect(await ask({ ...good, KeyId: ABSENT }, tooMany, ALICE)).toMatch(/^ValidationException/);
    expect(await ask({ ...good, KeyId: ABSENT }, {}, ALICE)).toMatch(/^NotFoundException/);
    expect(await ask(good, {}, ALICE)).toMatch(/^AccessDeniedException/);
    expect(await ask(good)).toMatch(/^DisabledException/);
    await at.call('EnableKey', { KeyId });
    expect(await ask(good)).toBe(DRY_RUN);
  });
});
