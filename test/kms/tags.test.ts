import { describe, expect, test } from 'vitest';
import { KmsFixture, OTHER_ROOT } from '../support/kms-fixture.js';

const tagsOf = (pairs: Readonly<Record<string, string>>): object[] =>
  Object.entries(pairs).map(([TagKey, TagValue]) => ({ TagKey, TagValue }));
const many = (count: number, prefix = 't'): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`${prefix}${n}`, String(n)]));

async function listed(at: KmsFixture, KeyId: string): Promise<Record<string, string>> {
  const { Tags, Truncated } = await at.call('ListResourceTags', { KeyId });
  expect(Truncated).toBe(false);
  return Object.fromEntries(Tags.map((tag) => [tag.TagKey, tag.TagValue]));
}

describe('TagResource and UntagResource', () => {
  test('add, replace and take away', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey({ Tags: tagsOf({ team: 'post', cost: '1' }) });
    await at.call('TagResource', { KeyId: Arn, Tags: tagsOf({ cost: '2', Team: 'x', empty: '' }) });
    expect(await listed(at, KeyId)).toEqual({ Team: 'x', cost: '2', empty: '', team: 'post' });
    await at.call('UntagResource', { KeyId, TagKeys: ['team', 'absent', 'team'] });
    expect(await listed(at, KeyId)).toEqual({ Team: 'x', cost: '2', empty: '' });
    await at.call('UntagResource', { KeyId, TagKeys: [] });
    await at.call('TagResource', { KeyId, Tags: [] });
    expect(await listed(at, KeyId)).toEqual({ Team: 'x', cost: '2', empty: '' });
  });

  test.each<[string, object, string]>([
    ['too many', many(51), 'TagException: Too many tags'],
    ['too many with those that are there', many(49, 'u'), 'TagException: Too many tags'],
    ['a reserved one', { 'aws:x': '1' }, 'TagException: Tags beginning with aws: are reserved'],
    ['a reserved one', { 'AWS:x': '1' }, 'TagException: Tags beginning with aws: are reserved'],
  ])('%s: refused', async (_, pairs, refusal) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey({ Tags: tagsOf({ a: '1', b: '2' }) });
    const Tags = tagsOf(pairs as Record<string, string>);
    expect(await at.refused('TagResource', { KeyId, Tags })).toBe(refusal);
    expect(await listed(at, KeyId)).toEqual({ a: '1', b: '2' });
  });

  test('fifty may be there, and one of them replaced', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey({ Tags: tagsOf(many(50)) });
    await at.call('TagResource', { KeyId, Tags: tagsOf({ t7: 'new' }) });
    expect((await listed(at, KeyId))['t7']).toBe('new');
  });

  test('the same key twice is refused', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const Tags = [...tagsOf({ a: '1' }), ...tagsOf({ a: '2' })];
    expect(await at.refused('TagResource', { KeyId, Tags })).toBe(
      'TagException: Duplicate tag keys',
    );
    expect(await at.refused('UntagResource', { KeyId, TagKeys: ['aws:x'] })).toBe(
      'TagException: Tags beginning with aws: are reserved',
    );
  });

  test('work on a disabled key, take no alias, and stay within the account', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    await at.call('DisableKey', { KeyId });
    await at.call('TagResource', { KeyId, Tags: tagsOf({ a: '1' }) });
    await at.call('CreateAlias', { AliasName: 'alias/a', TargetKeyId: KeyId });
    const byAlias = { KeyId: 'alias/a', TagKeys: ['a'] };
    expect(await at.refused('UntagResource', byAlias)).toMatch(/^NotFoundException: Invalid keyId/);
    for (const [action, more] of [
      ['TagResource', { Tags: [] }],
      ['UntagResource', { TagKeys: [] }],
      ['ListResourceTags', {}],
    ] as const) {
      expect(await at.refused(action, { KeyId: Arn, ...more }, OTHER_ROOT)).toBe(
        `AccessDeniedException: User: ${OTHER_ROOT.principal.arn} is not authorized to perform: ` +
          `kms:${action} on resource: ${Arn} because no resource-based policy allows the ` +
          `kms:${action} action`,
      );
    }
  });
});

test('ListResourceTags pages by key, with markers that outlive their tags', async () => {
  await using at = await KmsFixture.open();
  const { KeyId } = await at.createKey({
    Tags: tagsOf({ d: '4', a: '1', c: '3', b: '2', é: '5' }),
  });
  const keys = async (Marker?: string): Promise<[string[], string]> => {
    const page = await at.call('ListResourceTags', { KeyId, Limit: 2, Marker });
    expect(page.Truncated).toBe(page.NextMarker !== undefined);
    return [page.Tags.map((tag) => tag.TagKey), page.NextMarker];
  };
  const [first, marker] = await keys();
  expect(first).toEqual(['a', 'b']);
  await at.call('UntagResource', { KeyId, TagKeys: ['b'] });
  await at.call('TagResource', { KeyId, Tags: tagsOf({ bb: '0' }) });
  const [second, next] = await keys(marker);
  expect(second).toEqual(['bb', 'c']);
  const [third, last] = await keys(next);
  expect([third, last]).toEqual([['d', 'é'], undefined]);
  const wrong = { KeyId, Marker: 'no marker of ours' };
  expect(await at.refused('ListResourceTags', wrong)).toMatch(/^InvalidMarkerException/);
});
