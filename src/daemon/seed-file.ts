import { readFileSync, statSync } from 'node:fs';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { FormError, orElse } from '../protocol/form.js';
import { readAccounts, type SeededAccounts } from './seed-accounts.js';
import { members } from './seed-forms.js';
import { readKeys, type SeededKey } from './seed-keys.js';

/**
 * What an installation is to have from its start: docs/ci.md has the file's form. Nothing of its
 * contents is in an error but names of members: it holds secrets.
 */
export interface Seed {
  readonly accounts: SeededAccounts;
  readonly keys: readonly SeededKey[];
}

const seedForm = members({
  accounts: orElse(readAccounts, readAccounts({})),
  keys: orElse(readKeys, []),
});

/**
 * Reads a seed. Key material is in the bytes that it answers, which the caller wipes.
 * @throws KeyspanConfig that says where it is wrong
 */
export async function readSeed(path: string): Promise<Seed> {
  try {
    if (statSync(path).size > LIMITS.seed_file_max_bytes) {
      throw refused(`it has more than ${LIMITS.seed_file_max_bytes} bytes`);
    }
    return await parseSeed(readFileSync(path, 'utf8'));
  } catch (cause) {
    const sentence = (cause as Error).message;
    throw new KeyspanError('KeyspanConfig', `The seed ${path} cannot be used: ${sentence}`, {
      cause,
    });
  }
}

/** @throws KeyspanConfig that says where the text is wrong */
export async function parseSeed(content: string): Promise<Seed> {
  const value = (await parseText(content)) ?? {};
  try {
    return seedForm(value);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    const { path, what } = error;
    throw refused(path.length === 0 ? `it ${what}` : `${pathOf(path)}: ${what}`);
  }
}

const refused = (sentence: string): KeyspanError => new KeyspanError('KeyspanConfig', sentence);

const INDEX = /^\d{1,5}$/;
const NAME_MAX_CHARS = 64;

/** `keys[2].material` */
function pathOf(path: readonly string[]): string {
  return path
    .map((member, at) => {
      if (at > 0 && INDEX.test(member)) return `[${member}]`;
      const name = member.replaceAll(/[^\w:/@+=.-]/g, '?').slice(0, NAME_MAX_CHARS);
      return at === 0 ? name : `.${name}`;
    })
    .join('');
}

/**
 * JSON, or YAML, of which JSON is a part but slow to read as such. What their readers say of a
 * text that they cannot read quotes it, and is left out.
 */
async function parseText(content: string): Promise<unknown> {
  if (content.trimStart().startsWith('{')) {
    try {
      return JSON.parse(content) as unknown;
    } catch {
      // YAML says where
    }
  }
  const { parseDocument } = await import('yaml');
  const document = parseDocument(content, { prettyErrors: false, logLevel: 'silent' });
  const [wrong] = document.errors;
  if (wrong) {
    const { line, col } = lineOf(content, wrong.pos[0]);
    throw refused(`line ${line}, column ${col}: it is neither JSON nor YAML (${wrong.code})`);
  }
  try {
    return document.toJS({ maxAliasCount: LIMITS.seed_keys_max }) as unknown;
  } catch {
    throw refused('it has too many aliases of YAML, or one of nothing');
  }
}

function lineOf(content: string, at: number): { line: number; col: number } {
  const before = content.slice(0, at).split('\n');
  return { line: before.length, col: (before.at(-1) ?? '').length + 1 };
}
