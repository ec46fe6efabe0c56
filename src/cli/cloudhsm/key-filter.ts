import type { HsmSessionParams } from '../../protocol/hsm-session.js';
import { isAttributeName, readReference } from '../../protocol/objects.js';
import { usage } from './context.js';

/** A filter as the daemon takes it. */
export type KeyFilter = NonNullable<HsmSessionParams<'KeyFind'>['filter']>;

/** `name=value`, one a word. @throws KeyspanError KeyspanUsage */
function readPair(word: string): [string, string] {
  const at = word.indexOf('=');
  if (at < 1) throw usage(`'${word}' is not name=value`);
  return [word.slice(0, at), word.slice(at + 1)];
}

/** Several may be quoted as one word; values may have gaps in them. */
const separate = (words: readonly string[], gap: RegExp): string[] =>
  words
    .flatMap((word) => word.split(gap))
    .map((word) => word.trim())
    .filter((word) => word !== '');

/**
 * `key-reference=0xabc attr.label=foo ...`: all of them must hold (CloudHSM CLI, "Filter keys").
 * @throws KeyspanError KeyspanUsage
 */
export function readFilter(words: readonly string[]): KeyFilter {
  const attributes: Record<string, string> = {};
  let reference: string | undefined;
  for (const word of separate(words, /\s+(?=(?:attr\.[a-z-]+|key-reference)=)/)) {
    const [name, value] = readPair(word);
    if (name === 'key-reference') {
      reference = readReference(value);
      if (reference === undefined) throw usage(`'${value}' is no key reference`);
      continue;
    }
    const attribute = name.startsWith('attr.') ? name.slice('attr.'.length) : '';
    if (!isAttributeName(attribute)) throw usage(`'${name}' is nothing to filter keys by`);
    attributes[attribute] = value;
  }
  return { attributes, ...(reference !== undefined && { reference }) };
}

/** `sign=true extractable=false ...` @throws KeyspanError KeyspanUsage */
export function readAttributes(words: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    separate(words, /\s+(?=[a-z-]+=)/).map((word) => {
      const [name, value] = readPair(word);
      if (!isAttributeName(name)) throw usage(`There is no attribute ${name}`);
      return [name, value];
    }),
  );
}
