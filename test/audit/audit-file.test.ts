import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import {
  AuditFile,
  auditPath,
  holdsSeal,
  lastSealOfOlder,
  rotate,
} from '../../src/audit/audit-file.js';
import { CHAIN_BEGIN, sealEnd, sealStart } from '../../src/core/audit-seal.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const hashOf = (n: number): string => n.toString(16).padStart(64, '0');
const seal = (sequence: number): string =>
  sealStart({ time: 't', lines: 1, previous: '', sequence }) + sealEnd(hashOf(sequence));
const line = (sequence: number, text = ''): string =>
  `{"event":"test","text":"${text}","sequence":${sequence}}\n`;

async function endingOf(content: string): Promise<AuditFile['ending']> {
  const directory = temporaryDirectory();
  writeFileSync(auditPath(directory, 0), content);
  const file = await AuditFile.open(directory);
  await file.close();
  return file.ending;
}

test('a file is found to end with its last seal, and what stands behind it', async () => {
  const head = { sequence: 4, hash: hashOf(4) };
  const sealed = line(1) + seal(2) + line(3) + seal(4);
  expect(await endingOf(sealed)).toMatchObject({ head, sequence: 4, unsealedLines: 0 });
  const torn = await endingOf(`${sealed}${line(5)}${line(6)}{"event":"te`);
  expect(torn).toMatchObject({ head, sequence: 6, unsealedLines: 2, isTorn: true });
  expect(torn.unsealed.toString()).toBe(`${line(5)}${line(6)}{"event":"te`);
  // a seal that was torn is none
  const half = await endingOf(sealed + seal(6).slice(0, -9));
  expect(half).toMatchObject({ head, sequence: 4, unsealedLines: 0, isTorn: true });
});

test('the last seal is found before lines without end', async () => {
  const many = Array.from({ length: 2_000 }, (_, n) => line(5 + n, 'x'.repeat(100))).join('');
  const ending = await endingOf(line(3) + seal(4) + many);
  expect(ending).toMatchObject({ head: { sequence: 4 }, sequence: 2_004, unsealedLines: 2_000 });
});

test('without seals a file begins the chain, or goes on from what it names', async () => {
  expect(await endingOf('')).toMatchObject({ head: CHAIN_BEGIN, unsealedLines: 0 });
  const old = await endingOf('{"time":"t","event":"request"}\n');
  expect(old).toMatchObject({ head: CHAIN_BEGIN, sequence: 0, unsealedLines: 1 });
  const first = `{"event":"audit.continued","previous":"${hashOf(9)}","sequence":10}\n`;
  const next = await endingOf(first);
  expect(next).toMatchObject({ head: { sequence: 9, hash: hashOf(9) }, sequence: 10 });
});

test('files grow by what is appended, and move on', async () => {
  const directory = temporaryDirectory();
  const file = await AuditFile.open(directory);
  await file.append(Buffer.from(line(1) + seal(2)));
  expect(file.bytes).toBe((line(1) + seal(2)).length);
  await file.close();
  await rotate(directory, 3);
  expect(readFileSync(auditPath(directory, 1), 'utf8')).toBe(line(1) + seal(2));
  expect(await lastSealOfOlder(directory)).toEqual({ sequence: 2, hash: hashOf(2) });
  expect(await holdsSeal(directory, { sequence: 2, hash: hashOf(2) })).toBe(true);
  expect(await holdsSeal(directory, { sequence: 2, hash: hashOf(3) })).toBe(false);
  expect(await lastSealOfOlder(temporaryDirectory())).toBe(undefined);
});
