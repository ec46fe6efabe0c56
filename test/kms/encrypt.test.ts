import { describe, expect, test } from 'vitest';
import {
  ALICE,
  allow,
  KmsFixture,
  OTHER_ROOT,
  policyOf,
  ROOT,
  text,
} from '../support/kms-fixture.js';
import { SoftwareVault, SoftwareVaults } from '../support/software-vault.js';

const DRY_RUN =
  'DryRunOperationException: The request would have succeeded, but the DryRun option is set.';
const INVALID = 'InvalidCiphertextException: ';
/** what the API says of a blob that names no key of the region */
const UNKNOWN =
  'AccessDeniedException: The ciphertext refers to a customer master key that does not exist, ' +
  'does not exist in this region, or you are not allowed to access.';
/** where a blob says which key made it (src/kms/DESIGN.md) */
const [KEY_ID_FROM, KEY_ID_TO] = [4, 21];
const plaintext = (): Uint8Array => new Uint8Array(Buffer.from('attack at dawn'));

describe('Encrypt and Decrypt', () => {
  test('agree, with every form of key id', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn, CurrentKeyMaterialId } = await at.createKey();
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    for (const name of [KeyId, Arn, 'alias/a', Arn.replace(/key\/.*/, 'alias/a')]) {
      const made = await at.call('Encrypt', { KeyId: name, Plaintext: plaintext() });
      expect(made).toEqual({
        CiphertextBlob: expect.any(Uint8Array),
        KeyId: Arn,
        EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      });
      const { CiphertextBlob } = made;
      for (const given of [undefined, name]) {
        const opened = await at.call('Decrypt', { CiphertextBlob, KeyId: given });
        expect(text(opened.Plaintext)).toBe('attack at dawn');
        expect(opened).toMatchObject({
          KeyId: Arn,
          EncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
          KeyMaterialId: CurrentKeyMaterialId,
        });
      }
    }
  });

  test('the same plaintext is never encrypted alike, and the plaintext is wiped', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const Plaintext = plaintext();
    const first = await at.call('Encrypt', { KeyId, Plaintext });
    expect(Plaintext.every((byte) => byte === 0)).toBe(true);
    const second = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    expect(Buffer.compare(first.CiphertextBlob, second.CiphertextBlob)).not.toBe(0);
  });

  test('the largest plaintext fits, one byte more does not', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const made = await at.call('Encrypt', { KeyId, Plaintext: Buffer.alloc(4096, 7) });
    expect(made.CiphertextBlob).toHaveLength(4096 + 81);
    const opened = await at.call('Decrypt', { CiphertextBlob: made.CiphertextBlob });
    expect(Buffer.compare(opened.Plaintext, Buffer.alloc(4096, 7))).toBe(0);
    expect(await at.refused('Encrypt', { KeyId, Plaintext: Buffer.alloc(4097) })).toBe(
      "ValidationException: 1 validation error detected: Value at 'plaintext' failed to " +
        'satisfy constraint: Member must have length less than or equal to 4096',
    );
  });

  test.each<[object | undefined, object | undefined, boolean]>([
    [undefined, {}, true],
    [{ a: 'bc' }, { a: 'bc' }, true],
    [{ a: '1', b: '2' }, { b: '2', a: '1' }, true],
    [{ a: 'bc' }, { ab: 'c' }, false],
    [{ a: 'bc' }, { a: 'BC' }, false],
    [{ a: 'bc' }, { A: 'bc' }, false],
    [{ a: 'bc' }, { a: 'bc', d: '' }, false],
    [{ a: 'bc' }, undefined, false],
    [undefined, { a: 'bc' }, false],
    [JSON.parse('{"__proto__":"x"}') as object, {}, false],
  ])('context %j opened with %j: %s', async (sealedWith, openedWith, opens) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', {
      KeyId,
      Plaintext: plaintext(),
      EncryptionContext: sealedWith,
    });
    const request = { CiphertextBlob, EncryptionContext: openedWith };
    if (opens) expect(text((await at.call('Decrypt', request)).Plaintext)).toBe('attack at dawn');
    else expect(await at.refused('Decrypt', request)).toBe(INVALID);
  });

  test('a change of any byte is refused', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    for (let index = 0; index < CiphertextBlob.length; index += 1) {
      const changed = Buffer.from(CiphertextBlob);
      changed[index] = (changed[index] ?? 0) ^ 0x01;
      const isOther = index >= KEY_ID_FROM && index < KEY_ID_TO;
      expect(await at.refused('Decrypt', { CiphertextBlob: changed }), `byte ${index}`).toBe(
        isOther ? UNKNOWN : INVALID,
      );
    }
    for (const length of [1, 53, CiphertextBlob.length - 1]) {
      const cut = CiphertextBlob.subarray(0, length);
      expect(await at.refused('Decrypt', { CiphertextBlob: cut })).toBe(INVALID);
    }
    const longer = Buffer.concat([CiphertextBlob, Buffer.of(0)]);
    expect(await at.refused('Decrypt', { CiphertextBlob: longer })).toBe(INVALID);
  });

  test('foreign blobs are refused, also where the key is named', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const foreign = Buffer.from('AQICAHh', 'base64');
    expect(await at.refused('Decrypt', { CiphertextBlob: foreign })).toBe(INVALID);
    expect(await at.refused('Decrypt', { CiphertextBlob: foreign, KeyId })).toBe(INVALID);
    await using elsewhere = await KmsFixture.open();
    const { KeyId: unknown } = await elsewhere.createKey();
    const made = await elsewhere.call('Encrypt', { KeyId: unknown, Plaintext: plaintext() });
    const { CiphertextBlob } = made;
    expect(await at.refused('Decrypt', { CiphertextBlob })).toBe(UNKNOWN);
  });

  test('the key that the request names must be the one', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { KeyId: other } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    expect(await at.refused('Decrypt', { CiphertextBlob, KeyId: other })).toBe(
      'IncorrectKeyException: The key ID in the request does not identify a CMK that can ' +
        'perform this operation.',
    );
  });

  test('another algorithm is refused', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const EncryptionAlgorithm = 'RSAES_OAEP_SHA_256';
    const sentence =
      'InvalidKeyUsageException: Algorithm RSAES_OAEP_SHA_256 is incompatible with key spec ' +
      'SYMMETRIC_DEFAULT.';
    const request = { KeyId, Plaintext: plaintext(), EncryptionAlgorithm };
    expect(await at.refused('Encrypt', request)).toBe(sentence);
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    expect(await at.refused('Decrypt', { CiphertextBlob, EncryptionAlgorithm })).toBe(sentence);
  });

  test('a disabled key does neither', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    await at.call('DisableKey', { KeyId });
    const disabled = `DisabledException: ${Arn} is disabled.`;
    expect(await at.refused('Encrypt', { KeyId, Plaintext: plaintext() })).toBe(disabled);
    expect(await at.refused('Decrypt', { CiphertextBlob })).toBe(disabled);
    // authorisation comes before the state
    expect(await at.refused('Decrypt', { CiphertextBlob }, ALICE)).toMatch(/^AccessDenied/);
  });

  test('another account is denied, whether it names the key or not', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    const denied =
      `AccessDeniedException: User: ${OTHER_ROOT.principal.arn} is not authorized to perform: ` +
      `kms:Decrypt on resource: ${Arn} because no resource-based policy allows the ` +
      'kms:Decrypt action';
    expect(await at.refused('Decrypt', { CiphertextBlob }, OTHER_ROOT)).toBe(denied);
    expect(await at.refused('Decrypt', { CiphertextBlob, KeyId: Arn }, OTHER_ROOT)).toBe(denied);
    expect(await at.refused('Encrypt', { KeyId: Arn, Plaintext: plaintext() }, OTHER_ROOT)).toMatch(
      /^AccessDenied/,
    );
  });

  test('DryRun decides all and does nothing', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    const DryRun = true;
    expect(await at.refused('Encrypt', { KeyId, Plaintext: plaintext(), DryRun })).toBe(DRY_RUN);
    expect(await at.refused('Decrypt', { CiphertextBlob, DryRun })).toBe(DRY_RUN);
    const EncryptionContext = { a: 'b' };
    expect(await at.refused('Decrypt', { CiphertextBlob, EncryptionContext, DryRun })).toBe(
      INVALID,
    );
    await at.call('DisableKey', { KeyId });
    expect(await at.refused('Decrypt', { CiphertextBlob, DryRun })).toMatch(/^DisabledException/);
  });

  test('a dry run may go without a ciphertext', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const DryRunModifiers = ['IGNORE_CIPHERTEXT'];
    const missing = (member: string): string =>
      `ValidationException: 1 validation error detected: Value null at '${member}' failed to ` +
      'satisfy constraint: Member must not be null';
    expect(await at.refused('Decrypt', { KeyId, DryRun: true, DryRunModifiers })).toBe(DRY_RUN);
    expect(await at.refused('Decrypt', { DryRun: true, DryRunModifiers })).toBe(missing('keyId'));
    expect(await at.refused('Decrypt', { KeyId, DryRunModifiers })).toBe(
      'ValidationException: DryRunModifiers can only be used with DryRun.',
    );
    expect(await at.refused('Decrypt', { KeyId })).toBe(missing('ciphertextBlob'));
    const moved = { DestinationKeyId: KeyId, DryRun: true, DryRunModifiers };
    expect(await at.refused('ReEncrypt', moved)).toBe(missing('sourceKeyId'));
    expect(await at.refused('ReEncrypt', { ...moved, SourceKeyId: KeyId })).toBe(DRY_RUN);
  });

  test('an answer for a Nitro enclave is not built, and not given in clear', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', { KeyId, Plaintext: plaintext() });
    const Recipient = { AttestationDocument: Buffer.of(1) };
    const refusal = 'UnsupportedOperationException: Recipient is not supported by Keyspan.';
    expect(await at.refused('Decrypt', { CiphertextBlob, Recipient })).toBe(refusal);
    const dataKey = { KeyId, KeySpec: 'AES_256', Recipient };
    expect(await at.refused('GenerateDataKey', dataKey)).toBe(refusal);
    expect(await at.refused('GenerateRandom', { NumberOfBytes: 1, Recipient })).toBe(refusal);
  });
});

describe('ReEncrypt', () => {
  test('moves a ciphertext to another key and context within one HSM', async () => {
    await using at = await KmsFixture.open();
    const from = await at.createKey();
    const to = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', {
      KeyId: from.KeyId,
      Plaintext: plaintext(),
      EncryptionContext: { a: '1' },
    });
    at.vault.asked.length = 0;
    const moved = await at.call('ReEncrypt', {
      CiphertextBlob,
      SourceEncryptionContext: { a: '1' },
      DestinationKeyId: to.KeyId,
      DestinationEncryptionContext: { b: '2' },
    });
    expect(at.vault.asked).toEqual(['reencrypt']);
    expect(moved).toEqual({
      CiphertextBlob: expect.any(Uint8Array),
      SourceKeyId: from.Arn,
      KeyId: to.Arn,
      SourceEncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      DestinationEncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
      SourceKeyMaterialId: from.CurrentKeyMaterialId,
      DestinationKeyMaterialId: to.CurrentKeyMaterialId,
    });
    const opened = await at.call('Decrypt', {
      CiphertextBlob: moved.CiphertextBlob,
      EncryptionContext: { b: '2' },
    });
    expect(text(opened.Plaintext)).toBe('attack at dawn');
    expect(opened.KeyId).toBe(to.Arn);
  });

  test('goes from one vault to another', async () => {
    const second = new SoftwareVault('cluster-othervault2');
    const vaults = new SoftwareVaults(new SoftwareVault(), second);
    await using at = await KmsFixture.open(vaults);
    const from = await at.createKey();
    vaults.prefer(second);
    const to = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', {
      KeyId: from.KeyId,
      Plaintext: plaintext(),
    });
    const moved = await at.call('ReEncrypt', { CiphertextBlob, DestinationKeyId: to.KeyId });
    expect(at.vault.asked).toEqual(['createKey', 'encrypt', 'decrypt']);
    expect(second.asked).toEqual(['createKey', 'encrypt']);
    const opened = await at.call('Decrypt', { CiphertextBlob: moved.CiphertextBlob });
    expect(text(opened.Plaintext)).toBe('attack at dawn');
  });

  test('holds to the source key, the contexts, the states and the ciphertext', async () => {
    await using at = await KmsFixture.open();
    const from = await at.createKey();
    const to = await at.createKey();
    const { CiphertextBlob } = await at.call('Encrypt', {
      KeyId: from.KeyId,
      Plaintext: plaintext(),
    });
    const request = { CiphertextBlob, DestinationKeyId: to.KeyId };
    const wrong = { ...request, SourceKeyId: to.KeyId };
    expect(await at.refused('ReEncrypt', wrong)).toMatch(/^IncorrectKeyException/);
    const context = { ...request, SourceEncryptionContext: { a: 'b' } };
    expect(await at.refused('ReEncrypt', context)).toBe(INVALID);
    expect(await at.refused('ReEncrypt', { ...request, CiphertextBlob: Buffer.of(1) })).toBe(
      INVALID,
    );
    expect(await at.refused('ReEncrypt', { ...request, DryRun: true })).toBe(DRY_RUN);
    await at.call('DisableKey', { KeyId: to.KeyId });
    expect(await at.refused('ReEncrypt', request)).toBe(
      `DisabledException: ${to.Arn} is disabled.`,
    );
    await at.call('DisableKey', { KeyId: from.KeyId });
    expect(await at.refused('ReEncrypt', request)).toBe(
      `DisabledException: ${from.Arn} is disabled.`,
    );
  });

  test('needs ReEncryptFrom on one key and ReEncryptTo on the other', async () => {
    await using at = await KmsFixture.open();
    const alice = ALICE.principal.arn;
    const open = allow(ROOT.principal.arn);
    const from = await at.createKey({ Policy: policyOf(open, allow(alice, 'kms:ReEncryptFrom')) });
    const to = await at.createKey({ Policy: policyOf(open, allow(alice, 'kms:ReEncryptTo')) });
    const { CiphertextBlob } = await at.call('Encrypt', {
      KeyId: from.KeyId,
      Plaintext: plaintext(),
    });
    await at.call('ReEncrypt', { CiphertextBlob, DestinationKeyId: to.KeyId }, ALICE);
    const same = { CiphertextBlob, DestinationKeyId: from.KeyId };
    expect(await at.refused('ReEncrypt', same, ALICE)).toBe(
      `AccessDeniedException: User: ${alice} is not authorized to perform: kms:ReEncryptTo on ` +
        `resource: ${from.Arn} because no identity-based policy allows the kms:ReEncryptTo action`,
    );
  });
});
