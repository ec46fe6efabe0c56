import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { splitWords } from '../../src/cli/cloudhsm/words.js';
import { packageFile } from '../../src/core/entry.js';

/**
 * A transcript is what CloudHSM's documentation shows of its command line: `aws-cloudhsm > ` and a
 * command, or `$ ` and one of the shell, and what they answer. `< ` is a line that is typed into a
 * dialogue, `#` a comment, and a command that ends in ` \` goes on in the next line.
 *
 * What an answer may be is JSON in which `"<kind>"` stands for any value of that kind,
 * `"<name=kind>"` also remembers it, and `"...": ""` lets an object have more members; where it is
 * not JSON, it is a part of what is printed. `{name}` in a command or an answer is what was
 * remembered.
 */
export interface Step {
  readonly line: number;
  readonly kind: 'command' | 'shell';
  readonly text: string;
  /** what is done while the command asks */
  readonly dialogue: readonly { readonly kind: 'type' | 'shell'; readonly text: string }[];
  readonly answer: string;
}

const STEP = /^(?:\S+ > |(\$) )(.*)$/;

export function readTranscript(text: string): Step[] {
  const steps: { -readonly [K in keyof Step]: Step[K] }[] = [];
  const joined = text.replaceAll(/ \\\n\s*/g, ' ');
  for (const [at, line] of joined.split('\n').entries()) {
    if (line.startsWith('#')) continue;
    const last = steps.at(-1);
    if (last && line.startsWith('<')) {
      last.dialogue = [...last.dialogue, { kind: 'type', text: line.slice(1).trim() }];
      continue;
    }
    const [, shell, words = ''] = STEP.exec(line) ?? [];
    const isMeanwhile = last !== undefined && line.startsWith('$$ ');
    if (isMeanwhile) {
      last.dialogue = [...last.dialogue, { kind: 'shell', text: line.slice('$$ '.length) }];
    } else if (STEP.test(line)) {
      const kind = shell === undefined ? 'command' : 'shell';
      steps.push({ line: at + 1, kind, text: words, dialogue: [], answer: '' });
    } else if (last) {
      last.answer += `${line}\n`;
    }
  }
  return steps;
}

/** The words of every command of the program in a transcript. */
export function commandsOf(steps: readonly Step[]): string[][] {
  return steps.flatMap(({ kind, text }) => {
    const typed = kind === 'command' ? text : /cloudhsm-cli ([^|>;&]*)/.exec(text)?.[1];
    return typed === undefined ? [] : [splitWords(typed)];
  });
}

const KINDS: Readonly<Record<string, (value: unknown) => boolean>> = {
  reference: (value) => /^0x[0-9a-f]{16}$/.test(String(value)),
  hex: (value) => /^0x(?:[0-9a-f]{2})*$/.test(String(value)),
  base64: (value) => /^[A-Za-z0-9+/]+={0,2}$/.test(String(value)),
  text: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
};

const run = promisify(execFile);

/** Where transcripts are played: a folder for their files, and what they remember. */
export class Stage implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'keyspan-transcript-'));
  readonly #known: Map<string, string>;
  readonly #env: NodeJS.ProcessEnv;
  #program: ChildProcess | undefined;
  /** its exit code, once it has ended */
  #ended: Promise<number | null> = Promise.resolve(null);
  #printed = '';

  constructor(home: string, known: Readonly<Record<string, string>>) {
    this.#known = new Map(Object.entries(known));
    const bin = join(this.#folder, 'bin');
    mkdirSync(bin);
    symlinkSync(packageFile('dist/cli/cloudhsm-cli.cjs'), join(bin, 'cloudhsm-cli'));
    symlinkSync(packageFile('dist/cli/keyspan.cjs'), join(bin, 'keyspan'));
    symlinkSync(packageFile('test/scripts/sign-tokens.sh'), join(bin, 'sign-tokens'));
    const path = [bin, process.env['PATH']].join(delimiter);
    this.#env = { ...process.env, PATH: path, KEYSPAN_HOME: home };
  }

  async play(name: string, steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      const { text, answer } = step;
      const place = `${name}:${step.line}: ${text}`;
      const printed = step.kind === 'shell' ? await this.#shell(text) : await this.#command(step);
      this.#compare(this.#fill(answer).trim(), printed.trim(), place);
    }
    await this.#end();
  }

  /** `{name}` is what was remembered. */
  #fill(text: string): string {
    return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => this.#known.get(name) ?? whole);
  }

  async #shell(text: string): Promise<string> {
    const options = { env: this.#env, cwd: this.#folder };
    const script = this.#fill(text);
    try {
      return (await run('bash', ['-euo', 'pipefail', '-c', script], options)).stdout;
    } catch (error) {
      // what the program refuses, it refuses in its answer
      const { stdout = '', stderr } = error as { stdout?: string; stderr?: string };
      if (stdout.trim() === '') throw new Error(`${script}: ${stderr}`, { cause: error });
      return stdout;
    }
  }

  async #command({ text, dialogue }: Step): Promise<string> {
    const program = this.#start();
    const line = this.#fill(text);
    program.stdin?.write(`${line}\n`);
    for (const turn of dialogue) {
      if (turn.kind === 'shell') await this.#shell(turn.text);
      else program.stdin?.write(`${this.#fill(turn.text)}\n`);
    }
    if (line === 'quit') {
      await this.#end();
      return this.#printed;
    }
    return await this.#document(program);
  }

  #start(): ChildProcess {
    if (this.#program) return this.#program;
    const options = { env: this.#env, cwd: this.#folder };
    const program = spawn(join(this.#folder, 'bin', 'cloudhsm-cli'), ['interactive'], options);
    this.#printed = '';
    program.stdout.on('data', (chunk: Buffer) => (this.#printed += chunk.toString()));
    this.#ended = new Promise((resolve) => program.once('close', resolve));
    return (this.#program = program);
  }

  /** What is printed until a document is whole. */
  async #document(program: ChildProcess): Promise<string> {
    for (;;) {
      const end = this.#printed.indexOf('\n}\n');
      if (end >= 0) {
        const document = this.#printed.slice(0, end + 2);
        this.#printed = this.#printed.slice(end + 3);
        return document;
      }
      const more = program.stdout ? once(program.stdout, 'data') : undefined;
      const over = this.#ended.then(() => 'over' as const);
      if ((await Promise.race([more, over])) === 'over') throw new Error(this.#printed);
    }
  }

  #compare(expected: string, printed: string, place: string): void {
    if (!expected.startsWith('{')) return expect.soft(printed, place).toContain(expected);
    const actual: unknown = JSON.parse(printed);
    expect.soft(actual, place).toEqual(this.#resolve(JSON.parse(expected), actual));
  }

  /** What was expected, with what stands for others replaced by what fits. */
  #resolve(expected: unknown, actual: unknown): unknown {
    if (typeof expected === 'string') return this.#resolveText(expected, actual);
    if (Array.isArray(expected)) {
      const others = Array.isArray(actual) ? (actual as unknown[]) : [];
      return expected.map((one, at) => this.#resolve(one, others[at]));
    }
    if (typeof expected !== 'object' || expected === null) return expected;
    const has = Object(actual) as Record<string, unknown>;
    const { '...': more, ...members } = expected as Record<string, unknown>;
    const resolved = Object.entries(members).map(
      ([name, value]) => [name, this.#resolve(value, has[name])] as const,
    );
    return { ...(more !== undefined && has), ...Object.fromEntries(resolved) };
  }

  #resolveText(expected: string, actual: unknown): unknown {
    const [, name, kind = ''] = /^<(?:(\w+)=)?(\w+)>$/.exec(expected) ?? [];
    if (!KINDS[kind]?.(actual)) return expected;
    if (name !== undefined) this.#known.set(name, String(actual));
    return actual;
  }

  async #end(): Promise<void> {
    const program = this.#program;
    this.#program = undefined;
    if (!program) return;
    program.stdin?.end();
    expect(await this.#ended).toBe(0);
  }

  [Symbol.dispose](): void {
    this.#program?.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const FOLDER = 'test/scripts/transcripts';
export const transcript = (name: string): Step[] =>
  readTranscript(readFileSync(packageFile(`${FOLDER}/${name}.txt`), 'utf8'));
