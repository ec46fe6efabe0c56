import type { Readable } from 'node:stream';

/** The part of a terminal's output that is needed to draw. */
export interface Output {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

/** A terminal's keyboard. */
export type Keyboard = Readable & { setRawMode?(raw: boolean): unknown };

const ENTER = '\u001b[?1049h\u001b[?25l';
const LEAVE = '\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const END_OF_LINE = '\u001b[K';
const END_OF_SCREEN = '\u001b[J';
/** in raw mode Ctrl-C and Ctrl-D are characters */
const ENDING_KEYS = ['q', 'Q', '\u0003', '\u0004'];
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A terminal that does not know its size says nothing or 0. */
const known = (size: number | undefined, otherwise: number): number =>
  size !== undefined && size > 0 ? size : otherwise;

/** The whole terminal for one picture; disposing gives it back as it was. */
export class Screen implements Disposable {
  readonly #output: Output;
  readonly #keyboard: Keyboard | undefined;
  readonly #ended = new AbortController();
  readonly #end = (): void => this.#ended.abort();
  readonly #leave = (): void => void this.#output.write(LEAVE);

  /** @param keyboard absent where standard input is something else */
  constructor(output: Output, keyboard?: Keyboard) {
    this.#output = output;
    this.#keyboard = keyboard;
    output.write(ENTER);
    // also where the program ends by an error that nobody caught
    process.once('exit', this.#leave);
    for (const signal of SIGNALS) process.once(signal, this.#end);
    keyboard?.setRawMode?.(true);
    keyboard?.on('data', this.#press);
  }

  /** aborted when the user has seen enough: q, Ctrl-C, or a signal */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Shows as much of the text as fits. */
  draw(text: string): void {
    const columns = known(this.#output.columns, 80);
    const rows = known(this.#output.rows, 24);
    const lines = text.split('\n').slice(0, rows);
    const shown = lines.map((line) => line.slice(0, columns) + END_OF_LINE).join('\r\n');
    this.#output.write(HOME + shown + END_OF_SCREEN);
  }

  readonly #press = (pressed: Buffer | string): void => {
    const keys = pressed.toString();
    if (ENDING_KEYS.some((key) => keys.includes(key))) this.#ended.abort();
  };

  [Symbol.dispose](): void {
    process.off('exit', this.#leave);
    for (const signal of SIGNALS) process.off(signal, this.#end);
    this.#keyboard?.off('data', this.#press);
    this.#keyboard?.setRawMode?.(false);
    this.#keyboard?.pause();
    this.#leave();
  }
}
