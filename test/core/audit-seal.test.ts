import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  readContinued,
  readSeal,
  readSequence,
  sealEnd,
  sealStart,
} from '../../src/core/audit-seal.js';

const TIME = '2030-01-02T03:04:05.006Z';
const HASH = createHash('sha256').update('before').digest('hex');

test('a seal is a JSON line that says what its hash is about', () => {
  const start = sealStart({ time: TIME, lines: 3, previous: HASH, sequence: 17 });
  const hash = createHash('sha256').update(`lines\n${start}`).digest('hex');
  const line = (start + sealEnd(hash)).trimEnd();
  expect(JSON.parse(line)).toEqual({
    event: 'audit.seal',
    time: TIME,
    lines: 3,
    previous: HASH,
    sequence: 17,
    hash,
  });
  expect(readSeal(line)).toEqual({
    sequence: 17,
    hash,
    previous: HASH,
    hashedBytes: Buffer.byteLength(start),
  });
  expect(readSequence(line)).toBe(17);
});

test('the first seal of all names none before it', () => {
  const line = sealStart({ time: TIME, lines: 0, previous: '', sequence: 1 }) + sealEnd(HASH);
  expect(readSeal(line.trimEnd())).toMatchObject({ sequence: 1, previous: '' });
});

test('what only looks like a seal is none', () => {
  const seal = sealStart({ time: TIME, lines: 1, previous: '', sequence: 2 }) + sealEnd(HASH);
  const lines = [
    '',
    '{"event":"audit.seal",',
    seal.trimEnd().slice(0, -1),
    ` ${seal.trimEnd()}`,
    JSON.stringify({ userAgent: seal }),
    seal.trimEnd().replace(HASH, HASH.toUpperCase()),
  ];
  expect(lines.map(readSeal)).toEqual(lines.map(() => undefined));
});

test('lines have their number at the end alone', () => {
  expect(readSequence('{"time":"t","event":"e","sequence":5}')).toBe(5);
  expect(readSequence('{"sequence":5,"event":"e"}')).toBe(undefined);
  expect(readSequence('{"event":"e","text":",\\"sequence\\":5}')).toBe(undefined);
  expect(readSequence('{"time":"20')).toBe(undefined);
});

test('a file that goes on names the seal before it', () => {
  const line = `{"event":"audit.continued","time":"t","previous":"${HASH}","sequence":8}`;
  expect(readContinued(line)).toEqual({ sequence: 7, hash: HASH });
  expect(readContinued('{"event":"audit.continued"}')).toBe(undefined);
  expect(readContinued('{"time":"t","event":"e","sequence":8}')).toBe(undefined);
});
