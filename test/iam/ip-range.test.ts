import { describe, expect, test } from 'vitest';
import { isInRange, readIpRange } from '../../src/iam/ip-range.js';

describe('a range of addresses', () => {
  test.each<[string, string, boolean]>([
    ['203.0.113.0/24', '203.0.113.255', true],
    ['203.0.113.0/24', '203.0.114.0', false],
    ['203.0.113.7', '203.0.113.7', true],
    ['203.0.113.7', '203.0.113.8', false],
    ['203.0.113.128/25', '203.0.113.127', false],
    ['203.0.113.128/25', '203.0.113.200', true],
    // what stands behind the bits that count does not count
    ['203.0.113.9/24', '203.0.113.1', true],
    ['0.0.0.0/0', '8.8.8.8', true],
    ['0.0.0.0/0', '::1', false],
    ['127.0.0.0/8', '::ffff:127.0.0.1', true],
    ['2001:DB8:1234:5678::/64', '2001:db8:1234:5678:9:a:b:c', true],
    ['2001:db8:1234:5678::/64', '2001:db8:1234:5679::1', false],
    ['2001:db8::/33', '2001:db8:7fff::1', true],
    ['2001:db8::/33', '2001:db8:8000::1', false],
    ['::1', '::1', true],
    ['::/0', '203.0.113.7', false],
    ['64:ff9b::/96', '64:ff9b::192.0.2.33', true],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['203.0.113.0/24', 'not an address', false],
    ['203.0.113.0/24', '', false],
  ])('%s has %s: %s', (range, address, expected) => {
    const read = readIpRange(range);
    expect(read && isInRange(read, address)).toBe(expected);
  });

  test.each(['', 'x', '203.0.113.0/33', '203.0.113/24', '::/129', '203.0.113.0/', '/24', 'a/b/c'])(
    '%j is none',
    (text) => expect(readIpRange(text)).toBeUndefined(),
  );
});
