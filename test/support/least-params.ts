import type { Member, Members } from '../../src/protocol/aws-shapes.js';
import { KMS_ACTIONS, type KmsAction } from '../../src/protocol/kms.js';

/** A region, for a pattern that only regions have. */
const REGION_PATTERN = '^([a-z]+-){2,3}\\d+$';

/** A value that a member of this shape may have; blobs are bytes. */
export function leastValue(shape: Member): unknown {
  switch (shape.kind) {
    case 'string':
      if (shape.pattern?.text === REGION_PATTERN) return 'eu-central-1';
      return shape.values?.[0] ?? 'a'.repeat(Math.max(shape.min ?? 0, 1));
    case 'blob':
      return Buffer.of(1);
    case 'list':
      return [leastValue(shape.of)];
    case 'structure':
      return leastMembers(shape.members);
    case 'map':
      return new Map();
    case 'boolean':
      return false;
    case 'integer':
      return shape.min ?? 1;
    case 'timestamp':
      return 1_900_000_000;
  }
}

/** The members that cannot be left out. */
const leastMembers = (members: Members): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries<Member>(members)
      .filter(([, shape]) => shape.required)
      .map(([name, shape]) => [name, leastValue(shape)]),
  );

/** The members that an action cannot go without: the form of the request is right. */
export const leastParams = (action: KmsAction): Record<string, unknown> =>
  leastMembers(KMS_ACTIONS[action]);
