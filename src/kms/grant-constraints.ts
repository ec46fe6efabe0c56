import type { GrantOperation } from '../protocol/kms-members.js';
import type { EncryptionContext } from './ciphertext.js';
import type { GrantRecord, GrantTerms } from './grant-records.js';

type Constraints = GrantRecord['constraints'];
type Pairs = NonNullable<Constraints['equals']>;

/** Operations that no encryption context belongs to: such constraints do not bind them. */
const WITHOUT_CONTEXT: ReadonlySet<string> = new Set<GrantOperation>([
  'CreateGrant',
  'DescribeKey',
  'RetireGrant',
]);

/** What a request says that constraints ask about. */
export interface ConstrainedRequest {
  readonly operation: string;
  readonly encryptionContext: EncryptionContext | undefined;
  /** aws:SourceArn */
  readonly sourceArn: string | undefined;
}

/** A request with its context as grants compare it, worked out once. */
export interface ComparableRequest {
  readonly operation: string;
  readonly pairs: readonly string[];
  readonly all: string;
  readonly sourceArn: string | undefined;
}

/**
 * The pairs of a context as grants compare them: the names without regard to case, the values with
 * it. Unambiguous and in one order.
 */
function comparable(context: Iterable<readonly [string, string]>): string[] {
  const pairs = Array.from(context, ([name, value]) => JSON.stringify([name.toLowerCase(), value]));
  return pairs.length > 1 ? pairs.sort() : pairs;
}

const together = (pairs: readonly string[]): string => `=${pairs.join()}`;

export function compareWith(request: ConstrainedRequest): ComparableRequest {
  const { operation, encryptionContext, sourceArn } = request;
  const pairs = encryptionContext ? comparable(encryptionContext) : [];
  return { operation, pairs, all: together(pairs), sourceArn };
}

/** Whether a request is within the constraints of a grant. Pure. */
export function meets(constraints: Constraints, request: ComparableRequest): boolean {
  const { operation } = request;
  if (operation === 'RetireGrant') return true;
  const { equals, subset, sourceArn } = constraints;
  if (sourceArn !== undefined && sourceArn !== request.sourceArn) return false;
  if (WITHOUT_CONTEXT.has(operation)) return true;
  if (equals && together(comparable(equals)) !== request.all) return false;
  return !subset || comparable(subset).every((pair) => request.pairs.includes(pair));
}

/** Whether a grant that is made through another one allows no more than that. Pure. */
export function isWithin(child: GrantTerms, parent: GrantTerms): boolean {
  const { operations, constraints: given } = child;
  const { equals, subset, sourceArn } = parent.constraints;
  if (!operations.every((operation) => parent.operations.includes(operation))) return false;
  if (sourceArn !== undefined && sourceArn !== given.sourceArn) return false;
  if (equals && (!given.equals || !isSame(equals, given.equals))) return false;
  if (!subset) return true;
  const said = comparable(given.equals ?? given.subset ?? []);
  return comparable(subset).every((pair) => said.includes(pair));
}

const isSame = (a: Pairs, b: Pairs): boolean => together(comparable(a)) === together(comparable(b));

/**
 * What of its constraints a grant can be filed under: a request that meets them names at least
 * this. One is enough; where there are several, the one that tells most grants apart is best.
 */
export function filedUnder(constraints: Constraints, operation: string): readonly string[] {
  const { equals, subset = [], sourceArn } = constraints;
  const source = sourceArn === undefined ? [] : [`@${sourceArn}`];
  const context = equals ? [together(comparable(equals))] : comparable(subset);
  const all = WITHOUT_CONTEXT.has(operation) ? source : [...source, ...context];
  return all.length === 0 ? [''] : all;
}

/** All that grants may be filed under which a request meets. */
export function lookedFor({ pairs, all, sourceArn }: ComparableRequest): readonly string[] {
  return ['', ...(sourceArn === undefined ? [] : [`@${sourceArn}`]), all, ...pairs];
}
