import { execFileSync } from 'node:child_process';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  privateEncrypt,
  sign,
  verify,
} from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readHistory, writeHistory } from '../../src/cli/cloudhsm/history.js';
import { readAttributes, readFilter } from '../../src/cli/cloudhsm/key-filter.js';
import { referenceIn, referencePem } from '../../src/cli/cloudhsm/reference-pem.js';
import { signedData } from '../../src/cli/cloudhsm/signed-data.js';
import {
  readApproval,
  readSigned,
  writeApproval,
  writeUnsigned,
} from '../../src/cli/cloudhsm/token-files.js';
import { bytesOf, readText, writeOwned } from '../../src/cli/cloudhsm/user-files.js';
import { findHome } from '../../src/core/home.js';

let folder = '';
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'keyspan-cli-'))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, content?: unknown): string => {
  const path = join(folder, name);
  const text = typeof content === 'string' ? content : JSON.stringify(content);
  if (content !== undefined) writeFileSync(path, text);
  return path;
};
const readJson = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'));
const tokens = [Buffer.from('first token'), Buffer.from('second token')].map((bytes) => ({
  token: bytes.toString('base64'),
}));
const sha256 = (...texts: string[]): string =>
  createHash('sha256').update(texts.join('')).digest('base64');

describe('token files', () => {
  test('of a factor hold each token with its digest, for its owner alone to read', () => {
    const path = file('factor');
    writeUnsigned(path, tokens);
    expect(readJson(path)).toEqual({
      version: '2.0',
      tokens: [
        { approval_data: tokens[0]?.token, unsigned: sha256('first token'), signed: '' },
        { approval_data: tokens[1]?.token, unsigned: sha256('second token'), signed: '' },
      ],
    });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(() => readSigned(path)).toThrow(/a token is not signed$/);
  });

  test('of an approval hold one token over all HSMs', () => {
    const path = file('approval');
    writeApproval(path, { service: 'user' }, tokens);
    const data = Buffer.from('first tokensecond token').toString('base64');
    const token = sha256('first tokensecond token');
    const document = { version: '2.0', approval_data: data, token, signatures: [] };
    expect(readJson(path)).toEqual(document);
    expect(readApproval(path)).toEqual({ data, signatures: [] });
    const signatures = [{ username: 'admin2', role: '', signature: 'c2ln' }];
    const signed = file('signed', { signatures, approval_data: data });
    expect(readApproval(signed)).toEqual({
      data,
      signatures: [{ username: 'admin2', signature: 'c2ln' }],
    });
    writeApproval(path, { service: 'key-usage', key: '0x0000000000000001' }, tokens);
    expect(readJson(path)).toMatchObject({
      service: 'key-usage',
      key_reference: '0x0000000000000001',
    });
  });

  test.each([
    ['no JSON', 'no JSON', /it is no JSON$/],
    ['no tokens', {}, /it holds no tokens$/],
    ['a token without data', { tokens: [{ signed: 'c2ln' }] }, /a token has no approval_data$/],
    ['null', { tokens: [null] }, /a token has no approval_data$/],
  ])('with %s are no files of tokens', (_, content, sentence) => {
    expect(() => readSigned(file('bad', content))).toThrow(sentence);
  });

  test.each([
    ['no data', { signatures: [] }, /it has no approval_data$/],
    ['no list', { approval_data: 'c2ln' }, /it has no list of signatures$/],
    ['nobody', { approval_data: 'c2ln', signatures: [{}] }, /a signature has no username$/],
    [
      'no base64',
      { approval_data: 'c2ln', signatures: [{ username: 'a', signature: '!' }] },
      /the signature of a is no base64$/,
    ],
  ])('with %s are no approvals', (_, content, sentence) => {
    expect(() => readApproval(file('bad', content))).toThrow(sentence);
  });

  test('are read as they are pasted: in lines, in any order, with more in them', () => {
    const lines = 'c2ln\nbmF0\n';
    const members = { signed: lines, unsigned: 'x', approval_data: tokens[0]?.token };
    const document = { signatures: [{ username: 'a', signature: '' }], tokens: [members] };
    const read = [{ token: tokens[0]?.token, signature: 'c2lnbmF0' }];
    expect(readSigned(file('pasted', document))).toEqual(read);
  });

  test('of a second factor may name the tokens by their digests', () => {
    const all = ['second token', 'first token'].map((text) => ({
      unsigned: sha256(text),
      signed: 'c2ln',
    }));
    const read = [tokens[1], tokens[0]].map((one) => ({ token: one?.token, signature: 'c2ln' }));
    expect(readSigned(file('digests', { tokens: all }), tokens)).toEqual(read);
    expect(() => readSigned(file('digests', { tokens: all }), tokens.slice(1))).toThrow(
      /a token has no approval_data$/,
    );
  });
});

describe('files that a user names', () => {
  test('that are not there, or too long, are told of', () => {
    expect(() => readSigned(join(folder, 'none'))).toThrow(/cannot be read: ENOENT$/);
    expect(() => readText(folder, 10)).toThrow(/cannot be read: EISDIR$/);
    expect(() => writeOwned(folder, '')).toThrow(/cannot be written: EISDIR$/);
    expect(() => readText(file('long', 'x'.repeat(11)), 10)).toThrow(/is over 10 bytes$/);
    expect(() => readText('/dev/zero', 10)).toThrow(/is over 10 bytes$/);
  });

  test('are for their user alone, also where another file was before', () => {
    const path = file('old', 'a long text that was here');
    chmodSync(path, 0o644);
    writeOwned(path, 'new');
    expect([readText(path, 10), statSync(path).mode & 0o777]).toEqual(['new', 0o600]);
    writeOwned('/dev/null', 'nothing');
  });

  test.each([
    [{}, 'Either --data or --data-path is needed'],
    [{ data: 'YWJj', dataPath: '/dev/null' }, 'Either --data or --data-path is needed'],
    [{ data: 'YWJ' }, '--data is no base64'],
    [{ data: 'YWJj' }, '--data is over 2 bytes'],
  ])('or bytes instead: %j is refused', (given, sentence) => {
    expect(() => bytesOf(given, '--data', 2)).toThrow(sentence);
  });
});

describe('what is signed', () => {
  const long = Buffer.alloc(100_000, 7);
  const digest = (hash: string): Buffer => createHash(hash).update(long).digest();

  test('goes to the HSM as it is while that takes it', () => {
    const how = { mechanism: 'rsa-pkcs', hash: 'sha256', digested: false } as const;
    expect(signedData({ data: 'YWJj' }, how)).toEqual({ data: 'YWJj', digested: false });
    const most = long.subarray(0, 16_384).toString('base64');
    expect(signedData({ data: most }, how)).toEqual({ data: most, digested: false });
    const digested = { ...how, digested: true };
    expect(signedData({ data: 'YWJj' }, digested)).toEqual({ data: 'YWJj', digested: true });
  });

  test.each(['sha1', 'sha224', 'sha256', 'sha384', 'sha512'] as const)(
    'is hashed with %s where it is longer',
    (hash) => {
      const path = join(folder, 'long-data');
      writeFileSync(path, long);
      const how = { mechanism: 'ecdsa', hash, digested: false };
      const expected = { data: digest(hash).toString('base64'), digested: true };
      expect(signedData({ dataPath: path }, how)).toEqual(expected);
      expect(signedData({ data: long.toString('base64') }, how)).toEqual(expected);
      // as OpenSSL has the DigestInfo: it signs what is given to it
      const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 1_024 });
      const { data } = signedData({ dataPath: path }, { ...how, mechanism: 'rsa-pkcs' });
      const signature = privateEncrypt(privateKey, Buffer.from(data, 'base64'));
      expect(verify(hash, long, publicKey, signature)).toBe(true);
    },
  );

  test('is refused where it is longer and there is no hash', () => {
    const data = long.toString('base64');
    for (const how of [{ mechanism: 'ed25519', digested: false }]) {
      expect(() => signedData({ data }, how)).toThrow('--data is over 16384 bytes');
    }
  });
});

describe('filters and attributes', () => {
  test('are read from words, also from one', () => {
    expect(readFilter(['attr.label=a=b attr.class=secret-key', 'key-reference=0xAB'])).toEqual({
      reference: '0x00000000000000ab',
      attributes: { label: 'a=b', class: 'secret-key' },
    });
    expect(readFilter([])).toEqual({ attributes: {} });
    expect(readFilter(['attr.label=two words  attr.sign=true ', ''])).toEqual({
      attributes: { label: 'two words', sign: 'true' },
    });
    const template = 'wrap-template={"sign": true, "wrap": false}';
    expect(readAttributes([`sign=true ${template}`])).toEqual({
      sign: 'true',
      'wrap-template': '{"sign": true, "wrap": false}',
    });
    expect(readAttributes(['sign=true', 'id=0x01'])).toEqual({ sign: 'true', id: '0x01' });
    expect(readAttributes()).toEqual({});
  });

  test.each(['label', 'label=x', 'attr.another=x', 'key-reference=12', '=x'])(
    '%s is no filter',
    (word) => expect(() => readFilter([word])).toThrow(/^'/),
  );

  test('an attribute that there is not is told of', () => {
    expect(() => readAttributes(['another=true'])).toThrow('There is no attribute another');
    expect(() => readAttributes(['sign'])).toThrow("'sign' is not name=value");
  });
});

describe('a file that stands for a private key', () => {
  const reference = '0x000000000000abcd';
  const spki = { type: 'spki', format: 'pem' } as const;
  const publicOf = (kind: string): string =>
    kind === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey.export(spki).toString()
      : generateKeyPairSync('ec', { namedCurve: kind }).publicKey.export(spki).toString();

  test.each(['rsa', 'secp224r1', 'prime256v1', 'secp384r1', 'secp256k1', 'secp521r1'])(
    'reads as the %s key that it names, and is none',
    (name) => {
      const publicPem = publicOf(name);
      const kind = name === 'prime256v1' ? 'secp256r1' : name;
      const pem = referencePem({ reference, kind, publicPem }, 'reference-pem') ?? '';
      expect(referenceIn(pem)).toBe(reference);
      const path = file('key.pem', pem);
      const openssl = (...args: string[]): string =>
        execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' });
      expect(openssl('pkey', '-in', path, '-pubout')).toBe(publicPem);
      expect(() => openssl('pkey', '-in', path, '-check', '-noout')).toThrow();
      expect(createPublicKey(createPrivateKey(pem)).export(spki)).toBe(publicPem);
      const forge = (): boolean =>
        verify('sha256', long, publicPem, sign('sha256', long, createPrivateKey(pem)));
      if (name === 'rsa') expect(forge).toThrow();
      else expect(forge()).toBe(false);
    },
  );
  const long = Buffer.from('data');

  test('of Ed25519 is one that only CloudHSM reads', () => {
    const publicPem = generateKeyPairSync('ed25519').publicKey.export(spki).toString();
    const key = { reference, kind: 'ed25519', publicPem };
    expect(referencePem(key, 'reference-pem')).toBeUndefined();
    const pem = referencePem(key, 'cloudhsm-reference-pem') ?? '';
    expect(pem).toMatch(/^-----BEGIN CLOUDHSM KEY REFERENCE-----\n/);
    expect(referenceIn(pem)).toBe(reference);
  });

  test('is told from others', () => {
    expect(referenceIn('no PEM')).toBeUndefined();
    expect(referenceIn(publicOf('rsa'))).toBeUndefined();
  });
});

test('lines are remembered, but none with a password in it', () => {
  const home = findHome(folder);
  expect(readHistory(home)).toEqual([]);
  writeHistory(home, ['user list', 'login --password secret', ' ', 'key list']);
  expect(readHistory(home)).toEqual(['user list', 'key list']);
  expect(readFileSync(join(home.root, 'cloudhsm-cli-history'), 'utf8')).not.toMatch(/secret/);
  writeHistory(
    home,
    Array.from({ length: 600 }, (_, at) => `line ${at}`),
  );
  expect(readHistory(home)).toHaveLength(500);
  writeHistory(findHome(join(folder, 'none')), ['nothing is lost']);
});
