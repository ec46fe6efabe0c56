import type { HsmKeyId } from '../core/ids.js';
import type { KeyFacts } from '../protocol/hsm-key-frames.js';
import type { AttributeValue, DescribedKey, KeyUser } from '../protocol/hsm-session.js';
import { attributesOf } from '../protocol/key-description.js';

/** A key as several HSMs have it. */
export interface SeenKey {
  readonly id: HsmKeyId;
  readonly described: DescribedKey;
  /** SubjectPublicKeyInfo, DER; undefined: it has no public half */
  readonly spki: Uint8Array | undefined;
}

/**
 * One list of what each HSM has, in the order of references: a key that one is without, or has
 * another record of, is `inconsistent`. Pure.
 * @param isOwn whether it is a session key, which is on one HSM only
 */
export function mergeKeys(
  lists: readonly (readonly KeyFacts[])[],
  isOwn: (id: HsmKeyId) => boolean,
): readonly SeenKey[] {
  const byId = new Map<HsmKeyId, KeyFacts[]>();
  for (const key of lists.flat()) {
    const same = byId.get(key.id);
    if (same) same.push(key);
    else byId.set(key.id, [key]);
  }
  const merged = [...byId.values()].map((copies) => {
    const [first] = copies as [KeyFacts];
    return describeKey(copies, isOwn(first.id) ? 1 : lists.length);
  });
  return merged.sort((a, b) =>
    a.described['key-reference'] < b.described['key-reference'] ? -1 : 1,
  );
}

const coverage = (isFull: boolean): 'full' | 'inconsistent' => (isFull ? 'full' : 'inconsistent');

function describeKey(copies: readonly KeyFacts[], hsms: number): SeenKey {
  const [first] = copies as [KeyFacts];
  const { object, id } = first;
  const everywhere = copies.length === hsms;
  const usersOf = (names: (key: KeyFacts) => readonly string[]): KeyUser[] => {
    const all = new Set(copies.flatMap(names));
    return [...all].sort().map((username) => ({
      username,
      'key-coverage': coverage(
        everywhere && copies.every((copy) => names(copy).includes(username)),
      ),
    }));
  };
  const described: DescribedKey = {
    'key-reference': object.reference,
    'key-info': {
      'key-owners': usersOf(({ owner }) => [owner]),
      'shared-users': usersOf(({ sharedWith }) => sharedWith),
      'key-quorum-values': {
        'manage-key-quorum-value': object.manage,
        'use-key-quorum-value': object.use,
      },
      'cluster-coverage': coverage(everywhere),
    },
    attributes: mergeAttributes(copies.map((copy) => attributesOf(copy.object, copy.label))),
  };
  return { id, described, spki: object.public };
}

function mergeAttributes(
  all: readonly Readonly<Record<string, AttributeValue>>[],
): Record<string, AttributeValue> {
  const [first = {}, ...others] = all;
  const names = new Set(all.flatMap((one) => Object.keys(one)));
  return Object.fromEntries(
    [...names].map((name) => {
      const value = first[name] ?? 'inconsistent';
      const same = others.every((other) => other[name] === value);
      return [name, same ? value : 'inconsistent'];
    }),
  );
}
