import { DecryptCommand, EncryptCommand, KMSClient } from '@aws-sdk/client-kms';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { keyspan, type Outcome } from '../support/command.js';
import { DaemonFixture } from '../support/daemon-fixture.js';

/** Two homes with one seed, as two runs of a pipeline have them. */
const ID = '1234abcd-12ab-34cd-56ef-1234567890ab';
const MATERIAL = randomBytes(32);
const OLDER = randomBytes(32);
const SECRET = randomBytes(20).toString('hex');
const directory = mkdtempSync(join(tmpdir(), 'keyspan-seed-'));

const written = (name: string, content: unknown): string => {
  const path = join(directory, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
};
const SEED = written(
  'seed.yaml',
  `accounts:
  '123456789012':
    users:
      - name: bob
        accessKeys: [{ id: AKIDBOB, secret: ${SECRET} }]
keys:
  - id: ${ID}
    material: ${MATERIAL.toString('base64')}
    materials: ['${OLDER.toString('hex')}']
    aliases: [alias/letters]
    tags: { team: post }
    grants:
      - { grantee: 'arn:aws:iam::123456789012:user/bob', operations: [Encrypt] }
`,
);

let one: DaemonFixture;
let other: DaemonFixture;
beforeAll(async () => {
  const started = [{ hsms: 2 }, { hsms: 1 }].map((hsms) =>
    DaemonFixture.start({ ...hsms, port: 0, seed: SEED }),
  );
  [one, other] = (await Promise.all(started)) as [DaemonFixture, DaemonFixture];
});
afterAll(async () => {
  await Promise.all([one, other].map((fixture) => fixture?.[Symbol.asyncDispose]()));
  rmSync(directory, { recursive: true, force: true });
});

const up = (seed: string): Promise<Outcome> =>
  keyspan(['up', '--detach', '--port', '0', '--seed', seed], { home: one.home.root });
const failure = ({ stderr }: Outcome): unknown =>
  JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '') as unknown;

test('a ciphertext of one home opens in another', async () => {
  const [here, there] = [await one.client(), await other.client()];
  const Plaintext = Buffer.from('a letter');
  const { CiphertextBlob, KeyId } = await here.kms.encrypt({ KeyId: 'alias/letters', Plaintext });
  expect(KeyId).toMatch(new RegExp(`:key/${ID}$`));
  const opened = await there.kms.decrypt({ CiphertextBlob });
  expect(Buffer.from(opened.Plaintext).toString()).toBe('a letter');
});

test('a user of the seed comes in by its access key, and may what its grant says', async () => {
  const { endpoints, region } = await one.status();
  const credentials = { accessKeyId: 'AKIDBOB', secretAccessKey: SECRET };
  const bob = new KMSClient({ endpoint: endpoints.aws, region, credentials });
  const KeyId = 'alias/letters';
  const Plaintext = Buffer.from('x');
  const { CiphertextBlob } = await bob.send(new EncryptCommand({ KeyId, Plaintext }));
  const decrypt = bob.send(new DecryptCommand({ CiphertextBlob }));
  await expect(decrypt).rejects.toMatchObject({ name: 'AccessDeniedException' });
  bob.destroy();
});

test('a daemon that runs makes what is new, and says how much that was', async () => {
  const id = '1234abcd-12ab-34cd-56ef-1234567890ac';
  const keys = [{ id: ID, material: MATERIAL.toString('hex') }, { id }];
  const outcome = await up(written('more.json', { keys }));
  expect(outcome.stderr).toContain('The seed is sown: 1 keys were made, 1 were there.');
  expect(outcome.code).toBe(0);
  const client = await one.client();
  await client.kms.encrypt({ KeyId: id, Plaintext: Buffer.from('x') });
});

describe('a seed that cannot be used is refused, in words that name its place', () => {
  const wrongKey = (): string => written('other.json', { keys: [{ id: ID, material: 'x' }] });
  const otherKey = (): string =>
    written('other.json', { keys: [{ id: ID, material: randomBytes(32).toString('hex') }] });

  test('by a daemon that runs', async () => {
    const outcome = await up(otherKey());
    expect(outcome.code).toBe(254);
    expect(failure(outcome)).toMatchObject({
      error: {
        code: 'KeyspanConfig',
        message: expect.stringMatching(
          new RegExp(`^The seed cannot be used: keys\\[0\\]: The key ${ID} exists with other `),
        ) as string,
      },
    });
  });

  test('by one that starts, which then does not', async () => {
    await one.down();
    const wrong = await up(wrongKey());
    expect(wrong.code).toBe(1);
    const sentence = 'other.json cannot be used: keys[0].material: must be 32 bytes in base64';
    expect(failure(wrong)).toMatchObject({
      error: { message: expect.stringContaining(sentence) as string },
    });
    const another = await up(otherKey());
    expect(another.code).toBe(1);
    expect(failure(another)).toMatchObject({ error: { code: 'KeyspanConfig' } });
    const absent = await up(join(directory, 'absent.yaml'));
    expect(absent.code).toBe(252);
    await one.up({ port: 0, seed: SEED });
    const client = await one.client();
    await client.kms.encrypt({ KeyId: 'alias/letters', Plaintext: Buffer.from('x') });
  });
});

test('what is secret in a seed stands in no file of the home', () => {
  const files = [one, other].flatMap(({ home }) =>
    readdirSync(home.root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  expect(files.some((path) => path.endsWith('.jsonl'))).toBe(true);
  for (const path of files) {
    const content = readFileSync(path);
    for (const secret of [MATERIAL, OLDER]) {
      const forms = [secret, secret.toString('hex'), secret.toString('base64')];
      expect(content.includes(SECRET), path).toBe(false);
      expect(
        forms.map((form) => content.includes(form)),
        path,
      ).toEqual([false, false, false]);
    }
  }
});
