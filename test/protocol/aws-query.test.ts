import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { queryMembers, readQuery, toXml } from '../../src/protocol/aws-query.js';
import { BOOLEAN, integer, list, string, structure } from '../../src/protocol/aws-shapes.js';
import { IAM_REQUESTS } from '../../src/protocol/iam.js';
import { STS_REQUESTS } from '../../src/protocol/sts.js';
import { serviceModel } from '../support/botocore-model.js';

const body = (text: string): Uint8Array => Buffer.from(text);

test('parameters come from the query and the body, without those of a signature', () => {
  const query = 'Action=A&X-Amz-Signature=x';
  expect([...readQuery(query, body('Name=a%20b%2B+c&%C3%A4=%C3%B6'))]).toEqual([
    ['Action', 'A'],
    ['Name', 'a b+ c'],
    ['ä', 'ö'],
  ]);
  const refused = { code: 'SerializationException' };
  expect(() => readQuery('a=1', body('a=2'))).toThrow(expect.objectContaining(refused));
  expect(() => readQuery('', Buffer.from([0x61, 0xff]))).toThrow(expect.objectContaining(refused));
  const many = Array.from({ length: LIMITS.query_parameters_max + 1 }, (_, at) => `a${at}=1`);
  expect(() => readQuery('', body(many.join('&')))).toThrow(expect.objectContaining(refused));
});

describe('members', () => {
  const members = {
    Name: string(),
    Count: integer(),
    Flag: BOOLEAN,
    Tags: list(structure({ Key: string(), Value: string() })),
    Names: list(string()),
    Inner: structure({ A: string() }),
  };
  const read = (text: string) => queryMembers(members, readQuery('', body(text)));

  test('are read by their shapes', () => {
    const tags = 'Tags.member.1.Key=k&Tags.member.1.Value=&Tags.member.2.Key=l';
    expect(read(`Name=n&Count=7&Flag=true&${tags}&Names.member.1=x&Inner.A=a&Other=1`)).toEqual({
      Name: 'n',
      Count: 7,
      Flag: true,
      Tags: [{ Key: 'k', Value: '' }, { Key: 'l' }],
      Names: ['x'],
      Inner: { A: 'a' },
    });
    expect(read('Names=&Names.member.2=x')).toEqual({ Names: [] });
  });

  test.each(['Count=x', 'Count=1.5', 'Count=', 'Flag=yes'])('%s is none', (text) => {
    expect(() => read(text)).toThrow(expect.objectContaining({ code: 'SerializationException' }));
  });
});

test('an answer is XML, whatever is in it', () => {
  const Text = '<a href="x">&amp;</a>\u0000\ud800\r\n';
  expect(
    toXml({ Text, None: undefined, List: ['a', 1, true], At: new Date(0), Inner: { Empty: [] } }),
  ).toBe(
    '<Text>&lt;a href=&quot;x&quot;&gt;&amp;amp;&lt;/a&gt;\ufffd\ufffd&#xD;\n</Text>' +
      '<List><member>a</member><member>1</member><member>true</member></List>' +
      '<At>1970-01-01T00:00:00Z</At><Inner><Empty></Empty></Inner>',
  );
});

interface Bounds {
  readonly min?: number;
  readonly max?: number;
  readonly required?: true;
  readonly pattern?: { readonly text: string };
}

/** JavaScript has no four-digit escapes beyond the first plane, which AWS's pattern writes. */
const comparable = (pattern: string | undefined): string | undefined =>
  pattern?.replace('\\u10000-\\u10FFFF', '');

describe.each([
  ['iam', '2010-05-08', IAM_REQUESTS],
  ['sts', '2011-06-15', STS_REQUESTS],
])("the members of %s are those of AWS's model", (service, version, table) => {
  const { operations, shapes } = serviceModel(service, version);
  test.each(Object.entries(table))('%s', (action, members) => {
    const input = shapes[operations[action]?.input.shape ?? ''];
    for (const [name, member] of Object.entries(members as Record<string, Bounds>)) {
      const model = shapes[input?.members?.[name]?.shape ?? ''];
      expect(model, name).toBeDefined();
      const { min, max, required = false, pattern } = member;
      expect([min ?? 0, max, pattern?.text, required], name).toEqual([
        model?.min ?? 0,
        model?.max,
        comparable(model?.pattern),
        input?.required?.includes(name) ?? false,
      ]);
    }
    const missing = (input?.required ?? []).filter((name) => !Object.hasOwn(members, name));
    expect(missing).toEqual([]);
  });
});
