import type { DataKey } from '../core/vault.js';
import type { KmsParams } from '../protocol/kms.js';
import { authorizeKey } from './authorize.js';
import { formatCiphertext } from './ciphertext.js';
import { dryRun, requireEncryptionKey } from './encrypt.js';
import { findKey } from './key-lookup.js';
import { invalid, unsupported } from './key-spec.js';
import { authenticatedBy, currentMaterial, vaultOf } from './materials.js';
import type { KeyFact, MaterialFact } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

const LENGTHS = { AES_128: 16, AES_256: 32 } as const;

export async function generateDataKey(
  kms: KmsParts,
  request: KmsRequest<'GenerateDataKey'>,
): Promise<Answer> {
  if (request.params.Recipient) throw unsupported('Recipient');
  const { key, material, made } = await makeDataKey(kms, request, { withPlaintext: true });
  return {
    CiphertextBlob: formatCiphertext(material.header, made),
    Plaintext: made.plaintext,
    KeyId: key.arn,
    KeyMaterialId: material.id,
  };
}

export async function generateDataKeyWithoutPlaintext(
  kms: KmsParts,
  request: KmsRequest<'GenerateDataKeyWithoutPlaintext'>,
): Promise<Answer> {
  const { key, material, made } = await makeDataKey(kms, request, { withPlaintext: false });
  return {
    CiphertextBlob: formatCiphertext(material.header, made),
    KeyId: key.arn,
    KeyMaterialId: material.id,
  };
}

type DataKeyAction = 'GenerateDataKey' | 'GenerateDataKeyWithoutPlaintext';

async function makeDataKey(
  kms: KmsParts,
  request: KmsRequest<DataKeyAction>,
  { withPlaintext }: { readonly withPlaintext: boolean },
): Promise<{ key: KeyFact; material: MaterialFact; made: DataKey }> {
  const { params, caller, call } = request;
  const length = lengthOf(params);
  const { key, alias } = findKey(kms.facts, caller, params.KeyId);
  const encryptionContext = params.EncryptionContext;
  const encryptionAlgorithm = 'SYMMETRIC_DEFAULT';
  authorizeKey(kms, request, key, { alias, encryptionContext, encryptionAlgorithm });
  requireEncryptionKey(key, request.action, encryptionAlgorithm);
  const material = currentMaterial(kms, key);
  const aad = authenticatedBy(material, encryptionContext);
  if (params.DryRun) throw dryRun();
  const input = { length, aad, withPlaintext };
  const made = await vaultOf(kms, material).dataKey(material.hsmKey, input, call);
  return { key, material, made };
}

/** @throws ValidationException unless exactly one of KeySpec and NumberOfBytes is given */
function lengthOf({ KeySpec, NumberOfBytes }: KmsParams<DataKeyAction>): number {
  if (KeySpec !== undefined && NumberOfBytes === undefined) return LENGTHS[KeySpec];
  if (KeySpec === undefined && NumberOfBytes !== undefined) return NumberOfBytes;
  throw invalid('Please specify either number of bytes or key spec.');
}
