import { isAccount, rootArn } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { readCondition, type Condition } from './condition.js';
import { PolicyIndex } from './policy-index.js';
import { readTemplate } from './policy-variables.js';
import { readPrincipal, withoutPath } from './principal.js';
import type { PatternMatch, PrincipalMatch, Statement } from './statement.js';
import { hasWildcard } from './wildcard.js';

/**
 * A key policy stands on a resource and names principals, as does the trust policy of a role,
 * which is the resource that it is about; an identity policy (a permissions boundary, a session
 * policy too) names none.
 */
export type PolicyKind = 'key' | 'identity' | 'trust';

export interface PolicyDocument {
  readonly statements: readonly Statement[];
  readonly index: PolicyIndex;
}

type Json = Readonly<Record<string, unknown>>;

const VERSIONS: readonly string[] = ['2012-10-17', '2008-10-17'];
const DOCUMENT_MEMBERS = new Set(['Version', 'Id', 'Statement']);
const STATEMENT_MEMBERS = new Set(
  'Sid Effect Principal NotPrincipal Action NotAction Resource NotResource Condition'.split(' '),
);
const ACTION = /^(\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+)$/;
/** `*`, or an ARN that may hold wildcards anywhere behind its first part */
const RESOURCE = /^(\*|arn:.+)$/;
const SERVICE = /^[a-z0-9-]+(\.[a-z0-9-]+)*\.(amazonaws|amazon|aws)\.[a-z]+(\.cn)?$/;
/** those that AWS has beside its own accounts' */
const OTHER_PRINCIPALS = ['Service', 'Federated', 'CanonicalUser'];

/**
 * Reads a policy that somebody gives, and checks it as AWS does before it takes one.
 * @throws MalformedPolicyDocumentException, with what is wrong
 */
export function parsePolicy(text: string, kind: PolicyKind): PolicyDocument {
  const document = readPolicy(text, kind);
  requireSound(document, kind);
  return document;
}

/** What was taken once is taken for ever: nothing is asked here that was not always asked. */
function readPolicy(text: string, kind: PolicyKind): PolicyDocument {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw malformed('Syntax errors in policy.');
  }
  const document = object(json, 'The policy');
  onlyMembers(document, DOCUMENT_MEMBERS);
  const version = document['Version'] ?? '2008-10-17';
  if (typeof version !== 'string' || !VERSIONS.includes(version)) {
    throw malformed(`The policy's Version must be ${VERSIONS.join(' or ')}.`);
  }
  if (document['Id'] !== undefined) string(document['Id'], 'Id');
  const given = document['Statement'];
  const list: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (list.length === 0) throw malformed('The policy must have a statement.');
  const statements = list.map((one) => readStatement(one, { kind, version }));
  return { statements, index: new PolicyIndex(statements) };
}

/** Single-valued keys, of which a set operator would let pass what has none of them. */
const SINGLE_VALUED = /^(kms:encryptioncontext:|aws:requesttag\/)/;
/** KMS developer guide, "AWS KMS condition keys" */
const OVERLY_PERMISSIVE =
  'OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued condition ' +
  'key matches requests without the specified [encryption context or tag] or with an unspecified ' +
  '[encryption context or tag]. To fix, remove ForAllValues.';

function requireSound({ statements }: PolicyDocument, kind: PolicyKind): void {
  for (const { principals, conditions } of statements) {
    for (const principal of principals?.texts ?? []) {
      const [type, name = ''] = principal.split(' ');
      if (type === 'CanonicalUser') throw invalidPrincipals();
      if (type === 'Service' && !SERVICE.test(name)) throw invalidPrincipals();
    }
    for (const { operator, key, quantifier, isReadable } of conditions) {
      if (!isReadable) throw malformed(`The condition operator ${operator} has an invalid value.`);
      const isOpen = quantifier === 'all' && SINGLE_VALUED.test(key);
      // KMS says so; IAM lets it pass
      if (isOpen && kind === 'key') throw malformed(OVERLY_PERMISSIVE);
    }
  }
}

const cache = new Map<string, PolicyDocument>();

/**
 * Reads a policy that was taken before, remembered by text: all keys that have the default policy
 * of an account share one document. What is remembered is bounded; the oldest goes first.
 * @throws MalformedPolicyDocumentException
 */
export function cachedPolicy(text: string, kind: PolicyKind): PolicyDocument {
  const name = `${kind}\n${text}`;
  const known = cache.get(name);
  if (known) return known;
  const document = readPolicy(text, kind);
  if (cache.size >= LIMITS.policy_cache_max) {
    for (const oldest of cache.keys()) {
      cache.delete(oldest);
      break;
    }
  }
  cache.set(name, document);
  return document;
}

interface Language {
  readonly kind: PolicyKind;
  readonly version: string;
}

function readStatement(given: unknown, { kind, version }: Language): Statement {
  const statement = object(given, 'A statement');
  onlyMembers(statement, STATEMENT_MEMBERS);
  const sid = statement['Sid'] === undefined ? undefined : string(statement['Sid'], 'Sid');
  const effect = statement['Effect'];
  if (effect !== 'Allow' && effect !== 'Deny') {
    throw malformed('The Effect of a statement must be Allow or Deny.');
  }
  const variables = version === '2012-10-17';
  return {
    sid,
    effect,
    principals: readPrincipals(statement, kind),
    actions: readActions(statement),
    resources: readResources(statement, { kind, variables }),
    conditions: readConditions(statement['Condition'], variables),
  };
}

/** A member that has a `Not` form: exactly one of the two must be there. */
function eitherForm(statement: Json, member: string): { given: unknown; negated: boolean } {
  const plain = statement[member];
  const negative = statement[`Not${member}`];
  if ((plain === undefined) === (negative === undefined)) {
    throw malformed(`A statement must have either ${member} or Not${member}.`);
  }
  return { given: plain ?? negative, negated: plain === undefined };
}

function readActions(statement: Json): PatternMatch {
  const { given, negated } = eitherForm(statement, 'Action');
  const texts = strings(given, 'Action');
  if (!texts.every((text) => ACTION.test(text))) throw invalidMember('Action');
  const patterns = texts.map((text) => text.toLowerCase());
  return matchOf(texts, patterns, { negated, variables: false });
}

function readResources(
  statement: Json,
  { kind, variables }: { readonly kind: PolicyKind; readonly variables: boolean },
): PatternMatch {
  if (kind === 'trust') {
    // the role that it stands on
    if (statement['Resource'] === undefined && statement['NotResource'] === undefined) {
      return matchOf(['*'], ['*'], { negated: false, variables });
    }
    throw malformed('Has prohibited field Resource.');
  }
  const { given, negated } = eitherForm(statement, 'Resource');
  const texts = strings(given, 'Resource');
  if (!texts.every((text) => RESOURCE.test(text))) throw invalidMember('Resource');
  return matchOf(texts, texts.map(wholeArn), { negated, variables });
}

/** The parts that an ARN lacks are any (IAM JSON policy elements: Resource). */
function wholeArn(text: string): string {
  const missing = 6 - text.split(':').length;
  return text === '*' || missing <= 0 ? text : text + ':*'.repeat(missing);
}

function matchOf(
  texts: readonly string[],
  patterns: readonly string[],
  { negated, variables }: { readonly negated: boolean; readonly variables: boolean },
): PatternMatch {
  const hasVariable = (text: string): boolean => variables && IN_RESOURCE_PART.test(text);
  const isExact = (text: string): boolean => !hasWildcard(text) && !hasVariable(text);
  const inexact = patterns.filter((text) => !isExact(text));
  return {
    texts,
    negated,
    everything: patterns.includes('*'),
    hasVariables: inexact.some(hasVariable),
    exact: new Set(patterns.filter(isExact)),
    patterns: inexact.map((text) => {
      const template = readTemplate(text, { wildcards: true, variables: hasVariable(text) });
      if (!template) throw malformed('A statement has an invalid policy variable.');
      return template;
    }),
  };
}

/** Before the last part of an ARN what looks like a variable stands for itself. */
const IN_RESOURCE_PART = /^(?:(?!\$\{)[^:]*:){5}.*\$\{/s;

function readPrincipals(statement: Json, kind: PolicyKind): PrincipalMatch | undefined {
  if (kind === 'identity') {
    if (statement['Principal'] === undefined && statement['NotPrincipal'] === undefined) return;
    throw malformed('An identity-based policy must not have a Principal.');
  }
  const { given, negated } = eitherForm(statement, 'Principal');
  if (negated && kind === 'trust') throw malformed('Has prohibited field NotPrincipal.');
  if (negated && statement['Effect'] === 'Allow') {
    throw malformed('NotPrincipal must be used with the effect Deny.');
  }
  if (given === '*') {
    return { texts: ['*'], everyone: true, arns: new Set(), roots: new Set(), negated };
  }
  const byType = Object.entries(object(given, 'Principal'));
  if (byType.length === 0) throw invalidPrincipals();
  const texts: string[] = [];
  const arns = new Set<string>();
  const roots = new Set<string>();
  for (const [type, value] of byType) {
    const named = strings(value, 'Principal');
    // nobody is one of the others here
    if (type !== 'AWS' && !OTHER_PRINCIPALS.includes(type)) throw invalidPrincipals();
    for (const name of named) {
      texts.push(type === 'AWS' ? name : `${type} ${name}`);
      if (type === 'AWS' && name !== '*') addPrincipal(name, arns, roots);
    }
  }
  return { texts, everyone: texts.includes('*'), arns, roots, negated };
}

function addPrincipal(name: string, arns: Set<string>, roots: Set<string>): void {
  if (isAccount(name)) {
    roots.add(rootArn(name));
    return;
  }
  const principal = /[*?]/.test(name) ? undefined : readPrincipal(name);
  if (!principal) throw invalidPrincipals();
  if (principal.type === 'Account') {
    roots.add(name);
  } else {
    arns.add(name);
    arns.add(withoutPath(name));
  }
}

function readConditions(given: unknown, variables: boolean): Condition[] {
  if (given === undefined) return [];
  return Object.entries(object(given, 'Condition')).flatMap(([operator, byKey]) =>
    Object.entries(object(byKey, 'Condition')).map(([key, value]) => {
      const values = strings(value, 'Condition');
      const condition = readCondition(operator, key, values, { variables });
      if (!condition) throw malformed(`The condition operator ${operator} is not supported.`);
      return condition;
    }),
  );
}

function strings(given: unknown, member: string): string[] {
  const list: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (list.length === 0) throw malformed(`A statement has an empty ${member}.`);
  return list.map((one) => string(one, member));
}

/** Booleans and numbers may stand without quotes, as IAM allows. */
function string(given: unknown, member: string): string {
  if (typeof given === 'string') return given;
  const bare = typeof given === 'boolean' || typeof given === 'number';
  if (bare && member === 'Condition') return String(given);
  throw invalidMember(member);
}

function object(given: unknown, what: string): Json {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw malformed(`${what} must be a JSON object.`);
  }
  return given as Json;
}

function onlyMembers(given: Json, known: ReadonlySet<string>): void {
  for (const name of Object.keys(given)) {
    if (!known.has(name)) throw malformed(`The policy has an unknown member: ${name}.`);
  }
}

const malformed = (sentence: string): KeyspanError =>
  new KeyspanError('MalformedPolicyDocumentException', sentence);
const invalidMember = (member: string): KeyspanError =>
  malformed(`A statement has an invalid ${member}.`);
const invalidPrincipals = (): KeyspanError =>
  malformed('Policy contains a statement with one or more invalid principals.');
