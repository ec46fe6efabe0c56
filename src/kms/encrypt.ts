import { wipe } from '../core/bytes.js';
import { KeyspanError } from '../core/errors.js';
import type { OpenStep, Sealed, Vault } from '../core/vault.js';
import type { EncryptionAlgorithm } from '../protocol/kms-members.js';
import { missingMember, validationError } from '../protocol/aws-parser.js';
import { authorizeKey } from './authorize.js';
import {
  formatCiphertext,
  parseCiphertext,
  type EncryptionContext,
  type ParsedCiphertext,
} from './ciphertext.js';
import { requireState, requireUsage } from './key.js';
import { findKey, type FoundKey } from './key-lookup.js';
import { invalid, requireAlgorithm, unsupported } from './key-spec.js';
import { authenticatedBy, currentMaterial, vaultOf } from './materials.js';
import type { KeyFact, MaterialFact } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';
import { invalidCiphertext } from './vault-errors.js';

/** Uses the request's plaintext up: it is wiped. */
export async function encrypt(kms: KmsParts, request: KmsRequest<'Encrypt'>): Promise<Answer> {
  const { params, caller, call } = request;
  try {
    const { key, alias } = findKey(kms.facts, caller, params.KeyId);
    const encryptionContext = params.EncryptionContext;
    const encryptionAlgorithm = params.EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT';
    authorizeKey(kms, request, key, { alias, encryptionContext, encryptionAlgorithm });
    requireEncryptionKey(key, 'Encrypt', encryptionAlgorithm);
    const material = currentMaterial(kms, key);
    const aad = authenticatedBy(material, encryptionContext);
    if (params.DryRun) throw dryRun();
    const input = { plaintext: params.Plaintext, aad };
    const sealed = await vaultOf(kms, material).encrypt(material.hsmKey, input, call);
    return {
      CiphertextBlob: formatCiphertext(material.header, sealed),
      KeyId: key.arn,
      EncryptionAlgorithm: encryptionAlgorithm,
    };
  } finally {
    wipe(params.Plaintext);
  }
}

export async function decrypt(kms: KmsParts, request: KmsRequest<'Decrypt'>): Promise<Answer> {
  const { params, call } = request;
  if (params.Recipient) throw unsupported('Recipient');
  const source = findSource(kms, request, {
    blob: params.CiphertextBlob,
    keyId: params.KeyId,
    keyMember: 'keyId',
    ignored: ignoresCiphertext(params),
  });
  const { key, alias } = source;
  const encryptionContext = params.EncryptionContext;
  const encryptionAlgorithm = params.EncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT';
  authorizeKey(kms, request, key, { alias, encryptionContext, encryptionAlgorithm });
  requireEncryptionKey(key, 'Decrypt', encryptionAlgorithm);
  if (source.ignored) throw dryRun();
  const { material, vault, step } = openStep(kms, source, encryptionContext);
  const plaintext = await vault.decrypt(step.key, step.input, call);
  if (params.DryRun) {
    wipe(plaintext);
    throw dryRun();
  }
  return {
    KeyId: key.arn,
    Plaintext: plaintext,
    EncryptionAlgorithm: encryptionAlgorithm,
    KeyMaterialId: material.id,
  };
}

/** The plaintext stays in an HSM when one vault holds both materials. */
export async function reEncrypt(kms: KmsParts, request: KmsRequest<'ReEncrypt'>): Promise<Answer> {
  const { params, caller } = request;
  const source = findSource(kms, request, {
    blob: params.CiphertextBlob,
    keyId: params.SourceKeyId,
    keyMember: 'sourceKeyId',
    ignored: ignoresCiphertext(params),
  });
  const from = source.key;
  const { key: to, alias } = findKey(kms.facts, caller, params.DestinationKeyId);
  const reEncryptOnSameKey = from.arn === to.arn;
  const fromAlgorithm = params.SourceEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT';
  const toAlgorithm = params.DestinationEncryptionAlgorithm ?? 'SYMMETRIC_DEFAULT';
  authorizeKey(kms, request, from, {
    permission: 'ReEncryptFrom',
    alias: source.alias,
    encryptionContext: params.SourceEncryptionContext,
    encryptionAlgorithm: fromAlgorithm,
    reEncryptOnSameKey,
  });
  authorizeKey(kms, request, to, {
    permission: 'ReEncryptTo',
    alias,
    encryptionContext: params.DestinationEncryptionContext,
    encryptionAlgorithm: toAlgorithm,
    reEncryptOnSameKey,
  });
  requireEncryptionKey(from, 'ReEncrypt', fromAlgorithm);
  requireEncryptionKey(to, 'ReEncrypt', toAlgorithm);
  const material = currentMaterial(kms, to);
  const aad = authenticatedBy(material, params.DestinationEncryptionContext);
  if (source.ignored) throw dryRun();
  const opened = openStep(kms, source, params.SourceEncryptionContext);
  const sealed = await moveSealed(kms, request, opened, { material, aad });
  if (params.DryRun) throw dryRun();
  return {
    CiphertextBlob: formatCiphertext(material.header, sealed),
    SourceKeyId: from.arn,
    KeyId: to.arn,
    SourceEncryptionAlgorithm: fromAlgorithm,
    DestinationEncryptionAlgorithm: toAlgorithm,
    SourceKeyMaterialId: opened.material.id,
    DestinationKeyMaterialId: material.id,
  };
}

async function moveSealed(
  kms: KmsParts,
  { call }: KmsRequest<'ReEncrypt'>,
  from: Opened,
  to: { readonly material: MaterialFact; readonly aad: Uint8Array },
): Promise<Sealed> {
  const { material, aad } = to;
  if (from.material.vault === material.vault) {
    return from.vault.reencrypt(from.step, { key: material.hsmKey, aad }, call);
  }
  const plaintext = await from.vault.decrypt(from.step.key, from.step.input, call);
  try {
    return await vaultOf(kms, material).encrypt(material.hsmKey, { plaintext, aad }, call);
  } finally {
    wipe(plaintext);
  }
}

/** State, then usage, then algorithm: AWS's order. */
export function requireEncryptionKey(
  key: KeyFact,
  action: string,
  algorithm: EncryptionAlgorithm,
): void {
  requireState(key, 'use');
  requireUsage(key, 'ENCRYPT_DECRYPT', action);
  requireAlgorithm(key.spec, algorithm);
}

export const dryRun = (): KeyspanError =>
  new KeyspanError(
    'DryRunOperationException',
    'The request would have succeeded, but the DryRun option is set.',
  );

/** What shall be opened, and the key that the request says or the ciphertext names. */
interface Source extends FoundKey {
  readonly ciphertext: ParsedCiphertext | undefined;
  readonly ignored: boolean;
}

/**
 * @throws NotFoundException, AccessDeniedException, InvalidCiphertextException,
 * ValidationException
 */
function findSource(
  kms: KmsParts,
  request: KmsRequest<'Decrypt' | 'ReEncrypt'>,
  given: {
    readonly blob: Uint8Array | undefined;
    readonly keyId: string | undefined;
    readonly keyMember: string;
    readonly ignored: boolean;
  },
): Source {
  const { blob, keyId, ignored } = given;
  if (!ignored && !blob) throw validationError([missingMember('ciphertextBlob')]);
  if (ignored && keyId === undefined) throw validationError([missingMember(given.keyMember)]);
  const ciphertext = blob && !ignored ? parseCiphertext(blob) : undefined;
  if (keyId !== undefined) {
    return { ...findKey(kms.facts, request.caller, keyId), ciphertext, ignored };
  }
  if (!ciphertext) throw invalidCiphertext();
  const account = kms.facts.accountOfKey(ciphertext.keyId);
  const key = account && kms.facts.key(account, request.caller.region, ciphertext.keyId);
  if (!key) throw unknownSource();
  return { key, ciphertext, ignored };
}

/** Who names no key is not told whether it was deleted, is elsewhere or never was. */
const unknownSource = (): KeyspanError =>
  new KeyspanError(
    'AccessDeniedException',
    'The ciphertext refers to a customer master key that does not exist, does not exist in ' +
      'this region, or you are not allowed to access.',
  );

/** DryRunModifiers: whether only the permission is asked about, without a ciphertext. */
function ignoresCiphertext(params: {
  readonly DryRun?: boolean;
  readonly DryRunModifiers?: readonly string[];
}): boolean {
  if (!params.DryRunModifiers?.includes('IGNORE_CIPHERTEXT')) return false;
  if (params.DryRun !== true) throw invalid('DryRunModifiers can only be used with DryRun.');
  return true;
}

interface Opened {
  readonly material: MaterialFact;
  readonly vault: Vault;
  readonly step: OpenStep;
}

/** @throws InvalidCiphertextException, IncorrectKeyException */
function openStep(
  kms: KmsParts,
  { key, ciphertext }: Source,
  context: EncryptionContext | undefined,
): Opened {
  if (!ciphertext) throw invalidCiphertext();
  if (ciphertext.keyId !== key.id) {
    throw new KeyspanError(
      'IncorrectKeyException',
      'The key ID in the request does not identify a CMK that can perform this operation.',
    );
  }
  const material = kms.facts.material(key, ciphertext.materialId);
  if (!material) throw invalidCiphertext();
  // the header that was read is the material's: it names the same key and material
  const aad = authenticatedBy(material, context);
  const { iv, tag } = ciphertext;
  const input = { iv, ciphertext: ciphertext.ciphertext, tag, aad };
  return { material, vault: vaultOf(kms, material), step: { key: material.hsmKey, input } };
}
