import { describe, expect, test } from 'vitest';
import { Batch } from '../../src/core/batch.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function batchOf(messagesMax: number): { writes: string[]; put: (text: string) => void } {
  const writes: string[] = [];
  const batch = new Batch((bytes) => writes.push(bytes.toString('latin1')), messagesMax);
  const put = (text: string): void => {
    const at = batch.begin(text.length);
    batch.slab.write(text, at, 'latin1');
    batch.end();
  };
  return { writes, put };
}

describe('a batch', () => {
  test('leaves when the turn of the event loop ends', async () => {
    const { writes, put } = batchOf(8);
    put('a');
    put('b');
    expect(writes).toEqual([]);
    await turn();
    expect(writes).toEqual(['ab']);
    put('c');
    await turn();
    expect(writes).toEqual(['ab', 'c']);
  });

  test('leaves earlier when it is full', async () => {
    const { writes, put } = batchOf(2);
    for (const text of ['a', 'b', 'c', 'd', 'e']) put(text);
    expect(writes).toEqual(['ab', 'cd']);
    await turn();
    expect(writes).toEqual(['ab', 'cd', 'e']);
  });

  test('loses and mixes nothing where memory is renewed or too small', async () => {
    const { writes, put } = batchOf(1_000);
    const texts = [30_000, 30_000, 30_000, 200_000, 5].map((size, at) => String(at).repeat(size));
    for (const text of texts) put(text);
    await turn();
    expect(writes.join('')).toBe(texts.join(''));
  });

  test('touches nothing that it wrote', async () => {
    const kept: Buffer[] = [];
    const batch = new Batch((bytes) => kept.push(bytes));
    for (let i = 0; i < 100; i += 1) {
      const at = batch.begin(4_000);
      batch.slab.fill(i, at, at + 4_000);
      batch.end();
      await turn();
    }
    expect(kept.every((bytes, at) => bytes.every((byte) => byte === at))).toBe(true);
    expect(batch.length).toBe(0);
  });
});
