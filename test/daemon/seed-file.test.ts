import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import { LIMITS } from '../../src/core/limits.js';
import { parseSeed, readSeed, type Seed } from '../../src/daemon/seed-file.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const ID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const MATERIAL = Buffer.alloc(32, 'a secret');
const BASE64 = MATERIAL.toString('base64');
const HEX = MATERIAL.toString('hex');

const NONE = { roots: [], policies: [], users: [], roles: [] };
const keyOf = (members: object): string => JSON.stringify({ keys: [{ id: ID, ...members }] });
const first = async (text: string): Promise<Seed['keys'][number]> => {
  const [key] = (await parseSeed(text)).keys;
  return key ?? expect.unreachable();
};
const refusal = async (text: string): Promise<string> => {
  const outcome = await parseSeed(text).catch((error: unknown) => error);
  const { code, message } = outcome as { code?: string; message: string };
  expect(code).toBe('KeyspanConfig');
  return message;
};

describe('what is read', () => {
  test('a key with all that it may have, from YAML', async () => {
    const yaml = `
# for tests
keys:
  - id: ${ID}
    account: '111122223333'
    region: eu-west-1
    material: ${BASE64}
    materials: ['${'00'.repeat(32)}']
    description: letters
    enabled: false
    rotation: 90
    policy:
      Version: 2012-10-17
      Statement:
        - { Effect: Allow, Principal: '*', Action: 'kms:*', Resource: '*' }
    tags: { team: post, empty: '' }
    aliases: [alias/letters]
    grants:
      - name: reader
        grantee: arn:aws:iam::111122223333:user/bob
        operations: [Encrypt, Decrypt]
        encryptionContextSubset: { to: bob }
`;
    expect(await parseSeed(yaml)).toEqual({
      accounts: NONE,
      keys: [
        {
          id: ID,
          account: '111122223333',
          region: 'eu-west-1',
          materials: [Buffer.alloc(32), MATERIAL],
          isEnabled: false,
          rotationDays: 90,
          aliases: ['alias/letters'],
          grants: [
            {
              name: 'reader',
              grantee: 'arn:aws:iam::111122223333:user/bob',
              operations: ['Decrypt', 'Encrypt'],
              constraints: { subset: [['to', 'bob']] },
            },
          ],
          params: {
            Description: 'letters',
            Policy: JSON.stringify({
              Version: '2012-10-17',
              Statement: [{ Effect: 'Allow', Principal: '*', Action: 'kms:*', Resource: '*' }],
            }),
            Tags: [
              { TagKey: 'team', TagValue: 'post' },
              { TagKey: 'empty', TagValue: '' },
            ],
          },
        },
      ],
    });
  });

  test('a key with nothing but its id, from JSON', async () => {
    expect(await parseSeed(keyOf({}))).toEqual({
      accounts: NONE,
      keys: [{ id: ID, materials: [], isEnabled: true, aliases: [], grants: [], params: {} }],
    });
  });

  test.each([BASE64, HEX, HEX.toUpperCase()])('material as %s', async (material) => {
    const { materials } = await first(keyOf({ material }));
    expect(materials.map((one) => Buffer.from(one))).toEqual([MATERIAL]);
  });

  test('a policy as its text, which stays as it is written', async () => {
    const policy = '{ "Version":"2012-10-17", "Statement": [] , "Id": "x"}'.replace(
      '[]',
      '[{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"*"}]',
    );
    expect((await first(keyOf({ policy }))).params.Policy).toBe(policy);
  });

  test.each(['', '{}', '# nothing\n', 'keys: []', '{ keys: [] }'])('nothing: %j', async (text) => {
    expect(await parseSeed(text)).toEqual({ accounts: NONE, keys: [] });
  });

  test('the example of the documentation', async () => {
    const page = readFileSync(packageFile('docs/ci.md'), 'utf8');
    const example = /## Seeds[^]*?```yaml\n([^]*?)```/.exec(page)?.[1] ?? '';
    const { accounts, keys } = await parseSeed(example);
    expect(Object.values(accounts).map((kind: readonly unknown[]) => kind.length)).toEqual([
      1, 1, 1, 1,
    ]);
    expect(keys).toMatchObject([{ id: ID, materials: [Buffer.from([...Array(32).keys()])] }]);
  });

  test('what YAML names once and uses often', async () => {
    const keys = Array.from({ length: 300 }, (_, at) => {
      const id = `00000000-0000-4000-8000-${String(at).padStart(12, '0')}`;
      return `  - { id: ${id}, tags: *common }`;
    });
    const [one, ...others] = keys;
    const text = ['keys:', one?.replace('*common', '&common { team: post }'), ...others].join('\n');
    expect((await parseSeed(text)).keys).toHaveLength(300);
  });
});

describe('what is wrong is named, and where it is', () => {
  const none = 'id, account, region, material, materials, description, enabled';
  test.each<[object, string]>([
    [{ id: undefined }, 'keys[0].id: is missing'],
    [{ id: 'my-key' }, 'keys[0].id: must be a UUID in lower case'],
    [{ id: ID.toUpperCase() }, 'keys[0].id: must be a UUID in lower case'],
    [{ id: `mrk-${'0'.repeat(32)}` }, 'keys[0].id: must be a UUID in lower case'],
    [{ account: 111122223333 }, 'keys[0].account: must be twelve digits, in quotes'],
    [{ region: 'nowhere' }, 'keys[0].region: must be a region'],
    [{ material: 'short' }, 'keys[0].material: must be 32 bytes in base64 or hex'],
    [{ material: HEX.slice(2) }, 'keys[0].material: must be 32 bytes in base64 or hex'],
    [{ material: 7 }, 'keys[0].material: must be 32 bytes in base64 or hex'],
    [
      { material: HEX, materials: [BASE64.replace('=', '')] },
      'keys[0].materials[0]: must be 32 bytes in base64 or hex',
    ],
    [{ materials: [HEX] }, 'keys[0].material: is missing: what stands in materials is older'],
    [{ material: HEX, materials: [BASE64] }, 'keys[0].materials: has one twice'],
    [{ materail: HEX }, `keys[0].materail: is none of ${none}`],
    [{ enabled: 'yes' }, 'keys[0].enabled: is neither true nor false'],
    [{ rotation: 89 }, 'keys[0].rotation: must be a whole number from 90 to 2560'],
    [{ policy: '{' }, 'keys[0].policy: Syntax errors in policy.'],
    [{ policy: 7 }, 'keys[0].policy: The policy '],
    [{ tags: { team: 7 } }, 'keys[0].tags.team: is not a text'],
    [{ tags: { 'aws:team': '' } }, 'keys[0].tags.aws:team: is no key of a tag'],
    [{ tags: ['team'] }, 'keys[0].tags: is not an object'],
    [{ aliases: ['letters'] }, 'keys[0].aliases[0]: must be alias/ and letters, digits'],
    [{ aliases: ['alias/a', 'alias/aws/s3'] }, 'keys[0].aliases[1]: must be alias/ and letters'],
    [{ grants: [{ operations: ['Decrypt'] }] }, 'keys[0].grants[0].grantee: is missing'],
    [
      { grants: [{ grantee: 'bob', operations: ['Decrypt'] }] },
      'keys[0].grants[0]: ARN does not refer to a valid principal: bob',
    ],
    [
      { grants: [{ grantee: 'arn:aws:iam::111122223333:root', operations: ['Sing'] }] },
      'keys[0].grants[0].operations[0]: is none of ',
    ],
    [
      {
        grants: Array.from({ length: 63 }, () => ({
          grantee: 'arn:aws:iam::111122223333:root',
          operations: ['Decrypt'],
        })),
      },
      'keys[0]: has more materials, aliases and grants than one commit takes',
    ],
    [{ aliases: ['alias/a', 'alias/a'] }, 'keys[0].aliases: has one twice'],
  ])('%j', async (members, sentence) => {
    expect(await refusal(keyOf(members))).toContain(sentence);
  });

  test.each<[string, string]>([
    ['[]', 'it is not an object'],
    ['text', 'it is not an object'],
    ['kyes: []', 'kyes: is none of '],
    ['keys: {}', `keys: is not a list of 0 to ${LIMITS.seed_keys_max} items`],
    ['keys: [7]', 'keys[0]: is not an object'],
    [`keys: [{ id: ${ID} }, { id: ${ID} }]`, 'keys[1].id: is the id of two keys'],
  ])('%s', async (text, sentence) => {
    expect(await refusal(text)).toContain(sentence);
  });

  test.each<[string, string]>([
    [`keys:\n  - material: "${HEX}\n`, 'line 3, column 1: it is neither JSON nor YAML'],
    [`{"keys": [{"material": "${HEX}" "id": 1}]}`, 'line 1, column '],
    [`keys: [*${HEX}]`, 'it has too many aliases of YAML, or one of nothing'],
    [`keys: [{ id: ${ID}, material: "${HEX}x" }]`, 'keys[0].material: must be 32 bytes'],
    [`keys: [{ id: "${HEX}" }]`, 'keys[0].id: must be a UUID'],
    [`keys: [{ id: ${ID}, enabled: "${HEX}" }]`, 'keys[0].enabled: is neither'],
  ])('and never what stands there: %s', async (text, sentence) => {
    const said = await refusal(text);
    expect(said).toContain(sentence);
    expect(said).not.toContain(HEX);
  });

  test('a bomb of YAML aliases', async () => {
    const levels = Array.from({ length: 9 }, (_, at) => {
      const names = Array.from({ length: 9 }, () => `*a${at}`).join(', ');
      return `a${at + 1}: &a${at + 1} [${names}]`;
    });
    const text = ['a0: &a0 [x]', ...levels].join('\n');
    expect(await refusal(text)).toBe('it has too many aliases of YAML, or one of nothing');
  });
});

describe('a file', () => {
  const written = (content: string | Buffer): string => {
    const path = join(temporaryDirectory(), 'seed.yaml');
    writeFileSync(path, content);
    return path;
  };

  test('is read', async () => {
    expect((await readSeed(written(keyOf({})))).keys).toHaveLength(1);
  });

  test('that cannot be read is named', async () => {
    const path = join(temporaryDirectory(), 'absent.yaml');
    const code = 'KeyspanConfig';
    await expect(readSeed(path)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(`The seed ${path} cannot be used: `) as string,
    });
    const wrong = written('keys: 7');
    await expect(readSeed(wrong)).rejects.toMatchObject({
      code,
      message: `The seed ${wrong} cannot be used: keys: is not a list of 0 to 10000 items`,
    });
  });

  test('that is too large is not read', async () => {
    const path = written(Buffer.alloc(LIMITS.seed_file_max_bytes + 1, ' '));
    await expect(readSeed(path)).rejects.toMatchObject({
      message: expect.stringContaining('it has more than ') as string,
    });
  });
});
