import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CKR } from '../../src/core/pkcs11.js';
import { proveKey } from '../../src/token/mac.js';
import { AES_KEY_GEN } from '../../src/token/mechanism.js';
import { createData, listData, listKeys } from '../../src/token/objects.js';
import {
  loadModuleProfile,
  prepareTokenDirectory,
  sweepTornFiles,
  hasRoom,
} from '../../src/token/softhsm.js';
import { ofAes256, storedAesKey } from '../../src/token/template.js';
import { TokenFixture } from '../support/token-fixture.js';

const config = (): unknown => expect.objectContaining({ code: 'KeyspanConfig' });

describe('a module profile', () => {
  afterEach(() => {
    delete process.env['KEYSPAN_HSM_MODULE'];
  });

  test('names the library of this machine and its quirks', () => {
    const profile = loadModuleProfile();
    expect(profile.name).toBe('softhsm2');
    expect(existsSync(profile.library)).toBe(true);
    expect(profile.configuration.variable).toBe('SOFTHSM2_CONF');
    expect(profile.quirks.gcmAuthenticationFailures.has(CKR.GENERAL_ERROR)).toBe(true);
  });

  test('is not what applications load', () => {
    // a shell that evaluated `keyspan pkcs11 env` starts HSMs as any other
    process.env['KEYSPAN_PKCS11_MODULE'] = '/nowhere/p11-kit-client.so';
    try {
      expect(loadModuleProfile().library).toMatch(/softhsm/);
    } finally {
      delete process.env['KEYSPAN_PKCS11_MODULE'];
    }
  });

  test('gives way to KEYSPAN_HSM_MODULE', () => {
    const { library } = loadModuleProfile();
    process.env['KEYSPAN_HSM_MODULE'] = library;
    expect(loadModuleProfile().library).toBe(library);
    process.env['KEYSPAN_HSM_MODULE'] = '/nowhere/module.so';
    expect(() => loadModuleProfile()).toThrow(config());
    expect(() => loadModuleProfile()).toThrow('/nowhere/module.so');
  });

  test('must exist', () => {
    for (const name of ['nothing', '../../package', '']) {
      expect(() => loadModuleProfile(name)).toThrow(config());
    }
  });
});

describe('a token directory', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'keyspan-softhsm-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  test('is private, has its two folders and a configuration that names one of them', () => {
    const directory = join(root, 'a $& b', 'hsm');
    prepareTokenDirectory(directory);
    for (const path of [directory, join(directory, 'tokens'), join(directory, 'torn')]) {
      expect(statSync(path).mode & 0o777).toBe(0o700);
    }
    const text = readFileSync(join(directory, 'softhsm2.conf'), 'utf8');
    expect(text).toContain(`directories.tokendir = ${join(directory, 'tokens')}\n`);
    expect(text).not.toContain('{{');
  });

  test('keeps what stands in it when it is prepared again', () => {
    prepareTokenDirectory(root);
    writeFileSync(join(root, 'torn', 'evidence.object'), 'x');
    prepareTokenDirectory(root);
    expect(readdirSync(join(root, 'torn'))).toEqual(['evidence.object']);
    expect(readdirSync(root).sort()).toEqual(['softhsm2.conf', 'tokens', 'torn']);
  });

  test('may not have a name that the configuration cannot carry', () => {
    expect(() => prepareTokenDirectory(join(root, 'a#b'))).toThrow(config());
    expect(() => prepareTokenDirectory(join(root, 'a\nb'))).toThrow(config());
  });

  test('without tokens has nothing to sweep', () => {
    prepareTokenDirectory(root);
    expect(sweepTornFiles(root)).toEqual([]);
    expect(sweepTornFiles(join(root, 'nowhere'))).toEqual([]);
  });
});

describe('torn files', () => {
  let fixture: TokenFixture;
  let folder: string;
  const objects = (): string[] =>
    readdirSync(folder).filter((name) => name.endsWith('.object') && name !== 'token.object');

  beforeEach(() => {
    fixture = TokenFixture.ready();
    const tokens = join(fixture.directory, 'tokens');
    folder = join(tokens, readdirSync(tokens)[0] ?? '');
  });
  afterEach(() => fixture[Symbol.dispose]());

  const makeKey = (label: string): string => {
    const recordBytes = Buffer.from(`record of ${label}`);
    const template = ofAes256(storedAesKey({ place: 'token', recordBytes, label }));
    const { cryptoki, anchor } = fixture.token;
    const handle = cryptoki.C_GenerateKey(anchor, AES_KEY_GEN, template);
    return proveKey(fixture.token, handle, label).toString('hex');
  };

  test('of whole objects none is moved', () => {
    for (let at = 0; at < 5; at += 1) makeKey(`key ${at}`);
    createData(fixture.token, { application: 'a', label: 'l', value: Buffer.from('v') });
    expect(fixture.restart()).toEqual([]);
    expect(listKeys(fixture.token)).toHaveLength(5);
    expect(listData(fixture.token, 'a')).toHaveLength(1);
  });

  test('are moved as they are, and the other objects load and prove', () => {
    const damage: ((path: string) => void)[] = [
      (path) => truncateSync(path, 0),
      (path) => truncateSync(path, 8),
      (path) => truncateSync(path, Math.floor(statSync(path).size / 2)),
      (path) => truncateSync(path, statSync(path).size - 1),
      (path) => writeFileSync(path, Buffer.alloc(statSync(path).size)),
      (path) => writeFileSync(path, Buffer.alloc(700, 0xee)),
      (path) => writeFileSync(path, 'garbage'),
      (path) => writeFileSync(path, 'x', { flag: 'a' }),
    ];
    for (const [at] of damage.entries()) makeKey(`doomed ${at}`);
    const doomed = objects();
    const proofs = new Map(['one', 'two', 'three'].map((label) => [label, makeKey(label)]));
    fixture.token[Symbol.dispose]();
    const contents = new Map<string, Buffer>();
    for (const [at, name] of doomed.entries()) {
      damage[at]?.(join(folder, name));
      contents.set(name, readFileSync(join(folder, name)));
    }
    expect(fixture.reopen().sort()).toEqual([...doomed].sort());

    const torn = join(fixture.directory, 'torn');
    expect(readdirSync(torn).sort()).toEqual([...doomed].sort());
    for (const [name, bytes] of contents) {
      expect(readFileSync(join(torn, name)).equals(bytes)).toBe(true);
    }
    const listed = listKeys(fixture.token);
    expect(listed).toHaveLength(proofs.size);
    for (const { handle, label } of listed) {
      expect(proveKey(fixture.token, handle, label).toString('hex')).toBe(proofs.get(label));
    }
  });

  test('the token itself, locks and the generation are left alone', () => {
    makeKey('one');
    fixture.token[Symbol.dispose]();
    const kept = readdirSync(folder).filter((name) => !objects().includes(name));
    const backup = mkdtempSync(join(tmpdir(), 'keyspan-backup-'));
    for (const name of kept) copyFileSync(join(folder, name), join(backup, name));
    for (const name of kept) truncateSync(join(folder, name), 0);
    expect(sweepTornFiles(fixture.directory)).toEqual([]);
    for (const name of kept) copyFileSync(join(backup, name), join(folder, name));
    rmSync(backup, { recursive: true });
    fixture.reopen();
    expect(listKeys(fixture.token)).toHaveLength(1);
  });

  test('are found in an object larger than the read buffer', () => {
    const value = Buffer.alloc(200_000, 1);
    createData(fixture.token, { application: 'large', label: 'l', value });
    expect(fixture.restart()).toEqual([]);
    expect(listData(fixture.token, 'large')[0]?.value.equals(value)).toBe(true);
    fixture.token[Symbol.dispose]();
    const [name = ''] = objects();
    truncateSync(join(folder, name), 150_000);
    mkdirSync(join(fixture.directory, 'torn'), { recursive: true });
    expect(fixture.reopen()).toEqual([name]);
    expect(listData(fixture.token, 'large')).toEqual([]);
  });
});

test('a disk has room while more than a reserve of bytes and files is left', () => {
  const disk = { bavail: 256, bsize: 4096, files: 1000, ffree: 64 };
  expect(hasRoom(disk)).toBe(true);
  expect(hasRoom({ ...disk, bavail: 255 })).toBe(false);
  expect(hasRoom({ ...disk, ffree: 63 })).toBe(false);
  expect(hasRoom({ ...disk, files: 0, ffree: 0 })).toBe(true);
});
