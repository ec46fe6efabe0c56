import { describe, expect, test } from 'vitest';
import { ALICE, allow, KmsFixture, OTHER_ROOT, policyOf, ROOT } from '../support/kms-fixture.js';

const DAY_MS = 86_400_000;
const Plaintext = (): Buffer => Buffer.from('secret');

describe('ScheduleKeyDeletion', () => {
  test('answers the day, and the key is pending deletion until then', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const deleted = await at.call('ScheduleKeyDeletion', { KeyId: Arn, PendingWindowInDays: 15 });
    expect(deleted).toEqual({
      KeyId: Arn,
      DeletionDate: 1_801_296_000.123,
      KeyState: 'PendingDeletion',
      PendingWindowInDays: 15,
    });
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata).toMatchObject({
      KeyState: 'PendingDeletion',
      Enabled: false,
      DeletionDate: 1_801_296_000.123,
    });
    expect(KeyMetadata).not.toHaveProperty('PendingDeletionWindowInDays');
    expect((await at.call('ListKeys')).Keys).toEqual([{ KeyId, KeyArn: Arn }]);
    for (const action of ['ScheduleKeyDeletion', 'EnableKey', 'DisableKey', 'RotateKeyOnDemand']) {
      expect(await at.refused(action, { KeyId })).toBe(
        `KMSInvalidStateException: ${Arn} is pending deletion.`,
      );
    }
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Plaintext() })).toBe(
      `KMSInvalidStateException: ${Arn} is pending deletion.`,
    );
  });

  test('waits thirty days unless told otherwise, seven at least', async () => {
    await using at = await KmsFixture.open();
    const [first, second] = [await at.createKey(), await at.createKey()];
    expect(await at.call('ScheduleKeyDeletion', { KeyId: first.KeyId })).toMatchObject({
      PendingWindowInDays: 30,
      DeletionDate: 1_802_592_000.123,
    });
    const seven = { KeyId: second.KeyId, PendingWindowInDays: 7 };
    expect(await at.call('ScheduleKeyDeletion', seven)).toMatchObject({
      DeletionDate: 1_800_604_800.123,
    });
  });

  test.each([1, 6, 31, 365])('refuses %i days', async (PendingWindowInDays) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    expect(await at.refused('ScheduleKeyDeletion', { KeyId, PendingWindowInDays })).toBe(
      'ValidationException: PendingWindowInDays must be between 7 and 30',
    );
  });

  test('takes a disabled key too', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    await at.call('DisableKey', { KeyId });
    await at.call('ScheduleKeyDeletion', { KeyId });
    expect((await at.call('DescribeKey', { KeyId })).KeyMetadata.KeyState).toBe('PendingDeletion');
  });

  test('is a matter of the key policy, and takes no alias', async () => {
    await using at = await KmsFixture.open();
    const Policy = policyOf(allow(ROOT.principal.arn), allow(ALICE.principal.arn, 'kms:Encrypt'));
    const { KeyId, Arn } = await at.createKey({ Policy });
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    for (const action of ['ScheduleKeyDeletion', 'CancelKeyDeletion']) {
      expect(await at.refused(action, { KeyId }, ALICE)).toMatch(/^AccessDeniedException: User: /);
      expect(await at.refused(action, { KeyId: 'alias/a' })).toBe(
        "NotFoundException: Invalid keyId 'alias/a'",
      );
    }
    expect(await at.refused('ScheduleKeyDeletion', { KeyId: Arn }, OTHER_ROOT)).toMatch(
      /^AccessDeniedException: /,
    );
  });
});

describe('CancelKeyDeletion', () => {
  test('leaves the key disabled, and all that it opened opens again', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: Plaintext() });
    await at.call('ScheduleKeyDeletion', { KeyId });
    at.time.civil += 30 * DAY_MS - 1;
    await at.kms.jobs.run();
    expect(await at.call('CancelKeyDeletion', { KeyId })).toEqual({ KeyId: Arn });
    const { KeyMetadata } = await at.call('DescribeKey', { KeyId });
    expect(KeyMetadata.KeyState).toBe('Disabled');
    expect(KeyMetadata).not.toHaveProperty('DeletionDate');
    at.time.civil += DAY_MS;
    await at.kms.jobs.run();
    await at.call('EnableKey', { KeyId });
    const { Plaintext: opened } = await at.call('Decrypt', { CiphertextBlob });
    expect(Buffer.from(opened).toString()).toBe('secret');
  });

  test('is refused where nothing is pending', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const sentence = `KMSInvalidStateException: ${Arn} is not pending deletion.`;
    expect(await at.refused('CancelKeyDeletion', { KeyId })).toBe(sentence);
    await at.call('DisableKey', { KeyId });
    expect(await at.refused('CancelKeyDeletion', { KeyId })).toBe(sentence);
  });
});

describe('from its day on', () => {
  test('no request finds the key, though no job came', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const other = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: Plaintext() });
    await at.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
    at.time.civil += 7 * DAY_MS - 1;
    await at.call('DescribeKey', { KeyId });
    at.time.civil += 1;
    const gone = `NotFoundException: Key '${Arn}' does not exist`;
    for (const action of ['DescribeKey', 'EnableKey', 'CancelKeyDeletion', 'GetKeyPolicy']) {
      expect(await at.refused(action, { KeyId })).toBe(gone);
      expect(await at.refused(action, { KeyId: Arn })).toBe(gone);
    }
    expect(await at.refused('DescribeKey', { KeyId: 'alias/a' })).toMatch(
      /^NotFoundException: Alias .*alias\/a is not found\.$/,
    );
    expect(await at.refused('Decrypt', { CiphertextBlob, KeyId })).toBe(gone);
    expect(await at.refused('Decrypt', { CiphertextBlob })).toBe(
      'AccessDeniedException: The ciphertext refers to a customer master key that does not ' +
        'exist, does not exist in this region, or you are not allowed to access.',
    );
    expect((await at.call('ListKeys')).Keys).toEqual([{ KeyId: other.KeyId, KeyArn: other.Arn }]);
  });

  test('a page of a list is filled with what exists', async () => {
    await using at = await KmsFixture.open();
    const made = await Promise.all(Array.from({ length: 9 }, () => at.createKey()));
    const ids = made.map(({ KeyId }) => KeyId).sort();
    const going = ids.filter((_, at) => at % 3 !== 2);
    for (const KeyId of going) {
      await at.call('ScheduleKeyDeletion', { KeyId, PendingWindowInDays: 7 });
    }
    at.time.civil += 7 * DAY_MS;
    const staying = ids.filter((id) => !going.includes(id));
    const first = await at.call('ListKeys', { Limit: 2 });
    expect(first.Truncated).toBe(true);
    const rest = await at.call('ListKeys', { Limit: 2, Marker: first.NextMarker });
    expect(rest.Truncated).toBe(false);
    expect([...first.Keys, ...rest.Keys].map(({ KeyId }) => KeyId)).toEqual(staying);
  });
});
