import { readFileSync, statSync } from 'node:fs';
import { isAccount, isRegion } from '../core/arn.js';
import { parseBase64, parseHex } from '../core/bytes.js';
import { KeyspanError, isKeyspanError } from '../core/errors.js';
import { isKmsKeyId, type KmsKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { parsePolicy, type PolicyKind } from '../iam/policy-document.js';
import type { GrantTerms } from '../kms/grant-records.js';
import { readTerms } from '../kms/grant-terms.js';
import type { KeySeed } from '../kms/seeding.js';
import {
  FormError,
  flag,
  int,
  list,
  mapOf,
  object,
  oneOf,
  optional,
  orElse,
  text,
  type Form,
  type FormOf,
} from '../protocol/form.js';
import { GRANT_OPERATIONS } from '../protocol/kms-members.js';

/**
 * What an installation is to have from its start: docs/ci.md has the file's form. Nothing of its
 * contents is in an error but names of members: it holds secrets.
 */
export interface Seed {
  readonly keys: readonly SeededKey[];
}

/** Where account or region are absent, they are the installation's. */
export type SeededKey = Omit<KeySeed, 'account' | 'region'> &
  Partial<Pick<KeySeed, 'account' | 'region'>>;

/** A text that passes a check. @param what it must be */
const checked =
  <T extends string>(check: (value: string) => boolean, what: string): Form<T> =>
  (value) => {
    if (typeof value === 'string' && check(value)) return value as T;
    throw new FormError(`must be ${what}`);
  };

/** As `object`; a member of unknown name, mostly a slip of the pen, is named. */
function members<M extends Record<string, Form<unknown>>>(forms: M): ReturnType<typeof object<M>> {
  const form = object(forms);
  return (value) => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const foreign = Object.keys(value).find((name) => !Object.hasOwn(forms, name));
      const known = Object.keys(forms).join(', ');
      if (foreign !== undefined) throw new FormError(`is none of ${known}`, [foreign]);
    }
    return form(value);
  };
}

const MATERIAL_BYTES = 32;
const MATERIAL_HEX = /^[0-9a-fA-F]{64}$/;

/** The bytes of an AES-256 key; who reads the file wipes them. */
const material: Form<Uint8Array> = (value) => {
  const given = typeof value === 'string' ? value : '';
  const bytes = MATERIAL_HEX.test(given) ? parseHex(given) : parseBase64(given);
  if (bytes?.length === MATERIAL_BYTES) return bytes;
  throw new FormError(`must be ${MATERIAL_BYTES} bytes in base64 or hex`);
};

/** A policy as its JSON text, or as what that would be. */
const policy =
  (kind: PolicyKind): Form<string> =>
  (value) => {
    const json = typeof value === 'string' ? value : JSON.stringify(value);
    asForm(() => parsePolicy(json, kind));
    return json;
  };

/** What the service refuses is of a wrong form here. */
function asForm<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isKeyspanError(error) ? new FormError(error.message) : error;
  }
}

const ALIAS = /^alias\/[a-zA-Z0-9:/_-]{1,250}$/;
const isFreeAlias = (name: string): boolean => ALIAS.test(name) && !name.startsWith('alias/aws/');
const TAG_KEY = /^.{1,128}$/su;

/** Values by their keys. */
const tags: Form<readonly { readonly key: string; readonly value: string }[]> = (value) => {
  const read = mapOf(text({ min: 0, max: 256 }))(value);
  const names = Object.keys(read);
  const wrong = names.find((name) => !TAG_KEY.test(name) || /^aws:/i.test(name));
  if (wrong !== undefined) throw new FormError('is no key of a tag', [wrong]);
  if (names.length > LIMITS.kms_tags_max) {
    throw new FormError(`has more than ${LIMITS.kms_tags_max} tags`);
  }
  return Object.entries(read).map(([key, tag]) => ({ key, value: tag }));
};

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
  policy: optional(policy('key')),
  tags: optional(tags),
  aliases: orElse(
    list(checked(isFreeAlias, 'alias/ and letters, digits, /, _, - or :, and not of alias/aws/'), {
      max: LIMITS.kms_aliases_per_key_max,
    }),
    [],
  ),
  grants: orElse(list(grant, { max: LIMITS.store_commit_writes_max }), []),
});

const seedForm = members({
  keys: orElse(list(keyForm, { max: LIMITS.seed_keys_max }), []),
});

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

function readKeys(keys: FormOf<typeof seedForm>['keys']): SeededKey[] {
  const ids = new Set<string>();
  return keys.map((key, at) => {
    try {
      const read = seededKey(key);
      if (ids.has(key.id)) throw new FormError('is the id of two keys', ['id']);
      ids.add(key.id);
      return read;
    } catch (error) {
      throw error instanceof FormError ? error.within(String(at)).within('keys') : error;
    }
  });
}

/**
 * Reads a seed. Key material is in the bytes that it answers, which the caller wipes.
 * @throws KeyspanConfig that says where it is wrong
 */
export async function readSeed(path: string): Promise<Seed> {
  try {
    if (statSync(path).size > LIMITS.seed_file_max_bytes) {
      throw refused(`it has more than ${LIMITS.seed_file_max_bytes} bytes`);
    }
    return await parseSeed(readFileSync(path, 'utf8'));
  } catch (cause) {
    const sentence = (cause as Error).message;
    throw new KeyspanError('KeyspanConfig', `The seed ${path} cannot be used: ${sentence}`, {
      cause,
    });
  }
}

/** @throws KeyspanConfig that says where the text is wrong */
export async function parseSeed(content: string): Promise<Seed> {
  const value = (await parseText(content)) ?? {};
  try {
    return { keys: readKeys(seedForm(value).keys) };
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    const { path, what } = error;
    throw refused(path.length === 0 ? `it ${what}` : `${pathOf(path)}: ${what}`);
  }
}

const refused = (sentence: string): KeyspanError => new KeyspanError('KeyspanConfig', sentence);

const INDEX = /^\d{1,5}$/;
const NAME_MAX_CHARS = 64;

/** `keys[2].material` */
function pathOf(path: readonly string[]): string {
  return path
    .map((member, at) => {
      if (at > 0 && INDEX.test(member)) return `[${member}]`;
      const name = member.replaceAll(/[^\w:/@+=.-]/g, '?').slice(0, NAME_MAX_CHARS);
      return at === 0 ? name : `.${name}`;
    })
    .join('');
}

/**
 * JSON, or YAML, of which JSON is a part but slow to read as such. What their readers say of a
 * text that they cannot read quotes it, and is left out.
 */
async function parseText(content: string): Promise<unknown> {
  if (content.trimStart().startsWith('{')) {
    try {
      return JSON.parse(content) as unknown;
    } catch {
      // YAML says where
    }
  }
  const { parseDocument } = await import('yaml');
  const document = parseDocument(content, { prettyErrors: false, logLevel: 'silent' });
  const [wrong] = document.errors;
  if (wrong) {
    const { line, col } = lineOf(content, wrong.pos[0]);
    throw refused(`line ${line}, column ${col}: it is neither JSON nor YAML (${wrong.code})`);
  }
  try {
    return document.toJS({ maxAliasCount: LIMITS.seed_keys_max }) as unknown;
  } catch {
    throw refused('it has too many aliases of YAML, or one of nothing');
  }
}

function lineOf(content: string, at: number): { line: number; col: number } {
  const before = content.slice(0, at).split('\n');
  return { line: before.length, col: (before.at(-1) ?? '').length + 1 };
}
