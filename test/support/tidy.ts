import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

/** A file by its path from the project's root, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** What a folder of src may know: folders of ours, and packages. */
export interface Wall {
  readonly ours: readonly string[];
  readonly packages: readonly string[];
}

/** Every file below `folders`, read. */
export function readFiles(root: string, folders: readonly string[]): SourceFile[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => {
        const full = join(entry.parentPath, entry.name);
        const path = full.slice(root.length).replaceAll('\\', '/').replace(/^\//, '');
        return { path, text: readFileSync(full, 'utf8') };
      }),
  );
}

/** The text without comments; strings that look like comments are rare enough to lose. */
export const withoutComments = (text: string): string =>
  text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '$1');

const IMPORTS = [
  /^\s*(?:import|export)\s[^;'"]*?\bfrom\s+['"]([^'"]+)['"]/gm,
  /^\s*import\s+['"]([^'"]+)['"]/gm,
  /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g,
];

/** What a file imports, in any way, also types and lazily. */
export function importsOf(text: string): string[] {
  const code = withoutComments(text);
  return IMPORTS.flatMap((form) => [...code.matchAll(form)].map((match) => match[1] ?? ''));
}

/** The path of a file of ours that `specifier` means in `from`; undefined for packages. */
export function resolveImport(from: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return normalize(join(dirname(from), specifier)).replace(/\.js$/, '.ts');
}

const folderOf = (path: string): string => path.split('/')[1] ?? '';

/** `@scope/name/part` and `name/part` are parts of `@scope/name` and `name`. */
const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

/** Imports that go through a wall (ARCHITECTURE, section 4). */
export function wallViolations(
  files: readonly SourceFile[],
  walls: Readonly<Record<string, Wall>>,
): string[] {
  return files.flatMap(({ path, text }) => {
    const folder = folderOf(path);
    const wall = walls[folder];
    if (!wall) return [`${path}: the folder stands in no wall`];
    return importsOf(text).flatMap((specifier) => {
      if (specifier.startsWith('node:')) return [];
      const target = resolveImport(path, specifier);
      const allowed =
        target === undefined
          ? wall.packages.includes(packageOf(specifier))
          : folderOf(target) === folder || wall.ours.includes(folderOf(target));
      return allowed ? [] : [`${path}: ${specifier}`];
    });
  });
}

/** Circles of imports, each once, as the paths on it. */
export function cycles(files: readonly SourceFile[]): string[] {
  const edges = graph(files);
  const state = new Map<string, 'open' | 'done'>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      found.push([...trail.slice(trail.indexOf(path)), path].join(' > '));
      return;
    }
    state.set(path, 'open');
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    state.set(path, 'done');
  };
  for (const { path } of files) visit(path, []);
  return found;
}

function graph(files: readonly SourceFile[]): Map<string, string[]> {
  return new Map(
    files.map(({ path, text }) => [
      path,
      importsOf(text).flatMap((specifier) => resolveImport(path, specifier) ?? []),
    ]),
  );
}

const columns = (line: string): number => Array.from(line).length;

/** Files and lines that are too long. */
export function sizeViolations(
  files: readonly SourceFile[],
  bounds: { lines: number; columns: number; exempt: readonly string[] },
): string[] {
  return files.flatMap(({ path, text }) => {
    const lines = text.replace(/\n$/, '').split('\n');
    const long = lines.flatMap((line, at) =>
      columns(line) > bounds.columns ? [`${path}:${at + 1}: ${columns(line)} columns`] : [],
    );
    const tall = lines.length > bounds.lines && !bounds.exempt.includes(path);
    return tall ? [`${path}: ${lines.length} lines`, ...long] : long;
  });
}

const KEBAB = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test)?\.(?:ts|mjs|sh|json)$/;
const BANNED_NAMES = /^(?:utils?|helpers?|common|misc|types|index|managers?)\./;

/** Names that say nothing or are written otherwise, and folders that are too deep. */
export function nameViolations(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    const name = path.split('/').at(-1) ?? '';
    if (BANNED_NAMES.test(name)) return [`${path}: says nothing`];
    if (!KEBAB.test(name)) return [`${path}: not kebab-case`];
    return path.split('/').length > 4 ? [`${path}: too deep`] : [];
  });
}

/** Lines of code (not of comments, for `pattern.code`) that hold what is banned. */
export function wordViolations(
  files: readonly SourceFile[],
  pattern: { readonly banned: RegExp; readonly inComments: boolean },
): string[] {
  return files.flatMap(({ path, text }) => {
    const searched = pattern.inComments ? text : withoutComments(text);
    const found = searched.split('\n').filter((line) => pattern.banned.test(line));
    return found.map((line) => `${path}: ${line.trim()}`);
  });
}

/** Files that only gather other files' names, or pass on all of them; `faces` may. */
export function barrels(files: readonly SourceFile[], faces: readonly string[]): string[] {
  const passing = /^\s*export\s[^;'"]*?\bfrom\s+['"]\.[^'"]*['"];?/gm;
  const all = /^\s*export\s+(?:type\s+)?\*/m;
  return files
    .filter(({ path, text }) => {
      const code = withoutComments(text);
      const rest = code.replaceAll(passing, '').trim();
      return !faces.includes(path) && (all.test(code) || (rest === '' && code.trim() !== ''));
    })
    .map(({ path }) => path);
}

/** Code that runs: a file without any holds only shapes, and there is nothing to test. */
const RUNS = /^(?:export\s+)?(?:async\s+)?(?:const|let|function|class|if|await|for|process)\b/m;

/**
 * Source files that no test of their own folder loads, be it through the tests' own support and
 * other files of that folder. Files that hold only shapes need none.
 * `programs` are files that tests start as processes, or folders (ending in a slash) that a suite
 * of another folder drives, each with the test that does.
 */
export function untested(
  sources: readonly SourceFile[],
  tests: readonly SourceFile[],
  programs: Readonly<Record<string, string>>,
): string[] {
  const edges = graph(sources);
  const covered = new Set<string>();
  const cover = (path: string): void => {
    if (covered.has(path) || !edges.has(path)) return;
    covered.add(path);
    for (const next of edges.get(path) ?? []) if (folderOf(next) === folderOf(path)) cover(next);
  };
  const loads = graph(tests);
  for (const { path } of tests.filter((file) => file.path.endsWith('.test.ts'))) {
    const folder = folderOf(path);
    for (const target of loadedBy(path, loads)) {
      if (folderOf(target) === folder || folder === 'conformance') cover(target);
    }
  }
  const meant = (program: string): string[] =>
    [...edges.keys()].filter(
      (path) => path === program || (program.endsWith('/') && path.startsWith(program)),
    );
  const missing = Object.entries(programs).filter(
    ([program, test]) => meant(program).length === 0 || !tests.some(({ path }) => path === test),
  );
  for (const program of Object.keys(programs)) for (const path of meant(program)) cover(path);
  const bare = sources.filter(({ path, text }) => {
    return !covered.has(path) && RUNS.test(withoutComments(text));
  });
  return [
    ...bare.map(({ path }) => path),
    ...missing.map(([program, test]) => `${program}: neither it nor ${test} may be missing`),
  ];
}

/** What a test imports, itself or through other test files. */
function loadedBy(path: string, edges: ReadonlyMap<string, readonly string[]>): Set<string> {
  const seen = new Set<string>();
  const follow = (at: string): void => {
    for (const next of edges.get(at) ?? []) {
      if (seen.has(next)) continue;
      seen.add(next);
      follow(next);
    }
  };
  follow(path);
  return seen;
}

/** Codes that the page does not explain as the table does, and rows of codes that are gone. */
export function undocumented(codes: Readonly<Record<string, string>>, page: string): string[] {
  const rows = [...page.matchAll(/^\| `(\w+)` \| (.+) \|$/gm)];
  const written = new Map(rows.map(([, code = '', sentence = '']) => [code, sentence]));
  const wrong = Object.entries(codes).filter(([code, text]) => written.get(code) !== text);
  const gone = [...written.keys()].filter((code) => !Object.hasOwn(codes, code));
  return [...wrong.map(([code]) => code), ...gone];
}
