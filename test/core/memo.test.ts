import { expect, test } from 'vitest';
import { Memo } from '../../src/core/memo.js';

test('works a text out once, and anew when there were too many', () => {
  const made: string[] = [];
  const memo = new Memo((text) => {
    made.push(text);
    return { text };
  }, 2);
  expect(memo.of('a')).toBe(memo.of('a'));
  expect(memo.of('b')).toEqual({ text: 'b' });
  expect(made).toEqual(['a', 'b']);
  memo.of('c');
  memo.of('a');
  expect(made).toEqual(['a', 'b', 'c', 'a']);
});

test('keeps nothing of what failed', () => {
  let isBroken = true;
  const memo = new Memo((text) => {
    if (isBroken) throw new Error(text);
    return { text };
  }, 2);
  expect(() => memo.of('a')).toThrow('a');
  isBroken = false;
  expect(memo.of('a')).toEqual({ text: 'a' });
});
