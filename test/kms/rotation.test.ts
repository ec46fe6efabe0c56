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

const DAY_MS = 86_400_000;

describe('automatic rotation', () => {
  /** How many rotations there were, and the next one's distance in days. */
  async function seen(at: KmsFixture, KeyId: string): Promise<[number, number]> {
    const { Rotations } = await at.call('ListKeyRotations', { KeyId });
    const { NextRotationDate } = await at.call('GetKeyRotationStatus', { KeyId });
    return [Rotations.length, (NextRotationDate - at.time.civil / 1000) / 86_400];
  }

  test('is off until it is enabled, and off again when it is disabled', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const off = { KeyId: Arn, KeyRotationEnabled: false };
    expect(await at.call('GetKeyRotationStatus', { KeyId })).toEqual(off);
    expect(await at.call('DisableKeyRotation', { KeyId })).toEqual({});
    expect(await at.call('EnableKeyRotation', { KeyId })).toEqual({});
    expect(await at.call('GetKeyRotationStatus', { KeyId })).toEqual({
      KeyId: Arn,
      KeyRotationEnabled: true,
      RotationPeriodInDays: 365,
      NextRotationDate: 1_831_536_000.123,
    });
    expect(await at.call('DisableKeyRotation', { KeyId })).toEqual({});
    expect(await at.call('GetKeyRotationStatus', { KeyId })).toEqual(off);
    at.time.civil += 400 * DAY_MS;
    await at.kms.jobs.run();
    expect((await at.call('ListKeyRotations', { KeyId })).Rotations).toEqual([]);
  });

  test.each([89, 2_561])('refuses a period of %i days', async (RotationPeriodInDays) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    expect(await at.refused('EnableKeyRotation', { KeyId, RotationPeriodInDays })).toMatch(
      /^ValidationException: 1 validation error detected: .*'rotationPeriodInDays'/,
    );
  });

  test('comes on its day, and on each later one; what the old materials made opens', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    const blobs = [];
    for (let turn = 0; turn < 3; turn += 1) {
      blobs.push((await at.call('Encrypt', { KeyId, Plaintext: Plaintext() })).CiphertextBlob);
      at.time.civil += 90 * DAY_MS - 1;
      await at.kms.jobs.run();
      expect((await seen(at, KeyId))[0]).toBe(turn);
      at.time.civil += 1;
      await at.kms.jobs.run();
      expect(await seen(at, KeyId)).toEqual([turn + 1, 90]);
    }
    for (const CiphertextBlob of blobs) await at.call('Decrypt', { CiphertextBlob });
    const { Rotations } = await at.call('ListKeyRotations', { KeyId });
    expect(Rotations.map(({ RotationType }) => RotationType)).toEqual(Array(3).fill('AUTOMATIC'));
    expect(Rotations[0]?.RotationDate).toBe(1_807_776_000.123);
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata.CurrentKeyMaterialId).toBe(Rotations[2]?.KeyMaterialId);
    const told = (await at.auditLines()).filter(({ door }) => door === 'job');
    expect(told.map(({ action, resource }) => [action, resource])).toEqual(
      told.map(() => ['RotateKey', Arn]),
    );
  });

  test('does not care for rotations on demand, nor they for it', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    at.time.civil += 86 * DAY_MS;
    await at.call('RotateKeyOnDemand', { KeyId });
    expect(await seen(at, KeyId)).toEqual([1, 4]);
    at.time.civil += 4 * DAY_MS;
    await at.kms.jobs.run();
    expect(await seen(at, KeyId)).toEqual([2, 90]);
    // 25 on demand are allowed, whatever came by itself
    for (let n = 1; n < LIMITS.kms_on_demand_rotations_max; n += 1) {
      await at.call('RotateKeyOnDemand', { KeyId });
    }
    expect(await at.refused('RotateKeyOnDemand', { KeyId })).toMatch(/^LimitExceeded/);
    at.time.civil += 90 * DAY_MS;
    await at.kms.jobs.run();
    expect((await seen(at, KeyId))[0]).toBe(LIMITS.kms_on_demand_rotations_max + 2);
  });

  test('counts from the enabling, also where it was enabled before', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 365 });
    at.time.civil += 100 * DAY_MS;
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    expect(await seen(at, KeyId)).toEqual([0, 90]);
    at.time.civil += 80 * DAY_MS;
    await at.call('DisableKeyRotation', { KeyId });
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 120 });
    expect(await seen(at, KeyId)).toEqual([0, 120]);
  });

  test('is made once when several periods were missed, and counts from then', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    at.time.civil += 1_000 * DAY_MS;
    await at.kms.jobs.run();
    await at.kms.jobs.run();
    expect(await seen(at, KeyId)).toEqual([1, 90]);
  });

  test('rests while the key is disabled; a missed one comes when it is enabled', async () => {
    await using at = await KmsFixture.open();
    const [missed, kept] = [await at.createKey(), await at.createKey()];
    for (const { KeyId } of [missed, kept]) {
      await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
      await at.call('DisableKey', { KeyId });
      for (const action of ['EnableKeyRotation', 'DisableKeyRotation']) {
        expect(await at.refused(action, { KeyId })).toMatch(
          /^DisabledException: .* is disabled\.$/,
        );
      }
      expect((await at.call('GetKeyRotationStatus', { KeyId })).KeyRotationEnabled).toBe(true);
    }
    at.time.civil += 60 * DAY_MS;
    await at.call('EnableKey', { KeyId: kept.KeyId });
    expect(await seen(at, kept.KeyId)).toEqual([0, 30]);
    at.time.civil += 60 * DAY_MS;
    await at.kms.jobs.run();
    expect((await seen(at, missed.KeyId))[0]).toBe(0);
    await at.call('EnableKey', { KeyId: missed.KeyId });
    await at.kms.jobs.run();
    expect(await seen(at, missed.KeyId)).toEqual([1, 90]);
  });

  test('is off while deletion is pending, and is back when that is cancelled', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    at.time.civil += 80 * DAY_MS;
    await at.call('ScheduleKeyDeletion', { KeyId });
    expect(await at.call('GetKeyRotationStatus', { KeyId })).toEqual({
      KeyId: Arn,
      KeyRotationEnabled: false,
    });
    for (const action of ['EnableKeyRotation', 'DisableKeyRotation']) {
      expect(await at.refused(action, { KeyId })).toBe(
        `KMSInvalidStateException: ${Arn} is pending deletion.`,
      );
    }
    at.time.civil += 20 * DAY_MS;
    await at.kms.jobs.run();
    expect((await at.call('ListKeyRotations', { KeyId })).Rotations).toEqual([]);
    await at.call('CancelKeyDeletion', { KeyId });
    expect(await seen(at, KeyId)).toEqual([0, -10]);
    await at.call('EnableKey', { KeyId });
    await at.kms.jobs.run();
    expect(await seen(at, KeyId)).toEqual([1, 90]);
  });

  test('waits for its vault, and deletions do not wait with it', async () => {
    await using at = await KmsFixture.open();
    const turning = [await at.createKey(), await at.createKey()];
    for (const { KeyId } of turning) {
      await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    }
    const going = await at.createKey();
    at.time.civil += 90 * DAY_MS;
    await at.call('ScheduleKeyDeletion', { KeyId: going.KeyId, PendingWindowInDays: 7 });
    at.time.civil += 7 * DAY_MS;
    at.vault.failWith('VaultUnavailable');
    const asked = at.vault.asked.length;
    await at.kms.jobs.run();
    // the first alone asked: others would have kept deletions waiting
    expect(at.vault.asked.slice(asked)).toEqual(['createKey']);
    expect(await at.store.get(`kms/key/111122223333/eu-central-1/${going.KeyId}`)).toBe(undefined);
    at.vault.failWith(undefined);
    await at.kms.jobs.run();
    for (const { KeyId } of turning) expect((await seen(at, KeyId))[0]).toBe(1);
  });

  test('is not made for a key that was disabled meanwhile, and leaves no material', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    at.time.civil += 90 * DAY_MS;
    at.vault.whileCreating = async () => void (await at.call('DisableKey', { KeyId }));
    await at.kms.jobs.run();
    expect(at.vault.states()).toEqual(['live', 'abandoned']);
    expect((await at.call('ListKeyRotations', { KeyId })).Rotations).toEqual([]);
  });

  test('by two daemons at once is made once', async () => {
    await using at = await KmsFixture.open();
    await using another = await at.another();
    const { KeyId } = await at.createKey();
    await at.call('EnableKeyRotation', { KeyId, RotationPeriodInDays: 90 });
    at.time.civil += 90 * DAY_MS;
    await Promise.all([at.kms.jobs.run(), another.jobs.run()]);
    expect(await seen(at, KeyId)).toEqual([1, 90]);
    expect(at.vault.states().filter((state) => state === 'live')).toHaveLength(2);
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
