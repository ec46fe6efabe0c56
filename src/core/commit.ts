/**
 * The vocabulary of one conditional commit (ARCHITECTURE §3, promise 5). It stands in core,
 * because a vault returns a part
 * of a commit that its caller completes: one commit then makes a key live and the KMS key that
 * names it.
 */

/** What a commit read: the key still has this mod-revision, or is still absent (`null`). */
export interface Compare {
  readonly key: string;
  readonly modRevision: number | null;
}

/** A new value for a key; with `lease` it vanishes when that store session ends. */
export interface Put {
  readonly op: 'put';
  readonly key: string;
  readonly value: Uint8Array;
  readonly lease?: string;
}

export interface Delete {
  readonly op: 'delete';
  readonly key: string;
}

export type Write = Put | Delete;

/** Compares that must all hold, and the writes that then happen together. */
export interface CommitPart {
  readonly compares: readonly Compare[];
  readonly writes: readonly Write[];
}

export function joinParts(...parts: readonly CommitPart[]): CommitPart {
  return {
    compares: parts.flatMap((part) => part.compares),
    writes: parts.flatMap((part) => part.writes),
  };
}
