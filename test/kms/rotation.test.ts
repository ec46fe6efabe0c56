import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { KmsFixture, text } from '../support/kms-fixture.js';

const Plaintext = (): Buffer => Buffer.from('secret');

describe('RotateKeyOnDemand', () => {
  test('encrypts with the new material and still opens what the old ones made', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn, CurrentKeyMaterialId } = await at.createKey();
    const blobs: Uint8Array[] = [];
    const materials = [CurrentKeyMaterialId];
    for (let n = 0; n < 3; n += 1) {
      const made = await at.call('Encrypt', { KeyId, Plaintext: Plaintext() });
      blobs.push(made.CiphertextBlob);
      at.time.civil += 1_000;
      expect(await at.call('RotateKeyOnDemand', { KeyId })).toEqual({ KeyId: Arn });
      const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
      materials.push(KeyMetadata.CurrentKeyMaterialId);
    }
    expect(new Set(materials).size).toBe(4);
    for (const [n, CiphertextBlob] of blobs.entries()) {
      const opened = await at.call('Decrypt', { CiphertextBlob });
      expect(text(opened.Plaintext)).toBe('secret');
      expect(opened.KeyMaterialId).toBe(materials[n]);
      const moved = await at.call('ReEncrypt', { CiphertextBlob, DestinationKeyId: KeyId });
      expect(moved).toMatchObject({
        SourceKeyMaterialId: materials[n],
        DestinationKeyMaterialId: materials[3],
      });
    }
    const { Rotations } = await at.call('ListKeyRotations', { KeyId });
    expect(Rotations.map((rotation) => rotation.KeyMaterialId)).toEqual(materials.slice(1));
    expect(Rotations[0]).toEqual({
      KeyId: Arn,
      KeyMaterialId: materials[1],
      KeyMaterialState: 'NON_CURRENT',
      RotationDate: 1_800_000_001.123,
      RotationType: 'ON_DEMAND',
    });
    expect(Rotations[2]?.KeyMaterialState).toBe('CURRENT');
  });

  test('is limited', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    for (let n = 0; n < LIMITS.kms_on_demand_rotations_max; n += 1) {
      await at.call('RotateKeyOnDemand', { KeyId });
    }
    expect(await at.refused('RotateKeyOnDemand', { KeyId })).toBe(
      'LimitExceededException: The on-demand rotations limit has been reached for the given ' +
        `keyId. No more on-demand rotations can be performed for this key: ${Arn}`,
    );
  });

  test('is refused for a disabled key', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('DisableKey', { KeyId });
    expect(await at.refused('RotateKeyOnDemand', { KeyId })).toBe(
      `DisabledException: ${Arn} is disabled.`,
    );
  });

  test('comes through while the key changes again and again', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    at.vault.whileCreating = async () => {
      await at.call('DisableKey', { KeyId });
      await at.call('EnableKey', { KeyId });
    };
    await at.call('RotateKeyOnDemand', { KeyId });
    expect((await at.call('ListKeyRotations', { KeyId })).Rotations).toHaveLength(1);
    expect(at.vault.states()).toEqual(['live', 'live']);
  });

  test('is refused for a key that was disabled meanwhile, and leaves no material', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    at.vault.whileCreating = async () => void (await at.call('DisableKey', { KeyId }));
    expect(await at.refused('RotateKeyOnDemand', { KeyId })).toBe(
      `DisabledException: ${Arn} is disabled.`,
    );
    expect(at.vault.states()).toEqual(['live', 'abandoned']);
  });

  test('of several at once each makes its own material, and none is lost', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const rotations = Array.from({ length: 4 }, () => at.call('RotateKeyOnDemand', { KeyId }));
    await Promise.all(rotations);
    const { Rotations } = await at.call('ListKeyRotations', { KeyId });
    expect(Rotations).toHaveLength(4);
    expect(Rotations.filter((one) => one.KeyMaterialState === 'CURRENT')).toHaveLength(1);
    const states = at.vault.states();
    expect(states.filter((state) => state === 'live')).toHaveLength(5);
    expect(states).not.toContain('prepared');
    expect(states).toContain('abandoned');
  });
});

test('ListKeyRotations shows the first material when asked, and pages', async () => {
  await using at = await KmsFixture.open();
  const { KeyId, CurrentKeyMaterialId } = await at.createKey();
  for (let n = 0; n < 4; n += 1) {
    at.time.civil += 1_000;
    await at.call('RotateKeyOnDemand', { KeyId });
  }
  const all = { KeyId, IncludeKeyMaterial: 'ALL_KEY_MATERIAL' };
  const first = await at.call('ListKeyRotations', { ...all, Limit: 3 });
  expect(first.Rotations).toHaveLength(3);
  expect(first.Rotations[0]).toEqual({
    KeyId: expect.any(String),
    KeyMaterialId: CurrentKeyMaterialId,
    KeyMaterialState: 'NON_CURRENT',
  });
  const rest = await at.call('ListKeyRotations', { ...all, Limit: 3, Marker: first.NextMarker });
  expect(rest.Rotations).toHaveLength(2);
  expect(rest.Truncated).toBe(false);
  const Marker = Buffer.from('1:x').toString('base64url');
  expect(await at.refused('ListKeyRotations', { KeyId, Marker })).toMatch(/^InvalidMarker/);
});
