import { aliasArn, isAccount, keyArn, parseArn } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { isKmsKeyId, type KmsKeyId } from '../core/ids.js';
import type { Facts } from './facts.js';
import type { KeyFact } from './records.js';
import type { KmsCaller, KmsRequest } from './request.js';

/** A key, with the alias that named it. */
export interface FoundKey {
  readonly key: KeyFact;
  readonly alias?: string;
}

/**
 * The key that a KeyId member means: an id, a key ARN, an alias name or an alias ARN.
 * @throws NotFoundException in AWS's words
 */
export function findKey(facts: Facts, caller: KmsCaller, given: string): FoundKey {
  const { account: own } = caller.principal;
  // most requests name a key that is there by its id: nothing else need be looked at
  const key = facts.key(own, caller.region, given as KmsKeyId);
  if (key) return { key };
  if (isKmsKeyId(given)) return { key: keyOf(facts, own, caller, given) };
  if (given.startsWith('alias/')) return aliased(facts, own, caller, given);
  const { account, resource } = splitArn(caller, given);
  if (resource.startsWith('alias/')) return aliased(facts, account, caller, resource);
  return { key: keyOf(facts, account, caller, resource.slice('key/'.length)) };
}

/**
 * As findKey, for actions that take no alias.
 * @throws NotFoundException
 */
export function findKeyById(facts: Facts, caller: KmsCaller, given: string): KeyFact {
  if (isKmsKeyId(given)) return keyOf(facts, caller.principal.account, caller, given);
  const { account, resource } = splitArn(caller, given);
  if (!resource.startsWith('key/')) throw invalidKeyId(given);
  return keyOf(facts, account, caller, resource.slice('key/'.length));
}

/**
 * As findKeyById, for actions that work within one account alone: what another account's policy
 * says of them has no effect (developer guide, key policies for external accounts).
 * @throws NotFoundException, AccessDeniedException
 */
export function findOwnKey(
  facts: Facts,
  request: Pick<KmsRequest, 'action' | 'caller' | 'resource'>,
  given: string,
): KeyFact {
  const { caller, action } = request;
  const key = findKeyById(facts, caller, given);
  if (key.account === caller.principal.account) return key;
  request.resource ??= key.arn;
  throw new KeyspanError(
    'AccessDeniedException',
    `User: ${caller.principal.arn} is not authorized to perform: kms:${action} on resource: ` +
      `${key.arn} because no resource-based policy allows the kms:${action} action`,
  );
}

function splitArn(caller: KmsCaller, given: string): { account: string; resource: string } {
  const arn = parseArn(given);
  if (!arn || arn.service !== 'kms' || !isAccount(arn.account)) throw invalidKeyId(given);
  if (!/^(key|alias)\//.test(arn.resource)) throw invalidKeyId(given);
  if (arn.region !== caller.region) {
    throw new KeyspanError('NotFoundException', `Invalid arn ${arn.region}`);
  }
  return { account: arn.account, resource: arn.resource };
}

function keyOf(facts: Facts, account: string, { region }: KmsCaller, id: string): KeyFact {
  if (!isKmsKeyId(id)) throw invalidKeyId(id);
  const key = facts.key(account, region, id);
  if (key) return key;
  const sentence = `Key '${keyArn(region, account, id)}' does not exist`;
  throw new KeyspanError('NotFoundException', sentence);
}

function aliased(facts: Facts, account: string, { region }: KmsCaller, name: string): FoundKey {
  const alias = facts.aliasInForce(account, region, name);
  const key = alias && facts.targetOf(alias);
  if (key) return { key, alias: name };
  throw aliasNotFound(aliasArn(region, account, name));
}

const invalidKeyId = (given: string): KeyspanError =>
  new KeyspanError('NotFoundException', `Invalid keyId '${given}'`);
export const aliasNotFound = (arn: string): KeyspanError =>
  new KeyspanError('NotFoundException', `Alias ${arn} is not found.`);
