import { describe, expect, test } from 'vitest';
import { splitWords } from '../../src/cli/cloudhsm/words.js';

describe('a line', () => {
  test.each([
    ['', []],
    [' \t ', []],
    ['user list', ['user', 'list']],
    ['  user\t list ', ['user', 'list']],
    [`--password 'two words'`, ['--password', 'two words']],
    [`'a\\b"c'`, ['a\\b"c']],
    [`"a 'b' \\"c\\" \\\\ \\$d \\n"`, [`a 'b' "c" \\ $d \\n`]],
    ['a\\ b \\\\', ['a b', '\\']],
    [`one''two"three"`, ['onetwothree']],
    [`'' ""`, ['', '']],
    ['$HOME `id` *', ['$HOME', '`id`', '*']],
    ['pässwörd 🔑', ['pässwörd', '🔑']],
  ])('%j is split into %j', (line, words) => expect(splitWords(line)).toEqual(words));

  test.each([`'a`, `a"`, `"a\\"`, `a 'b" c`, 'a\\'])('%j is not closed', (line) => {
    expect(() => splitWords(line)).toThrow('A quote is not closed');
  });
});
