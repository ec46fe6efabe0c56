import { isIPv4, isIPv6 } from 'node:net';

/** A range of addresses in CIDR notation (RFC 4632, RFC 4291). */
export interface IpRange {
  /** 4 or 16 bytes */
  readonly bytes: readonly number[];
  /** how many bits at the beginning count */
  readonly bits: number;
}

/** Reads an address or a range; `undefined` when it is none. */
export function readIpRange(text: string): IpRange | undefined {
  const match = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text);
  const bytes = addressBytes(match?.[1] ?? '');
  if (!bytes) return undefined;
  const width = bytes.length * 8;
  const bits = match?.[2] === undefined ? width : Number(match[2]);
  return bits <= width ? { bytes, bits } : undefined;
}

/** Whether an address, as a socket has it, is in the range. */
export function isInRange(range: IpRange, address: string): boolean {
  const bytes = addressBytes(address);
  if (bytes?.length !== range.bytes.length) return false;
  return range.bytes.every((wanted, at) => {
    const ignored = Math.min(8, Math.max(0, (at + 1) * 8 - range.bits));
    return wanted >> ignored === (bytes[at] ?? 0) >> ignored;
  });
}

const MAPPED = /^::ffff:(?=\d+\.)/i;

function addressBytes(text: string): number[] | undefined {
  // a socket that takes both families writes addresses of the older one so
  const plain = text.replace(MAPPED, '');
  if (isIPv4(plain)) return plain.split('.').map(Number);
  return isIPv6(plain) ? wideBytes(plain) : undefined;
}

function wideBytes(text: string): number[] {
  const address = text.replace(/%.*$/, '').replace(/[\d.]+$/, (tail) => {
    if (!tail.includes('.')) return tail;
    const [a = 0, b = 0, c = 0, d = 0] = tail.split('.').map(Number);
    return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
  });
  const [head = '', tail] = address.split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const first = groups(head);
  const last = tail === undefined ? [] : groups(tail);
  const gap = Array.from({ length: 8 - first.length - last.length }, () => 0);
  return [...first, ...gap, ...last].flatMap((group) => [group >> 8, group & 0xff]);
}
