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

  get #isPerson(): boolean {
    return this.#input.isTTY && this.#screen.isTTY;
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
    return await this.line(`${text} `);
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
    const lines = createInterface({ input: this.#input, output, terminal: this.#isPerson });
    lines.on('history', (history: string[]) => {
      if (this.#isSecret) history.shift();
    });
    // Ctrl-C ends the dialogue as Ctrl-D does
    lines.on('SIGINT', () => lines.close());
    return { lines, next: lines[Symbol.asyncIterator]() };
  }

  [Symbol.dispose](): void {
    this.#reader?.lines.close();
  }
}
