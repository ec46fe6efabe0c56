import { authorizeAccount } from './authorize.js';
import { invalid, unsupported } from './key-spec.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

export async function generateRandom(
  kms: KmsParts,
  request: KmsRequest<'GenerateRandom'>,
): Promise<Answer> {
  const { CustomKeyStoreId, NumberOfBytes, Recipient } = request.params;
  if (NumberOfBytes === undefined) throw invalid('NumberOfBytes is required.');
  authorizeAccount(kms, request);
  if (CustomKeyStoreId !== undefined) throw unsupported('CustomKeyStoreId');
  if (Recipient) throw unsupported('Recipient');
  return { Plaintext: await kms.vaults.own().random(NumberOfBytes, request.call) };
}
