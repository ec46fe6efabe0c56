import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageFile } from '../src/core/entry.js';
import { ERRORS } from '../src/core/errors.js';
import {
  barrels,
  cycles,
  importsOf,
  nameViolations,
  readFiles,
  sizeViolations,
  undocumented,
  untested,
  wallViolations,
  withoutComments,
  wordViolations,
  type SourceFile,
  type Wall,
} from './support/tidy.js';

const root = packageFile('.').replace(/\/$/, '');
const typescript = ({ path }: SourceFile): boolean => path.endsWith('.ts');
const everything = readFiles(root, ['src', 'test', 'scripts', 'docs', 'native-config', 'softhsm']);
const source = everything.filter(({ path }) => path.startsWith('src/')).filter(typescript);
const tests = everything.filter(({ path }) => path.startsWith('test/')).filter(typescript);
const scripts = everything.filter(({ path }) => path.startsWith('scripts/'));
const pages = ['README.md', 'CHANGELOG.md', 'package.json'].map((path) => ({
  path,
  text: readFileSync(join(root, path), 'utf8'),
}));

const wall = (ours: string, packages = ''): Wall => ({
  ours: ours.split(' ').filter((word) => word !== ''),
  packages: packages.split(' ').filter((word) => word !== ''),
});

/** ARCHITECTURE, section 4. */
const WALLS: Readonly<Record<string, Wall>> = {
  core: wall('', 'pino'),
  protocol: wall('core'),
  store: wall('core', 'better-sqlite3'),
  iam: wall('core protocol store'),
  audit: wall('core', 'prom-client'),
  token: wall('core', 'graphene-pk11 pkcs11js @noble/curves'),
  hsm: wall('core protocol audit'),
  cluster: wall('core protocol store hsm audit', '@peculiar/x509 reflect-metadata'),
  kms: wall('core protocol store iam audit'),
  front: wall('core protocol iam kms cluster audit', 'ws'),
  daemon: wall(
    'core protocol store iam audit hsm cluster kms front',
    'yaml @peculiar/x509 reflect-metadata',
  ),
  client: wall('core protocol', 'ws'),
  cli: wall('core protocol client', 'commander'),
  console: wall('protocol', 'preact uplot'),
};

/** Files of src/hsm that run in the HSM's own process: they alone see the token. */
const HSM_SIDE = /^src\/hsm\/(?!hsm\.|supervisor\.|launch\.|process\.|installer\.|passwords\.)/;

/**
 * Programs that tests start as processes, and folders that are driven as a whole, with the test
 * that does.
 */
const PROGRAMS: Readonly<Record<string, string>> = {
  'src/cli/main.ts': 'test/cli/main.test.ts',
  'src/cli/cloudhsm-cli.ts': 'test/cli/cloudhsm-cli.test.ts',
  'src/cli/cloudhsm/': 'test/cli/cloudhsm-cli.test.ts',
  'src/hsm/main.ts': 'test/hsm/frame-protocol.test.ts',
  'src/hsm/installer.ts': 'test/hsm/frame-protocol.test.ts',
  'src/hsm/install-worker.ts': 'test/hsm/frame-protocol.test.ts',
  'src/hsm/heartbeat-worker.ts': 'test/hsm/process.test.ts',
  'src/daemon/': 'test/daemon/daemon.test.ts',
  'src/front/': 'test/front/websocket.test.ts',
};

const REMINDERS = /\b(?:FIXME|XXX|TODO)\b/;
const PLACES = /\.\.\/shared(?![\w-])|(?<![\w.])\/(?:work|root|Users|home\/(?!runner))\b\/?/;

describe('the project', () => {
  test('keeps its walls', () => {
    const outside = source.filter(({ path }) => !HSM_SIDE.test(path));
    const inside = source.filter(({ path }) => HSM_SIDE.test(path));
    const hsm = WALLS['hsm'] ?? wall('');
    const withToken = { hsm: { ...hsm, ours: [...hsm.ours, 'token'] } };
    const broken = [...wallViolations(outside, WALLS), ...wallViolations(inside, withToken)];
    expect(broken).toEqual([]);
  });

  test('has no circles of imports', () => expect(cycles(source)).toEqual([]));

  test('keeps its sizes', () => {
    const bounds = { lines: 500, columns: 100, exempt: [] };
    expect(sizeViolations([...source, ...tests, ...scripts], bounds)).toEqual([]);
  });

  test('names files for what they are', () => {
    const named = [...source, ...tests].map(({ path }) => path);
    expect(nameViolations(named)).toEqual([]);
    const face = ['src/client/client.ts'];
    expect(barrels(source, face)).toEqual([]);
  });

  test('says what it means', () => {
    const own = (path: string): boolean => /tidy(?:\.test)?\.ts$/.test(path);
    const written = [...everything, ...pages].filter(({ path }) => !own(path));
    expect(wordViolations(written, { banned: REMINDERS, inComments: true })).toEqual([]);
    expect(wordViolations(written, { banned: PLACES, inComments: true })).toEqual([]);
    const code = (banned: RegExp): string[] =>
      wordViolations(source, { banned, inComments: false });
    expect(code(/\bconsole\.log\b/)).toEqual([]);
    expect(code(/(?::|<|\bas)\s*any\b/)).toEqual([]);
    expect(code(/^export default\b/)).toEqual([]);
    expect(code(/^\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?(?:enum|namespace)\s/)).toEqual([]);
  });

  test('has a test for each source file', () => {
    expect(untested(source, tests, PROGRAMS)).toEqual([]);
  });

  test('documents each error code', () => {
    const page = everything.find(({ path }) => path === 'docs/errors.md');
    expect(undocumented(ERRORS, page?.text ?? '')).toEqual([]);
  });
});

/** Each checker is shown what it must not let pass. */
describe('the checks', () => {
  const file = (path: string, text: string): SourceFile => ({ path, text });

  test('see every form of import, and no comment', () => {
    const text = `
      import 'a';
      import type { B } from 'b';
      import {
        C,
      } from './c.js';
      export { D } from "./d.js";
      const e = await import('./e.js');
      // import 'not';
      /* import 'nor'; */
      const f = 'import x';
    `;
    expect(importsOf(text).sort()).toEqual(['./c.js', './d.js', './e.js', 'a', 'b']);
    expect(withoutComments('a // b\n/* c */ "x://y"')).toBe('a \n "x://y"');
  });

  test('see an import through a wall', () => {
    const walls = { a: wall('b', 'ws @x/y'), b: wall('') };
    const files = [
      file(
        'src/a/one.ts',
        "import '../b/two.js';\nimport 'ws';\nimport '@x/y/z';\nimport 'node:fs';",
      ),
      file('src/b/two.ts', "import type { One } from '../a/one.js';"),
      file('src/b/three.ts', "await import('yaml');"),
      file('src/c/four.ts', ''),
    ];
    expect(wallViolations(files, walls)).toEqual([
      'src/b/two.ts: ../a/one.js',
      'src/b/three.ts: yaml',
      'src/c/four.ts: the folder stands in no wall',
    ]);
  });

  test('see a circle', () => {
    const files = [
      file('src/a/one.ts', "import './two.js';"),
      file('src/a/two.ts', "import '../b/three.js';"),
      file('src/b/three.ts', "import type { A } from '../a/one.js';"),
      file('src/b/four.ts', "import './three.js';"),
    ];
    expect(cycles(files)).toEqual(['src/a/one.ts > src/a/two.ts > src/b/three.ts > src/a/one.ts']);
  });

  test('see what is too long', () => {
    const bounds = { lines: 2, columns: 3, exempt: ['table.ts'] };
    const files = [
      file('a.ts', 'abc\nabcd\n'),
      file('b.ts', '\n\n\n'),
      file('table.ts', '1\n2\n3\n'),
    ];
    expect(sizeViolations(files, bounds)).toEqual(['a.ts:2: 4 columns', 'b.ts: 3 lines']);
  });

  test('see a name that says nothing', () => {
    const good = ['src/a/key-ledger.ts', 'test/a/key-ledger.test.ts', 'src/cli/commands/up.ts'];
    const bad = ['src/a/utils.ts', 'src/a/keyLedger.ts', 'src/a/index.ts', 'src/a/b/c/d.ts'];
    expect(nameViolations(good)).toEqual([]);
    expect(nameViolations(bad)).toHaveLength(bad.length);
  });

  test('see words that are banned', () => {
    const files = [file('a.ts', '// TODO later\nconst x: any = 1;\n// x: any')];
    expect(wordViolations(files, { banned: REMINDERS, inComments: true })).toHaveLength(1);
    expect(wordViolations(files, { banned: /: any/, inComments: false })).toHaveLength(1);
    // put together here, so that this file names no such place itself
    const roots = ['work', 'root', 'home'].map((name) => `/${name}/x`);
    const places = [`see ${['..', 'shared', 'x'].join('/')}`, ...roots.map((path) => `at ${path}`)];
    for (const text of places) expect(PLACES.test(text)).toBe(true);
    for (const text of ['workspace/root', 'a/home/x', '/tmp/work'])
      expect(PLACES.test(text)).toBe(false);
  });

  test('see a barrel', () => {
    const files = [
      file('src/a/one.ts', "export * from './two.js';"),
      file('src/a/two.ts', "export type { L } from './three.js';\nexport const x = 1;"),
      file(
        'src/a/four.ts',
        "// all\nexport { x } from './two.js';\nexport type { L } from './two.js';",
      ),
      file('src/a/face.ts', "export { a } from './one.js';"),
    ];
    expect(barrels(files, ['src/a/face.ts'])).toEqual(['src/a/one.ts', 'src/a/four.ts']);
  });

  test('see a file without a test', () => {
    const sources = [
      file('src/a/one.ts', "import './two.js';\nimport '../b/four.js';"),
      file('src/a/two.ts', 'export const a = 1;'),
      file('src/a/three.ts', 'export function b() {}'),
      file('src/a/shapes.ts', 'export interface Shape {\n  readonly const: 1;\n}'),
      file('src/b/four.ts', 'class C {}'),
      file('src/b/main.ts', 'await start();'),
    ];
    const suites = [
      file('test/a/one.test.ts', "import '../support/parts.js';"),
      file('test/support/parts.ts', "import { x } from '../../src/a/one.js';"),
    ];
    const programs = { 'src/b/main.ts': 'test/b/main.test.ts' };
    expect(untested(sources, suites, {})).toEqual([
      'src/a/three.ts',
      'src/b/four.ts',
      'src/b/main.ts',
    ]);
    expect(untested(sources, suites, programs)).toHaveLength(3);
    const driver = [...suites, file('test/scripts/all.test.ts', '')];
    const folders = { 'src/b/': 'test/scripts/all.test.ts' };
    expect(untested(sources, driver, folders)).toEqual(['src/a/three.ts']);
  });

  test('see an error that is not documented, or not so', () => {
    const page = '| `A` | one |\n| `B` | other |\n| `Gone` | x |\n';
    expect(undocumented({ A: 'one', B: 'two', C: 'three' }, page)).toEqual(['B', 'C', 'Gone']);
  });
});
