import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { Screen, type Keyboard } from '../../src/cli/screen.js';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP', 'exit'] as const;

class Terminal {
  columns = 10;
  rows = 3;
  written = '';
  raw = false;
  readonly keyboard: Keyboard = Object.assign(new PassThrough(), {
    setRawMode: (raw: boolean) => {
      this.raw = raw;
    },
  });

  write(text: string): void {
    this.written += text;
  }
}

const listeners = (): number[] => SIGNALS.map((name) => process.listenerCount(name));

test('the terminal is given back as it was', () => {
  const terminal = new Terminal();
  const before = listeners();
  {
    using screen = new Screen(terminal, terminal.keyboard);
    expect(terminal.raw).toBe(true);
    expect(screen.ended.aborted).toBe(false);
    expect(terminal.written).toBe('\u001b[?1049h\u001b[?25l');
    terminal.written = '';
  }
  expect(terminal.written).toBe('\u001b[?25h\u001b[?1049l');
  expect(terminal.raw).toBe(false);
  expect(terminal.keyboard.listenerCount('data')).toBe(0);
  expect(listeners()).toEqual(before);
});

test('a picture is cut to what fits, and overwrites the one before', () => {
  const terminal = new Terminal();
  using screen = new Screen(terminal);
  terminal.written = '';
  screen.draw('0123456789abc\nsecond\nthird\nfourth');
  const lines = ['0123456789', 'second', 'third'].map((line) => `${line}\u001b[K`);
  expect(terminal.written).toBe(`\u001b[H${lines.join('\r\n')}\u001b[J`);
});

test('a terminal without a size is a small one', () => {
  const terminal = new Terminal();
  Object.assign(terminal, { columns: 0, rows: 0 });
  using screen = new Screen(terminal);
  screen.draw('x'.repeat(100));
  expect(terminal.written).toContain('x'.repeat(80));
  expect(terminal.written).not.toContain('x'.repeat(81));
});

test.each(['q', 'Q', '\u0003', '\u0004'])('%j ends it', async (key) => {
  const terminal = new Terminal();
  using screen = new Screen(terminal, terminal.keyboard);
  const ended = new Promise((resolve) => screen.ended.addEventListener('abort', resolve));
  terminal.keyboard.emit('data', Buffer.from('x'));
  expect(screen.ended.aborted).toBe(false);
  terminal.keyboard.emit('data', Buffer.from(`x${key}`));
  await ended;
});

test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s ends it', (signal) => {
  using screen = new Screen(new Terminal());
  process.emit(signal, signal);
  expect(screen.ended.aborted).toBe(true);
});
