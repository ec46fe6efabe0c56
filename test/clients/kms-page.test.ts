import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { packageFile } from '../../src/core/entry.js';
import { KMS_ACTIONS, type KmsAction } from '../../src/protocol/kms.js';
import { DaemonFixture } from '../support/daemon-fixture.js';
import { KmsFixture } from '../support/kms-fixture.js';
import { leastParams } from '../support/least-params.js';
import { blocksOf, RecipeFolder } from '../support/recipes.js';

/** The page that says what KMS does: its commands as they stand there, and its table of actions. */
const PAGE = 'docs/kms.md';
const blocks = [...blocksOf(PAGE, 'sh')];

describe('the commands of the page, one after the other', () => {
  let told: ReadonlyMap<string, string>;
  let daemon: DaemonFixture;
  beforeAll(async () => {
    daemon = await DaemonFixture.start({ hsms: 1, port: 0 });
    using folder = new RecipeFolder(daemon.home.root);
    const script = blocks.map(([heading, own]) => [`echo '## ${heading}'`, ...own].join('\n'));
    const parts = folder.run(script.join('\n')).split(/^## /m);
    told = new Map(
      parts.map((part) => [part.slice(0, part.indexOf('\n')), part.slice(part.indexOf('\n') + 1)]),
    );
  });
  afterAll(async () => {
    await daemon?.[Symbol.asyncDispose]();
  });

  test('encrypt and decrypt', () => {
    const said = told.get('KMS: what is as at AWS, what differs, what is refused');
    expect(said).toBe('dear bob\n');
  });

  test('let a user work within her policy', () => {
    const said = told.get('Who may do what');
    expect(said).toMatch(/^dear bob$/m);
    expect(said).toMatch(/\(AccessDeniedException\).* because no identity-based policy allows /);
    expect(said).toMatch(/refused, as it should be\n$/);
  });

  test('tell why, in the words of the page', () => {
    const said = told.get('Why, in each statement') ?? '';
    expect(said).toMatch(/^ALLOWED: /m);
    const [, text = ''] = /The second one ends with\n\n((?: {4}.*\n|\n)+)/.exec(page()) ?? [];
    const wanted = text.replace(/^ {4}/gm, '').trimEnd().replace(/…$/, '');
    expect(wanted).toMatch(/^DENIED: /m);
    expect(said).toContain(wanted);
  });

  test('grant, and revoke', () => {
    expect(told.get('Grants')).toMatch(/^dear bob$[^]*AccessDeniedException[^]*^revoked\n$/m);
  });

  test('rotate a key, and delete it', () => {
    const said = told.get('Deletion, rotation and the clock');
    expect(said).toMatch(/^dear bob$[^]*"PendingDeletion"[^]*^gone for good$/m);
    expect(said).toContain('The ciphertext refers to a customer master key that does not exist');
  });
});

const page = (): string => readFileSync(packageFile(PAGE), 'utf8');

describe('the table of actions', () => {
  const [, built = '', unbuilt = ''] = page().split(/^\| (?:built|not built) \| \|$/m);
  const names = (text: string): string[] => {
    const rows = text.split('\n\n')[0] ?? '';
    return [...rows.matchAll(/`(\w+)`/g)].map(([, name = '']) => name);
  };

  test('has every action once', () => {
    const listed = [...names(built), ...names(unbuilt)];
    expect(listed.sort()).toEqual(Object.keys(KMS_ACTIONS).sort());
    expect(page()).toContain(`Of the ${listed.length} actions of the API ${names(built).length}`);
  });

  test('says rightly which are built', async () => {
    await using at = await KmsFixture.open();
    const refused: string[] = [];
    for (const action of Object.keys(KMS_ACTIONS) as KmsAction[]) {
      const ended = await at.call(action, leastParams(action)).then(
        () => '',
        (error: unknown) => (error as Error).message,
      );
      if (ended === `Keyspan does not support the ${action} operation.`) refused.push(action);
    }
    expect(names(unbuilt).sort()).toEqual(refused.sort());
  });
});
