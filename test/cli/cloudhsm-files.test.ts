import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readHistory, writeHistory } from '../../src/cli/cloudhsm/history.js';
import { referenceIn, referencePem } from '../../src/cli/cloudhsm/key-files.js';
import { readAttributes, readFilter } from '../../src/cli/cloudhsm/key-filter.js';
import {
  readApproval,
  readSigned,
  readText,
  writeApproval,
  writeText,
  writeUnsigned,
} from '../../src/cli/cloudhsm/token-files.js';
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

  test('that are not there, or too long, are told of', () => {
    expect(() => readSigned(join(folder, 'none'))).toThrow(/cannot be read: ENOENT$/);
    expect(() => writeText(folder, '')).toThrow(/cannot be written: EISDIR$/);
    expect(() => readText(file('long', 'x'.repeat(11)), 10)).toThrow(/is over 10 bytes$/);
  });
});

describe('filters and attributes', () => {
  test('are read from words, also from one', () => {
    expect(readFilter(['attr.label=a=b attr.class=secret-key', 'key-reference=0xAB'])).toEqual({
      reference: '0x00000000000000ab',
      attributes: { label: 'a=b', class: 'secret-key' },
    });
    expect(readFilter([])).toEqual({ attributes: {} });
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

test.each(['rsa', 'secp256r1', 'secp521r1', 'ed25519'])('a file for a %s key names it', (kind) => {
  const pem = referencePem(kind, '0x000000000000abcd');
  expect(pem).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
  expect(referenceIn(pem)).toBe('0x000000000000abcd');
  expect(referenceIn('no PEM')).toBeUndefined();
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
