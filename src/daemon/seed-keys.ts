import { isAccount, isRegion } from '../core/arn.js';
import { parseBase64, parseHex } from '../core/bytes.js';
import { isKmsKeyId, type KmsKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { parsePolicy } from '../iam/policy-document.js';
import type { GrantTerms } from '../kms/grant-records.js';
import { readTerms } from '../kms/grant-terms.js';
import type { KeySeed } from '../kms/seeding.js';
import {
  FormError,
  flag,
  int,
  list,
  mapOf,
  oneOf,
  optional,
  orElse,
  text,
  type Form,
  type FormOf,
} from '../protocol/form.js';
import { GRANT_OPERATIONS } from '../protocol/kms-members.js';
import { asForm, checked, members, policy, tags } from './seed-forms.js';

/** Where account or region are absent, they are the installation's. */
export type SeededKey = Omit<KeySeed, 'account' | 'region'> &
  Partial<Pick<KeySeed, 'account' | 'region'>>;

const MATERIAL_BYTES = 32;
const MATERIAL_HEX = /^[0-9a-fA-F]{64}$/;

/** The bytes of an AES-256 key; who reads the file wipes them. */
const material: Form<Uint8Array> = (value) => {
  const given = typeof value === 'string' ? value : '';
  const bytes = MATERIAL_HEX.test(given) ? parseHex(given) : parseBase64(given);
  if (bytes?.length === MATERIAL_BYTES) return bytes;
  throw new FormError(`must be ${MATERIAL_BYTES} bytes in base64 or hex`);
};

const ALIAS = /^alias\/[a-zA-Z0-9:/_-]{1,250}$/;
const isFreeAlias = (name: string): boolean => ALIAS.test(name) && !name.startsWith('alias/aws/');
const context: Form<ReadonlyMap<string, string>> = (value) =>
  new Map(Object.entries(mapOf(text({ min: 0, max: 8_192 }))(value)));

const grantForm = members({
  name: optional(text({ max: 256, pattern: /^[a-zA-Z0-9:/_-]+$/ })),
  grantee: text({ max: 256 }),
  retiring: optional(text({ max: 256 })),
  operations: list(oneOf(...GRANT_OPERATIONS), { min: 1, max: GRANT_OPERATIONS.length }),
  encryptionContextSubset: optional(context),
  encryptionContextEquals: optional(context),
});

/** A grant in the words of CreateGrant, and checked as it checks them. */
const grant: Form<GrantTerms> = (value) => {
  const { name, grantee, retiring, operations, ...contexts } = grantForm(value);
  const { encryptionContextSubset: subset, encryptionContextEquals: equals } = contexts;
  const given = {
    KeyId: '',
    GranteePrincipal: grantee,
    Operations: operations,
    ...(name !== undefined && { Name: name }),
    ...(retiring !== undefined && { RetiringPrincipal: retiring }),
    Constraints: {
      ...(subset && { EncryptionContextSubset: subset }),
      ...(equals && { EncryptionContextEquals: equals }),
    },
  };
  return asForm(() => readTerms(given));
};

const keyForm = members({
  id: checked<KmsKeyId>(
    (value) => isKmsKeyId(value) && !value.startsWith('mrk-'),
    'a UUID in lower case',
  ),
  account: optional(checked(isAccount, 'twelve digits, in quotes')),
  region: optional(checked(isRegion, 'a region')),
  material: optional(material),
  materials: orElse(list(material, { max: LIMITS.kms_on_demand_rotations_max }), []),
  description: optional(text({ min: 0, max: 8_192 })),
  enabled: orElse(flag, true),
  rotation: optional(int({ min: 90, max: LIMITS.kms_rotation_period_max_days })),
  policy: optional(policy((json) => parsePolicy(json, 'key'))),
  tags: optional(tags),
  aliases: orElse(
    list(checked(isFreeAlias, 'alias/ and letters, digits, /, _, - or :, and not of alias/aws/'), {
      max: LIMITS.kms_aliases_per_key_max,
    }),
    [],
  ),
  grants: orElse(list(grant, { max: LIMITS.store_commit_writes_max }), []),
});

const keysForm = list(keyForm, { max: LIMITS.seed_keys_max });

/** @throws FormError */
function seededKey(key: FormOf<typeof keyForm>): SeededKey {
  const { id, account, region, materials, enabled, aliases, description, ...rest } = key;
  const { rotation: rotationDays, grants } = rest;
  if (!rest.material && materials.length > 0) {
    throw new FormError('is missing: what stands in materials is older', ['material']);
  }
  const all = rest.material ? [...materials, rest.material] : [];
  refuseTwice(
    all.map((one) => Buffer.from(one).toString('latin1')),
    'materials',
  );
  refuseTwice(aliases, 'aliases');
  // the key with its day, HSM keys and materials, aliases, grants with their names
  const writes = 2 + 2 * Math.max(1, all.length) + aliases.length + 2 * grants.length;
  if (writes > LIMITS.store_commit_writes_max) {
    throw new FormError('has more materials, aliases and grants than one commit takes');
  }
  return {
    id,
    ...(account !== undefined && { account }),
    ...(region !== undefined && { region }),
    materials: all,
    isEnabled: enabled,
    ...(rotationDays !== undefined && { rotationDays }),
    aliases,
    grants,
    params: {
      ...(description !== undefined && { Description: description }),
      ...(rest.policy !== undefined && { Policy: rest.policy }),
      ...(rest.tags && {
        Tags: rest.tags.map((tag) => ({ TagKey: tag.key, TagValue: tag.value })),
      }),
    },
  };
}

function refuseTwice(values: readonly string[], member: string): void {
  if (new Set(values).size < values.length) throw new FormError('has one twice', [member]);
}

/** What the member `keys` says. @throws FormError */
export function readKeys(value: unknown): SeededKey[] {
  const keys = keysForm(value);
  const ids = new Set<string>();
  return keys.map((key, at) => {
    try {
      const read = seededKey(key);
      if (ids.has(key.id)) throw new FormError('is the id of two keys', ['id']);
      ids.add(key.id);
      return read;
    } catch (error) {
      throw error instanceof FormError ? error.within(String(at)) : error;
    }
  });
}
