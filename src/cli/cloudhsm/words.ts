import { KeyspanError } from '../../core/errors.js';

/** A quoted part, an escaped character, a gap between words, or what is none of these. */
const PART = /'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|\\([\s\S])|(\s+)|([^\s'"\\]+)|([\s\S])/g;

/**
 * The words of a line, quoted as in a shell; nothing in them is expanded.
 * @throws KeyspanError KeyspanUsage when a quote is not closed
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (const [, single, double, escaped, gap, plain] of line.matchAll(PART)) {
    if (gap !== undefined) {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    const part = single ?? double?.replaceAll(/\\(["\\$`])/g, '$1') ?? escaped ?? plain;
    if (part === undefined) throw new KeyspanError('KeyspanUsage', 'A quote is not closed');
    word = (word ?? '') + part;
  }
  return word === undefined ? words : [...words, word];
}
