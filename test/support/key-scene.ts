import type { KmsAction } from '../../src/protocol/kms.js';

/** Performs a request as somebody who may do everything in the account. */
type Perform = (action: KmsAction, params: object) => Promise<object>;

/** A key with all that the built actions ask about. */
export interface KeyScene {
  readonly KeyId: string;
  readonly Arn: string;
  readonly alias: string;
  readonly GrantId: string;
  readonly CiphertextBlob: unknown;
}

let scenes = 0;

/** Makes a key with an alias, a grant and a ciphertext. */
export async function setScene(
  perform: Perform,
  options: { readonly Policy?: string; readonly grant: object; readonly plaintext?: unknown },
): Promise<KeyScene> {
  const { Policy, grant, plaintext = Buffer.of(7) } = options;
  const given = Policy === undefined ? {} : { Policy };
  const { KeyMetadata } = (await perform('CreateKey', given)) as { KeyMetadata: KeyScene };
  const { KeyId, Arn } = KeyMetadata;
  scenes += 1;
  const alias = `alias/scene-${scenes}`;
  await perform('CreateAlias', { AliasName: alias, TargetKeyId: KeyId });
  const { GrantId } = (await perform('CreateGrant', { KeyId, ...grant })) as KeyScene;
  const encrypt = { KeyId, Plaintext: plaintext };
  const { CiphertextBlob } = (await perform('Encrypt', encrypt)) as KeyScene;
  return { KeyId, Arn, alias, GrantId, CiphertextBlob };
}

interface Example {
  /** what stands on the key, an alias of it, or no key */
  readonly on: 'key' | 'alias' | 'account';
  /** what must be done before it succeeds */
  readonly before?: KmsAction;
  /** @param who the ARN of the caller */
  readonly params: (scene: KeyScene, who: string) => object;
}

const key = ({ Arn }: KeyScene): object => ({ KeyId: Arn });
const onKey = (more: object = {}): Example => ({
  on: 'key',
  params: (scene) => ({ ...key(scene), ...more }),
});
const onAccount = (params: object = {}): Example => ({ on: 'account', params: () => params });
const ofGrant: Example = {
  on: 'key',
  params: ({ Arn, GrantId }) => ({ KeyId: Arn, GrantId }),
};

/** A request of each built action that succeeds, for who may make it. */
export const EXAMPLES: Readonly<Partial<Record<KmsAction, Example>>> = {
  CancelKeyDeletion: { ...onKey(), before: 'ScheduleKeyDeletion' },
  CreateAlias: {
    on: 'alias',
    params: ({ Arn, alias }) => ({ AliasName: `${alias}-new`, TargetKeyId: Arn }),
  },
  CreateGrant: {
    on: 'key',
    params: (scene, who) => ({
      ...key(scene),
      GranteePrincipal: who,
      Operations: ['Encrypt'],
    }),
  },
  CreateKey: onAccount(),
  Decrypt: {
    on: 'key',
    params: ({ Arn, CiphertextBlob }) => ({ KeyId: Arn, CiphertextBlob }),
  },
  DeleteAlias: { on: 'alias', params: ({ alias }) => ({ AliasName: alias }) },
  DescribeKey: onKey(),
  DisableKey: onKey(),
  DisableKeyRotation: onKey(),
  EnableKey: onKey(),
  EnableKeyRotation: onKey(),
  Encrypt: {
    on: 'key',
    params: (scene) => ({ ...key(scene), Plaintext: plaintextLike(scene) }),
  },
  GenerateDataKey: onKey({ KeySpec: 'AES_256' }),
  GenerateDataKeyWithoutPlaintext: onKey({ NumberOfBytes: 7 }),
  GenerateRandom: onAccount({ NumberOfBytes: 7 }),
  GetKeyPolicy: onKey(),
  GetKeyRotationStatus: onKey(),
  ListAliases: onAccount(),
  ListGrants: onKey(),
  ListKeyPolicies: onKey(),
  ListKeyRotations: onKey(),
  ListKeys: onAccount(),
  ListResourceTags: onKey(),
  ListRetirableGrants: {
    on: 'account',
    params: (_, who) => ({ RetiringPrincipal: who }),
  },
  PutKeyPolicy: onKey(),
  ReEncrypt: {
    on: 'key',
    params: ({ Arn, CiphertextBlob }) => ({
      SourceKeyId: Arn,
      DestinationKeyId: Arn,
      CiphertextBlob,
    }),
  },
  RetireGrant: ofGrant,
  RevokeGrant: ofGrant,
  RotateKeyOnDemand: onKey(),
  ScheduleKeyDeletion: onKey(),
  TagResource: onKey({ Tags: [{ TagKey: 'a', TagValue: 'b' }] }),
  UntagResource: onKey({ TagKeys: ['a'] }),
  UpdateAlias: {
    on: 'alias',
    params: ({ Arn, alias }) => ({ AliasName: alias, TargetKeyId: Arn }),
  },
  UpdateKeyDescription: onKey({ Description: 'new' }),
};

const plaintextLike = ({ CiphertextBlob }: KeyScene): unknown =>
  typeof CiphertextBlob === 'string' ? 'AAEC' : Buffer.of(0, 1, 2);

/** The example of an action, whole: PutKeyPolicy puts the policy that is there. */
export function exampleOf(
  action: KmsAction,
  scene: KeyScene,
  options: { readonly who: string; readonly Policy: string },
): object {
  const example = EXAMPLES[action];
  if (!example) throw new Error(`there is no example of ${action}`);
  const params = example.params(scene, options.who);
  return action === 'PutKeyPolicy' ? { ...params, Policy: options.Policy } : params;
}
