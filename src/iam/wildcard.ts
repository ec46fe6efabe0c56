/** A pattern's code units; ANY stands for any characters, ONE for one of them. */
export type Pattern = readonly number[];

export const ANY = -1;
export const ONE = -2;

/** A text in which `*` stands for any characters and `?` for one. */
export function readPattern(text: string): Pattern {
  return codeUnits(text).map((unit) => (unit === STAR ? ANY : unit === QUESTION ? ONE : unit));
}

/** A text that stands for itself, whatever is in it. */
export function codeUnits(text: string): number[] {
  return Array.from({ length: text.length }, (_, at) => text.charCodeAt(at));
}

export const hasWildcard = (text: string): boolean => /[*?]/.test(text);

const STAR = 0x2a;
const QUESTION = 0x3f;
const COLON = 0x3a;

/**
 * Whether `text` fits the pattern. Made without a regular expression: a policy's author must not
 * be able to make matching slow. The time is at most the product of the two lengths.
 */
export function fits(pattern: Pattern, text: string): boolean {
  let at = 0;
  let star = -1;
  let retry = 0;
  let p = 0;
  while (at < text.length) {
    const wanted = pattern[p];
    if (wanted === ANY) {
      star = p;
      retry = at;
      p += 1;
    } else if (wanted === ONE || wanted === text.charCodeAt(at)) {
      p += 1;
      at += 1;
    } else if (star >= 0) {
      // the last star takes one character more
      p = star + 1;
      retry += 1;
      at = retry;
    } else {
      return false;
    }
  }
  while (pattern[p] === ANY) p += 1;
  return p === pattern.length;
}

/** The colons of an ARN's first five; the sixth part may hold more of them. */
const ARN_COLONS = 5;

/** Whether each of the six parts of an ARN fits its part of the pattern. */
export function fitsArn(pattern: Pattern, arn: string): boolean {
  let from = 0;
  let begin = 0;
  for (let colon = 0; colon < ARN_COLONS; colon += 1) {
    const end = pattern.indexOf(COLON, from);
    const stop = arn.indexOf(':', begin);
    if (end < 0 || stop < 0)
      return end < 0 && stop < 0 && fits(pattern.slice(from), arn.slice(begin));
    if (!fits(pattern.slice(from, end), arn.slice(begin, stop))) return false;
    from = end + 1;
    begin = stop + 1;
  }
  return fits(pattern.slice(from), arn.slice(begin));
}
