import { describe, expect, test } from 'vitest';
import {
  canonicalQuery,
  canonicalRequest,
  canonicalUri,
  readHeaders,
} from '../../src/iam/canonical-request.js';

const EMPTY_HASH = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
/** text as the bytes of its UTF-8, as it comes over the wire */
const wire = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

describe('the path', () => {
  test.each([
    ['', '/'],
    ['/', '/'],
    ['//', '/'],
    ['/./', '/'],
    ['/a/..', '/'],
    ['/..', '/'],
    ['/a/./b//c/../d/', '/a/b/d/'],
    ['/a b', '/a%20b'],
    ['/a%20b', '/a%2520b'],
    ['/-._~0aZ', '/-._~0aZ'],
    ["/!'()*", '/%21%27%28%29%2A'],
    [wire('/ሴ'), '/%E1%88%B4'],
  ])('%j', (path, canonical) => expect(canonicalUri(path)).toBe(canonical));
});

describe('the query', () => {
  test.each([
    ['', ''],
    ['&', ''],
    ['b=2&a=1', 'a=1&b=2'],
    ['a=2&a=10&a=1', 'a=1&a=10&a=2'],
    ['a-=1&a=2', 'a=2&a-=1'],
    ['acl', 'acl='],
    ['a=b=c', 'a=b%3Dc'],
    ['%61=%62', 'a=b'],
    ['a=%7e%2f', 'a=~%2F'],
    ['a=1+2', 'a=1%2B2'],
    ['a=100%', 'a=100%25'],
    [wire('ሴ=x'), '%E1%88%B4=x'],
  ])('%j', (query, canonical) => expect(canonicalQuery(query)).toBe(canonical));
});

test('headers are found whatever their case, in their order', () => {
  const headers = ['X-A', '1', 'Host', 'h', 'x-a', '2'];
  expect([...readHeaders(headers)]).toEqual([
    ['x-a', ['1', '2']],
    ['host', ['h']],
  ]);
});

test('the whole is as the standard has it', () => {
  const request = {
    method: 'GET',
    target: '/?Param2=value2&Param1=value1',
    headers: [
      'X-Amz-Date',
      '20150830T123600Z',
      'My-Header1',
      '  value4  ',
      'Host',
      'example.amazonaws.com',
      'My-Header1',
      'a \t  b',
      'Unsigned',
      'x',
    ],
    body: Buffer.alloc(0),
  };
  expect(
    canonicalRequest(
      { ...request, headers: readHeaders(request.headers) },
      'host;my-header1;x-amz-date',
    ).split('\n'),
  ).toEqual([
    'GET',
    '/',
    'Param1=value1&Param2=value2',
    'host:example.amazonaws.com',
    'my-header1:value4,a b',
    'x-amz-date:20150830T123600Z',
    '',
    'host;my-header1;x-amz-date',
    EMPTY_HASH,
  ]);
});
