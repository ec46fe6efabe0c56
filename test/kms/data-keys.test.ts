import { describe, expect, test } from 'vitest';
import { KmsFixture } from '../support/kms-fixture.js';

describe('GenerateDataKey', () => {
  test.each<[object, number]>([
    [{ KeySpec: 'AES_256' }, 32],
    [{ KeySpec: 'AES_128' }, 16],
    [{ NumberOfBytes: 1024 }, 1024],
    [{ NumberOfBytes: 1 }, 1],
  ])('%j: %i bytes, which the ciphertext gives again', async (size, length) => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn, CurrentKeyMaterialId } = await at.createKey();
    const EncryptionContext = { file: 'a' };
    const made = await at.call('GenerateDataKey', { KeyId, EncryptionContext, ...size });
    expect(made).toMatchObject({ KeyId: Arn, KeyMaterialId: CurrentKeyMaterialId });
    expect(made.Plaintext).toHaveLength(length);
    const { CiphertextBlob } = made;
    const opened = await at.call('Decrypt', { CiphertextBlob, EncryptionContext });
    expect(Buffer.compare(opened.Plaintext, made.Plaintext)).toBe(0);
    expect(await at.refused('Decrypt', { CiphertextBlob })).toBe('InvalidCiphertextException: ');
  });

  test('WithoutPlaintext gives the ciphertext alone', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn, CurrentKeyMaterialId } = await at.createKey();
    const made = await at.call('GenerateDataKeyWithoutPlaintext', { KeyId, KeySpec: 'AES_256' });
    expect(made).toEqual({
      CiphertextBlob: expect.any(Uint8Array),
      KeyId: Arn,
      KeyMaterialId: CurrentKeyMaterialId,
    });
    const opened = await at.call('Decrypt', { CiphertextBlob: made.CiphertextBlob });
    expect(opened.Plaintext).toHaveLength(32);
  });

  test('wants exactly one of the two sizes', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const sentence = 'ValidationException: Please specify either number of bytes or key spec.';
    for (const size of [{}, { KeySpec: 'AES_256', NumberOfBytes: 32 }]) {
      expect(await at.refused('GenerateDataKey', { KeyId, ...size })).toBe(sentence);
      expect(await at.refused('GenerateDataKeyWithoutPlaintext', { KeyId, ...size })).toBe(
        sentence,
      );
    }
  });

  test('is refused for a disabled key, and in a dry run makes nothing', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const request = { KeyId, KeySpec: 'AES_256' };
    expect(await at.refused('GenerateDataKey', { ...request, DryRun: true })).toMatch(/^DryRun/);
    expect(at.vault.asked).toEqual(['createKey']);
    await at.call('DisableKey', { KeyId });
    expect(await at.refused('GenerateDataKey', request)).toBe(
      `DisabledException: ${Arn} is disabled.`,
    );
  });
});
