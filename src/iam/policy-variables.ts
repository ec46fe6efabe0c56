import { codeUnits, readPattern, type Pattern } from './wildcard.js';

/**
 * What a request says about itself, by the condition key in lower case: condition keys are
 * compared without regard to case. A map will do; what costs something is made when it is asked
 * for.
 */
export interface ConditionContext {
  get(key: string): readonly string[] | undefined;
}

/** A text of a policy, in which variables may stand (IAM user guide, "Variables and tags"). */
export interface Template {
  readonly pieces: readonly (Pattern | Variable)[];
  /** what it is for every request, where there are no variables */
  readonly fixed: Pattern | undefined;
}

interface Variable {
  /** a condition key in lower case */
  readonly key: string;
  /** what it stands for where the request has no such key */
  readonly fallback: string | undefined;
}

/** How a text is read. */
export interface Reading {
  /** `*` and `?` stand for characters; else for themselves */
  readonly wildcards: boolean;
  /** `${…}` stands for what the request says; else for itself, as in policies of 2008 */
  readonly variables: boolean;
}

const VARIABLE = /\$\{(?:([*?$])|([^{}$*?,']+?)\s*(?:,\s*'([^']*)'\s*)?)\}/g;

/** @returns `undefined` when it has `${` that begins no variable */
export function readTemplate(text: string, reading: Reading): Template | undefined {
  const literal = reading.wildcards ? readPattern : codeUnits;
  if (!reading.variables || !text.includes('${')) {
    const fixed = literal(text);
    return { pieces: [fixed], fixed };
  }
  const pieces: (Pattern | Variable)[] = [];
  let end = 0;
  for (const match of text.matchAll(VARIABLE)) {
    const [whole, special, name, fallback] = match;
    if (text.slice(end, match.index).includes('${')) return undefined;
    pieces.push(literal(text.slice(end, match.index)));
    // what is written so stands for itself
    if (special !== undefined) pieces.push(codeUnits(special));
    else pieces.push({ key: (name ?? '').trim().toLowerCase(), fallback });
    end = match.index + whole.length;
  }
  if (text.slice(end).includes('${')) return undefined;
  pieces.push(literal(text.slice(end)));
  const isFixed = pieces.every((piece) => !('key' in piece));
  return { pieces, fixed: isFixed ? (pieces as Pattern[]).flat() : undefined };
}

/**
 * The template for one request. What a variable stands for is taken as it is, also where there
 * are stars in it.
 * @returns `undefined` when the request has no value, or several, for a variable without a default
 */
export function resolve(template: Template, context: ConditionContext): Pattern | undefined {
  if (template.fixed) return template.fixed;
  const units: number[] = [];
  for (const piece of template.pieces) {
    if (!('key' in piece)) {
      units.push(...piece);
      continue;
    }
    const values = context.get(piece.key);
    const value = values?.length === 1 ? values[0] : piece.fallback;
    if (value === undefined) return undefined;
    units.push(...codeUnits(value));
  }
  return units;
}

/** What a pattern without wildcards says. */
export const textOf = (pattern: Pattern): string => String.fromCharCode(...pattern);
