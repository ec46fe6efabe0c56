import { expect, test } from 'vitest';
import { policyHandlers } from '../../src/front/policy-actions.js';
import { ALICE, KmsFixture, REGION } from '../support/kms-fixture.js';

const question = {
  principal: ALICE.principal.arn,
  action: 'kms:ListKeys',
  encryptionContext: {},
  conditions: {},
};

test('KMS explains once it runs', async () => {
  await using at = await KmsFixture.open();
  const told = await policyHandlers(() => at.kms, REGION).PolicyExplain(question);
  expect([told.allowed, told.resource]).toEqual([false, '*']);
  const early = policyHandlers(() => undefined, REGION).PolicyExplain(question);
  await expect(early).rejects.toMatchObject({ code: 'KeyspanRefused' });
});
