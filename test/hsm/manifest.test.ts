import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, test } from 'vitest';
import { newHsmId, newHsmKeyId } from '../../src/core/ids.js';
import {
  readManifest,
  writeManifest,
  type Manifest,
  type KeyNote,
  type ManifestPlace,
} from '../../src/hsm/manifest.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const userPin = Buffer.from('a pin of the token');
let place: ManifestPlace;
let path: string;
const noted = (revision: number): KeyNote => ({
  revision,
  proof: Buffer.alloc(16, revision),
  digest: Buffer.alloc(revision > 1 ? 32 : 0, revision),
});
const keys = new Map([1, 2, 7].map((revision) => [newHsmKeyId(), noted(revision)]));
const manifest: Manifest = {
  census: 'c1',
  stamp: 2 ** 40 + 3,
  keys,
  shelves: { facts: [{ id: 'epoch', revision: 4, body: Buffer.from([1, 2]) }], users: [] },
};
beforeEach(() => {
  place = { directory: temporaryDirectory(), hsm: newHsmId(), userPin };
  path = join(place.directory, 'manifest');
  writeManifest(place, manifest);
});

test('a manifest comes back as it was', () => {
  const read = readManifest(place, 'c1');
  expect(read).toMatchObject({ census: 'c1', stamp: manifest.stamp });
  const notes = [...(read?.keys ?? [])].map(([id, { revision, proof, digest }]) => [
    id,
    { revision, proof: Buffer.from(proof), digest: Buffer.from(digest) },
  ]);
  expect(notes).toEqual([...keys]);
  expect(read?.shelves['users']).toEqual([]);
  expect(read?.shelves['facts']).toMatchObject([{ id: 'epoch', revision: 4 }]);
});

test('of files that were touched since it says nothing', () => {
  expect(readManifest(place, 'c2')).toBeUndefined();
});

test('that is of another HSM, under another PIN, absent or changed says nothing', () => {
  expect(readManifest({ ...place, hsm: newHsmId() }, 'c1')).toBeUndefined();
  expect(readManifest({ ...place, userPin: Buffer.from('another') }, 'c1')).toBeUndefined();
  expect(readManifest({ ...place, directory: temporaryDirectory() }, 'c1')).toBeUndefined();
  const file = readFileSync(path);
  for (const at of [0, 1, 13, 29, file.length - 1]) {
    const changed = Buffer.from(file);
    changed[at] = (changed[at] ?? 0) ^ 1;
    writeFileSync(path, changed);
    expect(readManifest(place, 'c1'), `byte ${at}`).toBeUndefined();
  }
  writeFileSync(path, file.subarray(0, 20));
  expect(readManifest(place, 'c1')).toBeUndefined();
  writeFileSync(path, file);
  expect(readManifest(place, 'c1')).toBeDefined();
});

test('shows nothing of what it holds, and only its owner can read it', () => {
  expect(readFileSync(path).includes('epoch')).toBe(false);
});
