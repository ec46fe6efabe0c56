import { isAccount, rootArn } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { readCondition, type Condition } from './condition.js';
import { readPrincipal, withoutPath } from './principal.js';

/** A key policy stands on a resource and names principals; an identity policy must not. */
export type PolicyKind = 'key' | 'identity';

export interface PolicyDocument {
  readonly statements: readonly Statement[];
  /** the condition keys that it asks for, in lower case: nothing else need be in a context */
  readonly conditionKeys: ReadonlySet<string>;
}

export interface Statement {
  readonly effect: 'Allow' | 'Deny';
  /** absent in identity policies */
  readonly principals?: PrincipalMatch;
  /** patterns in lower case: actions are compared without regard to case */
  readonly actions: PatternMatch;
  readonly resources: PatternMatch;
  readonly conditions: readonly Condition[];
}

export interface PatternMatch {
  readonly patterns: readonly string[];
  /** NotAction, NotResource */
  readonly negated: boolean;
}

export interface PrincipalMatch {
  /** `*` */
  readonly everyone: boolean;
  /** users, roles and sessions by ARN */
  readonly arns: ReadonlySet<string>;
  /** accounts, by the ARN of their root */
  readonly roots: ReadonlySet<string>;
  /** NotPrincipal */
  readonly negated: boolean;
}

type Json = Readonly<Record<string, unknown>>;

const VERSIONS = ['2012-10-17', '2008-10-17'];
const DOCUMENT_MEMBERS = new Set(['Version', 'Id', 'Statement']);
const STATEMENT_MEMBERS = new Set(
  'Sid Effect Principal NotPrincipal Action NotAction Resource NotResource Condition'.split(' '),
);
const ACTION = /^(\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+)$/;
/** `*`, or an ARN that may hold wildcards anywhere behind its first part */
const RESOURCE = /^(\*|arn:.+)$/;

/**
 * Reads and checks a policy.
 * @throws MalformedPolicyDocumentException, with what is wrong
 */
export function parsePolicy(text: string, kind: PolicyKind): PolicyDocument {
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
  const statements = list.map((one) => readStatement(one, kind));
  const keys = statements.flatMap((one) => one.conditions.map((condition) => condition.key));
  return { statements, conditionKeys: new Set(keys) };
}

const cache = new Map<string, PolicyDocument>();

/**
 * As parsePolicy, remembered by text: all keys that have the default policy of an account share
 * one document. What is remembered is bounded; the oldest goes first.
 * @throws MalformedPolicyDocumentException
 */
export function cachedPolicy(text: string, kind: PolicyKind): PolicyDocument {
  const name = `${kind}\n${text}`;
  const known = cache.get(name);
  if (known) return known;
  const document = parsePolicy(text, kind);
  if (cache.size >= LIMITS.policy_cache_max) {
    for (const oldest of cache.keys()) {
      cache.delete(oldest);
      break;
    }
  }
  cache.set(name, document);
  return document;
}

function readStatement(given: unknown, kind: PolicyKind): Statement {
  const statement = object(given, 'A statement');
  onlyMembers(statement, STATEMENT_MEMBERS);
  if (statement['Sid'] !== undefined) string(statement['Sid'], 'Sid');
  const effect = statement['Effect'];
  if (effect !== 'Allow' && effect !== 'Deny') {
    throw malformed('The Effect of a statement must be Allow or Deny.');
  }
  const actions = readPatterns(statement, 'Action', ACTION);
  const resources = readPatterns(statement, 'Resource', RESOURCE);
  const principals = readPrincipals(statement, kind);
  const lowerCase = actions.patterns.map((pattern) => pattern.toLowerCase());
  return {
    effect,
    ...(principals && { principals }),
    actions: { patterns: lowerCase, negated: actions.negated },
    resources,
    conditions: readConditions(statement['Condition']),
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

function readPatterns(statement: Json, member: string, form: RegExp): PatternMatch {
  const { given, negated } = eitherForm(statement, member);
  const patterns = strings(given, member);
  for (const pattern of patterns) {
    if (!form.test(pattern)) throw malformed(`A statement has an invalid ${member}.`);
    refuseVariables(pattern);
  }
  return { patterns, negated };
}

function readPrincipals(statement: Json, kind: PolicyKind): PrincipalMatch | undefined {
  if (kind === 'identity') {
    if (statement['Principal'] === undefined && statement['NotPrincipal'] === undefined) return;
    throw malformed('An identity-based policy must not have a Principal.');
  }
  const { given, negated } = eitherForm(statement, 'Principal');
  if (negated && statement['Effect'] === 'Allow') {
    throw malformed('NotPrincipal must be used with the effect Deny.');
  }
  const arns = new Set<string>();
  const roots = new Set<string>();
  let everyone = given === '*';
  const byType = everyone ? {} : object(given, 'Principal');
  if (!everyone && Object.keys(byType).length === 0) throw invalidPrincipals();
  for (const [type, value] of Object.entries(byType)) {
    const named = strings(value, 'Principal');
    if (type === 'AWS') {
      for (const name of named) {
        if (name === '*') everyone = true;
        else addPrincipal(name, arns, roots);
      }
    } else if (type !== 'Service' && type !== 'Federated' && type !== 'CanonicalUser') {
      // these three are AWS's own: well-formed, but nobody is one here
      throw invalidPrincipals();
    }
  }
  return { everyone, arns, roots, negated };
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

function readConditions(given: unknown): Condition[] {
  if (given === undefined) return [];
  return Object.entries(object(given, 'Condition')).flatMap(([operator, byKey]) =>
    Object.entries(object(byKey, 'Condition')).map(([key, value]) => {
      const values = strings(value, 'Condition');
      for (const one of values) refuseVariables(one);
      const condition = readCondition(operator, key, values);
      if (!condition) throw malformed(`The condition operator ${operator} is not supported.`);
      return condition;
    }),
  );
}

/** A variable that was taken literally would make a Deny match nobody. */
function refuseVariables(text: string): void {
  if (text.includes('${')) throw malformed('Policy variables are not supported.');
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
  throw malformed(`A statement has an invalid ${member}.`);
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
const invalidPrincipals = (): KeyspanError =>
  malformed('Policy contains a statement with one or more invalid principals.');
