import { aliasArn } from '../core/arn.js';
import type { CommitPart } from '../core/commit.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { KEYSPACE } from '../store/keyspace.js';
import { authorizeAccount, authorizeKey } from './authorize.js';
import { requireState } from './key.js';
import { aliasNotFound, findKeyById, findOwnKey } from './key-lookup.js';
import { invalid } from './key-spec.js';
import type { PageRequest } from './facts.js';
import { listedAliases, type ListedAlias } from './managed-keys.js';
import { pageMembers, readMarker } from './pages.js';
import { civilSeconds, encodeAlias, type AliasFact, type KeyFact } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';

const LIST_LIMIT = 50;
const PREFIX = 'alias/';
const RESERVED = 'alias/aws/';

/** @throws ValidationException, InvalidAliasNameException, NotAuthorizedException */
export function checkName(name: string): void {
  if (!name.startsWith(PREFIX)) {
    throw invalid(
      'Alias must start with the prefix "alias/". Please see ' +
        'https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html',
    );
  }
  if (name.startsWith(RESERVED)) throw new KeyspanError('NotAuthorizedException');
  if (name === PREFIX) throw new KeyspanError('InvalidAliasNameException');
}

/** The key that an alias shall name: of the caller's account and region, and no alias itself. */
function findTarget(kms: KmsParts, request: KmsRequest<'CreateAlias' | 'UpdateAlias'>): KeyFact {
  const { caller } = request;
  const given = request.params.TargetKeyId;
  if (/^(arn:.*:)?alias\//.test(given)) throw invalid('Aliases must refer to keys. Not aliases');
  const key = findKeyById(kms.facts, caller, given);
  if (key.account !== caller.principal.account) {
    throw new KeyspanError('NotFoundException', `Key '${given}' does not exist`);
  }
  return key;
}

export async function createAlias(
  kms: KmsParts,
  request: KmsRequest<'CreateAlias'>,
): Promise<Answer> {
  const { caller } = request;
  const { account } = caller.principal;
  const name = request.params.AliasName;
  checkName(name);
  const key = findTarget(kms, request);
  const arn = aliasArn(caller.region, account, name);
  authorizeAccount(kms, request, arn);
  authorizeKey(kms, request, key);
  requireState(key, 'attach');
  if (kms.facts.alias(account, caller.region, name)) {
    const sentence = `An alias with the name ${arn} already exists`;
    throw new KeyspanError('AlreadyExistsException', sentence);
  }
  requireRoom(kms, key);
  const { compares, writes } = putAlias(kms, key, name);
  const revision = await kms.facts.commit({
    // the key's state was read: it must still be what it was
    compares: [...compares, { key: key.path, modRevision: key.modRevision }],
    writes,
  });
  await kms.facts.shown(revision, request.call.deadline);
  return {};
}

/** The part of a commit that writes down a new alias of a key. */
export function putAlias(
  kms: KmsParts,
  key: Pick<KeyFact, 'account' | 'region' | 'id'>,
  name: string,
): CommitPart {
  const path = KEYSPACE.kmsAlias(key.account, key.region, name);
  const now = civilSeconds(kms.clock);
  const value = encodeAlias({ name, target: key.id, createdAt: now, updatedAt: now });
  return {
    compares: [{ key: path, modRevision: null }],
    writes: [{ op: 'put', key: path, value }],
  };
}

/** Two requests at once may each find the last place; the bound is a quota, not an invariant. */
function requireRoom(kms: KmsParts, key: KeyFact): void {
  if (kms.facts.aliasesOf(key).length < LIMITS.kms_aliases_per_key_max) return;
  const sentence = `A KMS key has at most ${LIMITS.kms_aliases_per_key_max} aliases: ${key.arn}`;
  throw new KeyspanError('LimitExceededException', sentence);
}

function findAlias(kms: KmsParts, request: KmsRequest<'UpdateAlias' | 'DeleteAlias'>): AliasFact {
  const { principal, region } = request.caller;
  const name = request.params.AliasName;
  checkName(name);
  const alias = kms.facts.alias(principal.account, region, name);
  if (alias) return alias;
  throw aliasNotFound(aliasArn(region, principal.account, name));
}

export async function updateAlias(
  kms: KmsParts,
  request: KmsRequest<'UpdateAlias'>,
): Promise<Answer> {
  const alias = findAlias(kms, request);
  const former = kms.facts.targetOf(alias);
  const key = findTarget(kms, request);
  authorizeAccount(kms, request, alias.arn);
  if (former) authorizeKey(kms, request, former);
  authorizeKey(kms, request, key);
  requireState(key, 'attach');
  if (former && (former.spec !== key.spec || former.usage !== key.usage)) {
    throw invalid(`Alias ${alias.arn} and key ${key.arn} must have the same type and usage.`);
  }
  if (former?.id !== key.id) requireRoom(kms, key);
  const { name, createdAt } = alias;
  const updatedAt = civilSeconds(kms.clock);
  const revision = await kms.facts.commit({
    compares: [
      { key: alias.path, modRevision: alias.modRevision },
      { key: key.path, modRevision: key.modRevision },
    ],
    writes: [
      {
        op: 'put',
        key: alias.path,
        value: encodeAlias({ name, target: key.id, createdAt, updatedAt }),
      },
    ],
  });
  await kms.facts.shown(revision, request.call.deadline);
  return {};
}

export async function deleteAlias(
  kms: KmsParts,
  request: KmsRequest<'DeleteAlias'>,
): Promise<Answer> {
  const alias = findAlias(kms, request);
  const key = kms.facts.targetOf(alias);
  authorizeAccount(kms, request, alias.arn);
  if (key) authorizeKey(kms, request, key);
  const revision = await kms.facts.commit({
    compares: [{ key: alias.path, modRevision: alias.modRevision }],
    writes: [{ op: 'delete', key: alias.path }],
  });
  await kms.facts.shown(revision, request.call.deadline);
  return {};
}

export async function listAliases(
  kms: KmsParts,
  request: KmsRequest<'ListAliases'>,
): Promise<Answer> {
  const { caller } = request;
  const { KeyId, Limit = LIST_LIMIT, Marker } = request.params;
  const key = KeyId === undefined ? undefined : findOwnKey(kms.facts, request, KeyId);
  authorizeAccount(kms, request);
  const after = readMarker(Marker);
  const page = { after, limit: Limit + 1 };
  const { account } = caller.principal;
  const found = key
    ? aliasesOf(kms, key, page)
    : listedAliases(kms, { account, region: caller.region }, page);
  const { items, members } = pageMembers(found, Limit, (alias) => alias.name);
  return { Aliases: items.map(entryOf), ...members };
}

const aliasesOf = (kms: KmsParts, key: KeyFact, { after }: PageRequest): ListedAlias[] =>
  kms.facts
    .aliasesOf(key)
    .filter(({ name }) => after === undefined || name > after)
    .map((fact) => ({ name: fact.name, arn: fact.arn, fact }));

/** KMS API, AliasListEntry */
const entryOf = ({ name, arn, fact }: ListedAlias): Answer => ({
  AliasName: name,
  AliasArn: arn,
  ...(fact && {
    TargetKeyId: fact.target,
    CreationDate: fact.createdAt,
    LastUpdatedDate: fact.updatedAt,
  }),
});
