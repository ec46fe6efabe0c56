import { formatHex } from '../core/bytes.js';
import { pointOf, rsaPartsOf } from '../core/spki.js';
import type { FlagTemplate, KeyObject } from './hsm-key-frames.js';
import type { AttributeValue } from './hsm-session.js';
import { FLAG_NAMES, hasFlag, type FlagName } from './objects.js';

/** In the order of CloudHSM's CLI. */
const FIRST: readonly FlagName[] = ['encrypt', 'decrypt', 'token'];
const SHOWN = [...FIRST, ...FLAG_NAMES.filter((name) => !FIRST.includes(name)).sort()];

const hex = (bytes: Uint8Array): string => `0x${formatHex(bytes)}`;

/**
 * The attributes of a key as CloudHSM's CLI writes them (CloudHSM User Guide, "key list"). Pure.
 */
export function attributesOf(object: KeyObject, label: string): Record<string, AttributeValue> {
  const { class: keyClass, type, flags, id, length, check } = object;
  const described: Record<string, AttributeValue> = {
    'key-type': type,
    label,
    id: id.length === 0 ? '0x' : hex(id),
    'check-value': check ? hex(check) : '0x',
    class: keyClass,
  };
  for (const name of SHOWN) described[name] = hasFlag(flags, name);
  described['key-length-bytes'] = length;
  if (object.wrapTemplate) described['wrap-template'] = writeTemplate(object.wrapTemplate);
  if (object.unwrapTemplate) described['unwrap-template'] = writeTemplate(object.unwrapTemplate);
  return { ...described, ...publicPart(object) };
}

/** What the public half says. */
function publicPart({ public: spki, type, curve }: KeyObject): Record<string, AttributeValue> {
  if (!spki) return {};
  if (type !== 'rsa') return { 'ec-point': hex(pointOf(spki)), curve: curve ?? '' };
  const { n, e } = rsaPartsOf(spki);
  return {
    'public-exponent': hex(e),
    modulus: hex(n),
    'modulus-size-bits': n.length * 8,
  };
}

/** `{"name": true, ...}` of the flags that a template names. */
export function writeTemplate({ mask, flags }: FlagTemplate): string {
  const named = FLAG_NAMES.filter((name) => hasFlag(mask, name));
  return JSON.stringify(Object.fromEntries(named.map((name) => [name, hasFlag(flags, name)])));
}
