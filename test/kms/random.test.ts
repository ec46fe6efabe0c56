import { expect, test } from 'vitest';
import { ALICE, KmsFixture } from '../support/kms-fixture.js';

test('GenerateRandom gives as many bytes as it is asked for', async () => {
  await using at = await KmsFixture.open();
  for (const NumberOfBytes of [1, 1024]) {
    const { Plaintext } = await at.call('GenerateRandom', { NumberOfBytes });
    expect(Plaintext).toHaveLength(NumberOfBytes);
  }
});

test('GenerateRandom refuses what it cannot do', async () => {
  await using at = await KmsFixture.open();
  expect(await at.refused('GenerateRandom')).toBe(
    'ValidationException: NumberOfBytes is required.',
  );
  expect(await at.refused('GenerateRandom', { NumberOfBytes: 1025 })).toBe(
    "ValidationException: 1 validation error detected: Value '1025' at 'numberOfBytes' failed " +
      'to satisfy constraint: Member must have value less than or equal to 1024',
  );
  const store = { NumberOfBytes: 1, CustomKeyStoreId: 'cks-1' };
  expect(await at.refused('GenerateRandom', store)).toBe(
    'UnsupportedOperationException: CustomKeyStoreId is not supported by Keyspan.',
  );
  expect(await at.refused('GenerateRandom', { NumberOfBytes: 1 }, ALICE)).toMatch(
    /kms:GenerateRandom on resource: \* because no identity-based policy/,
  );
});
