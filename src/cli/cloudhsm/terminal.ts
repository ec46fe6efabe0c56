import { createInterface, type Interface } from 'node:readline';
import { Writable } from 'node:stream';

/**
 * Lines of standard input, from a person or from a pipe. What a person sees goes to standard
 * error: standard output is for answers alone.
 */
export class Terminal implements Disposable {
  readonly #input = process.stdin;
  readonly #screen = process.stderr;
  /** what is typed is neither shown nor remembered */
  #isSecret = false;
  #reader: { lines: Interface; next: AsyncIterator<string> } | undefined;
  /** what was typed, the newest first; secrets and answers to questions are none of it */
  #history: readonly string[] = [];
  #isQuestion = false;
  /** where it is kept; undefined: it is not */
  #keep: ((lines: readonly string[]) => void) | undefined;

  get #isPerson(): boolean {
    return this.#input.isTTY && this.#screen.isTTY;
  }

  /**
   * From the first line on.
   * @param history of earlier dialogues, and where this one's is kept
   */
  remember(history: {
    readonly lines: readonly string[];
    readonly keep: (lines: readonly string[]) => void;
  }): void {
    this.#history = history.lines;
    this.#keep = history.keep;
  }

  /** The next line, or undefined at the end. A prompt is shown to a person alone. */
  async line(prompt: string): Promise<string | undefined> {
    const { lines, next } = this.#open();
    if (this.#isPerson) {
      lines.setPrompt(prompt);
      lines.prompt();
    }
    const read = await next.next();
    return read.done ? undefined : read.value;
  }

  /** A line that is asked for, or undefined at the end. */
  async question(text: string): Promise<string | undefined> {
    this.#isQuestion = true;
    try {
      return await this.line(`${text} `);
    } finally {
      this.#isQuestion = false;
    }
  }

  /** A line that is not shown, or undefined at the end. Who pipes it sees no question either. */
  async secret(question: string): Promise<string | undefined> {
    this.#open();
    if (this.#isPerson) this.#screen.write(`${question} `);
    this.#isSecret = true;
    try {
      return await this.line('');
    } finally {
      this.#isSecret = false;
      if (this.#isPerson) this.#screen.write('\n');
    }
  }

  #open(): { lines: Interface; next: AsyncIterator<string> } {
    this.#reader ??= this.#start();
    return this.#reader;
  }

  #start(): { lines: Interface; next: AsyncIterator<string> } {
    const screen = this.#screen;
    const output = new Writable({
      write: (chunk: Buffer, _encoding, written) => {
        if (this.#isSecret) written();
        else screen.write(chunk, () => written());
      },
    });
    // where the reader learns how long a line may be
    Object.defineProperty(output, 'columns', { get: () => screen.columns });
    const terminal = this.#isPerson;
    const history = [...this.#history];
    const lines = createInterface({ input: this.#input, output, terminal, history });
    lines.on('history', (entered: string[]) => {
      if (this.#isSecret || this.#isQuestion) entered.shift();
      this.#history = [...entered];
    });
    // as in a shell: what was typed is given up; with nothing typed the dialogue ends, as by Ctrl-D
    lines.on('SIGINT', () => {
      if (lines.line === '') return lines.close();
      lines.write('', { ctrl: true, name: 'e' });
      lines.write('', { ctrl: true, name: 'u' });
    });
    return { lines, next: lines[Symbol.asyncIterator]() };
  }

  [Symbol.dispose](): void {
    if (this.#isPerson && this.#reader) this.#keep?.(this.#history);
    this.#reader?.lines.close();
  }
}
