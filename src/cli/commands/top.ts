import { monotonic } from '../../core/clock.js';
import { pause } from '../../core/deadline.js';
import { findHome, type Home } from '../../core/home.js';
import { callAdmin, fetchMetrics } from '../admin-client.js';
import { readMetrics } from '../metrics-text.js';
import { EXIT, print } from '../output.js';
import { Screen } from '../screen.js';
import type { SharedOptions } from '../global-options.js';
import { frameOf, frameText, type Frame, type Observation } from '../top-frame.js';

const INTERVAL_MS = 1_000;

/** A live view of the cluster: a picture each second, a line of JSON each second, or one frame. */
export async function top(options: SharedOptions & { readonly once?: boolean }): Promise<number> {
  const home = findHome(options.home);
  if (options.json) {
    for await (const frame of frames(home, new AbortController().signal)) {
      print(JSON.stringify(frame));
      if (options.once) break;
    }
  } else if (options.once || !process.stdout.isTTY) {
    for await (const frame of frames(home, new AbortController().signal)) {
      print(frameText(frame));
      break;
    }
  } else {
    await watch(home);
  }
  return EXIT.ok;
}

async function watch(home: Home): Promise<void> {
  const { stdin, stdout } = process;
  using screen = new Screen(stdout, stdin.isTTY ? stdin : undefined);
  screen.draw('…');
  for await (const frame of frames(home, screen.ended)) {
    screen.draw(`${frameText(frame)}\n\nq ends`);
  }
}

/** A frame for each interval until the signal. @throws as `callAdmin`, when the daemon is gone */
async function* frames(home: Home, signal: AbortSignal): AsyncGenerator<Frame> {
  let before = await observe(home);
  for (;;) {
    await pause(INTERVAL_MS, signal);
    if (signal.aborted) return;
    const after = await observe(home);
    yield frameOf(before, after);
    before = after;
  }
}

async function observe(home: Home): Promise<Observation> {
  const [status, text] = await Promise.all([callAdmin(home, 'Status'), fetchMetrics(home)]);
  return { at: monotonic(), status, samples: readMetrics(text) };
}
