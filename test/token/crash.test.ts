import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, test } from 'vitest';
import { newMaskingKeyId } from '../../src/core/ids.js';
import { packageFile } from '../../src/core/entry.js';
import { proveKey } from '../../src/token/mac.js';
import { findMaskingKeys, foundMaskingKeys } from '../../src/token/masking-keys.js';
import { listData, listKeys } from '../../src/token/objects.js';
import { TokenFixture } from '../support/token-fixture.js';

const KILLS = 15;

/** Lets a writer acknowledge a few objects and kills it at some instant after that. */
async function writeAndKill(directory: string, acknowledged: Set<string>): Promise<void> {
  const program = packageFile('test/support/token-writer.mjs');
  const writer = spawn(process.execPath, [program, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let lines = 0;
  let timer: NodeJS.Timeout | undefined;
  const kill = (): void => void writer.kill('SIGKILL');
  for await (const line of createInterface({ input: writer.stdout })) {
    // a line that the kill has cut is not acknowledged
    if (/^(key|data) [0-9a-f]{32} ([0-9a-f]{32}|[0-9a-f]{64})$/.test(line)) acknowledged.add(line);
    lines += 1;
    if (lines === 4) timer = setTimeout(kill, Math.random() * 20);
  }
  clearTimeout(timer);
  if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit');
  expect(writer.signalCode).toBe('SIGKILL');
}

test('no acknowledged object is lost by kill -9, and what was torn is moved aside', async () => {
  using fixture = new TokenFixture();
  fixture.token.initialize({ label: 'crash', ...fixture.pins });
  const id = newMaskingKeyId();
  foundMaskingKeys(fixture.token, fixture, id);
  fixture.token[Symbol.dispose]();

  const acknowledged = new Set<string>();
  for (let kill = 0; kill < KILLS; kill += 1) await writeAndKill(fixture.directory, acknowledged);
  fixture.reopen();
  // most kills hit a file that was being written: without these the test would show nothing
  expect(readdirSync(join(fixture.directory, 'torn')).length).toBeGreaterThan(0);

  const found = new Set<string>();
  for (const { handle, recordBytes, label } of listKeys(fixture.token)) {
    expect(recordBytes.subarray(1, 33).toString()).toBe(label);
    found.add(`key ${label} ${proveKey(fixture.token, handle, label).toString('hex')}`);
  }
  for (const { label, value } of listData(fixture.token, 'writer')) {
    found.add(`data ${label} ${createHash('sha256').update(value).digest('hex')}`);
  }
  expect(acknowledged.size).toBeGreaterThanOrEqual(4 * KILLS);
  expect([...acknowledged].filter((line) => !found.has(line))).toEqual([]);
  // each kill interrupts one object at most: whole but unacknowledged ones may have been left
  expect(found.size).toBeLessThanOrEqual(acknowledged.size + KILLS);
  expect(findMaskingKeys(fixture.token)?.id).toBe(id);
});
