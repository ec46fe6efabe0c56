import type { HsmFields, HsmResults } from '../protocol/hsm-frames.js';
import type { BriefKeyFacts, HsmKeyFilter, KeyFacts } from '../protocol/hsm-key-frames.js';
import { attributesOf } from '../protocol/key-description.js';
import { isFlagName, isKeyClass, withFlag } from '../protocol/objects.js';
import type { Session } from './authority.js';
import type { Machine } from './machine.js';
import { maySeeObject, objectOf } from './object-authority.js';
import type { KeyObject, KeyRecord } from './records.js';

/** A key that fits, with what it is. */
export interface Found {
  readonly record: KeyRecord;
  readonly object: KeyObject;
}

type Test = (found: Found) => boolean;

/** What is no text, number or truth value is the value of no attribute. */
function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  const isPlain = typeof value === 'boolean' || typeof value === 'number';
  return isPlain ? String(value) : 'of another type';
}

/** What a filter asks for: the cheap questions first, since there may be thousands of keys. */
export function compileFilter({ reference, attributes }: HsmKeyFilter): Test {
  const tests: Test[] = [];
  if (reference !== undefined) tests.push(({ object }) => object.reference === reference);
  const others: [string, string][] = [];
  let mask = 0;
  let flags = 0;
  for (const [name, value] of Object.entries(attributes)) {
    const text = textOf(value);
    if (isFlagName(name) && (text === 'true' || text === 'false')) {
      mask = withFlag(mask, name, true);
      flags = withFlag(flags, name, text === 'true');
    } else if (name === 'label') tests.push(({ record }) => record.label === text);
    else if (name === 'class') tests.push(({ object }) => object.class === text);
    else if (name === 'key-type') tests.push(({ object }) => object.type === text);
    else others.push([name, text.toLowerCase()]);
  }
  if (mask !== 0) tests.push(({ object }) => (object.flags & mask) === flags);
  if (others.length > 0) {
    tests.push(({ record, object }) => {
      const described = attributesOf(object, record.label);
      return others.every(([name, text]) => String(described[name] ?? '').toLowerCase() === text);
    });
  }
  const [only] = tests;
  // most ask for one thing, thousands of times
  if (only && tests.length === 1) return only;
  return (found) => tests.every((test) => test(found));
}

/** Each record of this HSM that could be the session's to see. */
export function eachRecord(
  machine: Machine,
  session: Session,
  visit: (record: KeyRecord) => void,
): void {
  const { keyring, secrets } = machine.member;
  keyring.records(visit);
  for (const { record } of secrets.keys()) visit(record);
  for (const { record } of machine.sessionKeys.of(session.id)) visit(record);
}

/** The keys that a user may see and that fit, in the order of their references. */
export function findKeys(
  machine: Machine,
  session: Session,
  { filter, after = '', limit, verbose }: HsmFields<'key-find'>,
): HsmResults['key-find'] {
  const fits = compileFilter(filter);
  const matched: Found[] = [];
  eachRecord(machine, session, (record) => {
    if (record.object && !isKeyClass(record.object.class)) return;
    // what KMS made is described when somebody may see it, and not before
    if (!record.object && !maySeeObject(session, record)) return;
    const object = objectOf(record);
    if (object && fits({ record, object }) && maySeeObject(session, record)) {
      matched.push({ record, object });
    }
  });
  const rest = after === '' ? matched : matched.filter(({ object }) => object.reference > after);
  rest.sort((a, b) => (a.object.reference < b.object.reference ? -1 : 1));
  const page = rest.slice(0, limit);
  // of all keys together an admin learns what they are called, and no more
  const isList = session.role === 'admin' && filter.reference === undefined;
  return {
    keys: !verbose || isList ? page.map(briefly) : page.map(wholly),
    total: matched.length,
    more: rest.length > page.length,
  };
}

const briefly = ({ record, object }: Found): BriefKeyFacts => ({
  id: record.id,
  reference: object.reference,
  label: record.label,
});

/** What is said of a key to who may see it. */
export function wholly({ record, object }: Found): KeyFacts {
  const { id, owner, sharedWith, label, revision } = record;
  return { id, owner, sharedWith, label, revision, object };
}
