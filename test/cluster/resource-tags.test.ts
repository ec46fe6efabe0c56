import { beforeEach, describe, expect, test } from 'vitest';
import { ResourceTags } from '../../src/cluster/resource-tags.js';
import { MemoryStore } from '../../src/store/memory.js';

const A = 'cluster-aaaaaaaaaaa';
const B = 'backup-bbbbbbbbbbb';
let tags: ResourceTags;
beforeEach(() => {
  tags = new ResourceTags(new MemoryStore());
});

const pairs = async (resource: string): Promise<string[]> =>
  (await tags.of(resource)).map(({ key, value }) => `${key}=${value}`);

describe('tags', () => {
  test('are kept for each resource, in the order of their keys', async () => {
    expect(await pairs(A)).toEqual([]);
    await tags.add(A, [
      { key: 'b', value: '1' },
      { key: 'a', value: '' },
    ]);
    await tags.add(B, [{ key: 'c', value: '3' }]);
    expect(await pairs(A)).toEqual(['a=', 'b=1']);
    expect(await pairs(B)).toEqual(['c=3']);
  });

  test('with the same key are overwritten, and go by their keys', async () => {
    await tags.add(A, [{ key: 'a', value: '1' }]);
    await tags.add(A, [
      { key: 'a', value: '2' },
      { key: 'B', value: '3' },
    ]);
    expect(await pairs(A)).toEqual(['B=3', 'a=2']);
    await tags.remove(A, ['a', 'never']);
    expect(await pairs(A)).toEqual(['B=3']);
  });

  test('are at most fifty', async () => {
    const many = Array.from({ length: 50 }, (_, at) => ({ key: `k${at}`, value: '' }));
    await tags.add(A, many);
    await tags.add(A, [{ key: 'k7', value: 'again' }]);
    await expect(tags.add(A, [{ key: 'one more', value: '' }])).rejects.toMatchObject({
      code: 'CloudHsmResourceLimitExceededException',
    });
    expect(await pairs(A)).toHaveLength(50);
  });

  test('that are written at once are all there', async () => {
    await Promise.all(['a', 'b', 'c', 'd'].map((key) => tags.add(A, [{ key, value: key }])));
    expect(await pairs(A)).toEqual(['a=a', 'b=b', 'c=c', 'd=d']);
  });
});
