import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import type { HsmKeyId } from '../core/ids.js';
import type { KeyFacts } from '../protocol/hsm-key-frames.js';
import { LIMITS } from '../core/limits.js';
import type { Session } from './authority.js';
import { findHeld } from './held-keys.js';
import { eachRecord, wholly, type Found } from './key-search.js';
import type { Machine } from './machine.js';
import { mayFindObject, objectOf } from './object-authority.js';
import type { KeyRecord } from './records.js';

/** The objects that a login finds, in the order of their references: all, or some by their ids. */
export function findObjects(
  machine: Machine,
  session: Session,
  { ids, after = '', limit }: HsmFields<'object-find'>,
): HsmResults['object-find'] {
  const found: Found[] = [];
  const visit = (record: KeyRecord): void => {
    // thousands may be another's: what is cheap to see comes first
    if (!mayFindObject(session, record)) return;
    const object = objectOf(record);
    if (object && object.reference > after) found.push({ record, object });
  };
  if (ids) eachOf(machine, session, ids, visit);
  else eachRecord(machine, session, visit);
  found.sort((a, b) => (a.object.reference < b.object.reference ? -1 : 1));
  const objects = pageOf(found, limit);
  return { objects, more: objects.length < found.length };
}

function eachOf(
  machine: Machine,
  session: Session,
  ids: readonly HsmKeyId[],
  visit: (record: KeyRecord) => void,
): void {
  for (const id of new Set(ids)) {
    const held = findHeld(machine, session, id);
    if (held) visit(held.record);
  }
}

/** As many as may be asked for and fit into one answer, and one in any case. */
function pageOf(found: readonly Found[], limit: number): KeyFacts[] {
  const page: KeyFacts[] = [];
  let size = 0;
  for (const one of found) {
    size += sizeOf(one);
    if (page.length === limit || (page.length > 0 && size > LIMITS.p11_page_max_bytes)) break;
    page.push(wholly(one));
  }
  return page;
}

/** More than all names and numbers of an object take on the wire. */
const FIXED_BYTES = 512;

/** At most so many bytes an object takes on the wire. */
function sizeOf({
  record: { label, sharedWith },
  object: { id, extra = {}, public: spki },
}: Found): number {
  let size = FIXED_BYTES + 4 * label.length + id.length + (spki?.length ?? 0);
  for (const name of sharedWith) size += name.length + 2;
  for (const value of Object.values(extra)) size += value.length + 16;
  return size;
}
