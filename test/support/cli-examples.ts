import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

/** One block of commands of the AWS CLI's manual, as it stands there. */
export interface CliExample {
  /** the page and which of its blocks that run `aws` it is, from 1: `create-key 2` */
  readonly name: string;
  readonly script: string;
  /** the block that shows what is answered; it is seldom good JSON */
  readonly output: string | undefined;
  /** files that the page shows the contents of */
  readonly files: ReadonlyMap<string, string>;
}

/** Where the examples are that came with an `aws` program: beside its package. */
const ASK = 'import awscli; print(awscli.__path__[0])';

/** The folder of a service's examples. @throws Error when /usr/bin/aws has none with it */
export function examplesFolder(service: string): string {
  const [first = ''] = readFileSync('/usr/bin/aws', 'utf8').split('\n');
  const [interpreter = '', ...args] = first.replace(/^#!\s*/, '').split(/\s+/);
  const options = { encoding: 'utf8' } as const;
  const folder = execFileSync(interpreter, [...args, '-c', ASK], options).trim();
  const path = join(folder, 'examples', service);
  if (!existsSync(path)) throw new Error(`no examples in ${path}: apt-get install awscli`);
  return path;
}

/** The blocks that run `aws SERVICE`, in the order of the pages; those for Windows are left out. */
export function cliExamples(service: string): readonly CliExample[] {
  const folder = examplesFolder(service);
  return readdirSync(folder)
    .filter((file) => file.endsWith('.rst'))
    .sort()
    .flatMap((file) =>
      examplesOf(readFileSync(join(folder, file), 'utf8'), basename(file, '.rst')),
    );
}

/** The examples of one page. */
export function examplesOf(page: string, name: string): readonly CliExample[] {
  const blocks = blocksOf(page);
  const files = new Map(
    blocks.flatMap(({ before, text }) => {
      const [, file] = /^Contents of ``(.+)``::$/.exec(before) ?? [];
      return file === undefined ? [] : [[file, text] as const];
    }),
  );
  const command = new RegExp(`^(?:\\$ )?(?:aws )?(?:kms )?${name} |^(?:\\$ )?aws kms `, 'm');
  return blocks
    .map((block, at) => ({ ...block, next: blocks[at + 1]?.text }))
    .filter(({ text, heading }) => command.test(text) && !heading.includes('Windows'))
    .map(({ text, next }, at) => ({
      name: `${name} ${at + 1}`,
      script: text,
      output: next?.startsWith('{') ? next : undefined,
      files,
    }));
}

/** The names of members that an output shows, at any depth. */
export function membersShown(output: string): ReadonlySet<string> {
  return new Set([...output.matchAll(/"(\w+)"\s*:/g)].map(([, name = '']) => name));
}

interface Block {
  /** the last line in bold: what the example is for */
  readonly heading: string;
  /** the line that ends in `::` */
  readonly before: string;
  readonly text: string;
}

/** The literal blocks of a page in reStructuredText. */
function blocksOf(page: string): Block[] {
  const blocks: Block[] = [];
  let heading = '';
  let before: string | undefined;
  let lines: string[] = [];
  const end = (): void => {
    const margin = /^ */.exec(lines.find((line) => line.trim() !== '') ?? '')?.[0].length ?? 0;
    const text = lines
      .map((line) => line.slice(margin))
      .join('\n')
      .trim();
    if (before !== undefined && text !== '') blocks.push({ heading, before, text });
    [before, lines] = [undefined, []];
  };
  // some pages have the ends of lines of Windows
  for (const line of page.split(/\r?\n/)) {
    if (before !== undefined && /^(?:\s|$)/.test(line)) lines.push(line);
    else {
      if (before !== undefined) end();
      if (line.startsWith('**')) heading = line;
      if (line.trimEnd().endsWith('::')) before = line.trimEnd();
    }
  }
  end();
  return blocks;
}
