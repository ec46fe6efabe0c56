import { expect, test } from 'vitest';
import { WriteBuffer } from '../../src/audit/write-buffer.js';
import { LIMITS } from '../../src/core/limits.js';

test('texts stand one behind the other in UTF-8, however long they are', () => {
  const buffer = new WriteBuffer();
  const texts = ['a', 'é€😀', 'x'.repeat(LIMITS.audit_slab_bytes), '', 'é'.repeat(300_000), 'z'];
  for (const turn of [1, 2]) {
    buffer.reset();
    for (const text of texts) buffer.push(text);
    expect(buffer.bytes.equals(Buffer.from(texts.join(''), 'utf8'))).toBe(true);
    expect(turn).toBeGreaterThan(0);
  }
});

test('after a reset nothing is left, also of much', () => {
  const buffer = new WriteBuffer();
  buffer.push('x'.repeat(LIMITS.audit_slab_kept_bytes + 1));
  buffer.reset();
  expect(buffer.bytes).toHaveLength(0);
  buffer.push('y');
  expect(buffer.bytes.toString()).toBe('y');
});
