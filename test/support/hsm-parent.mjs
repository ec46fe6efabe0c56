/**
 * A daemon of a few lines: starts the HSM of its argument (a launch line in JSON), prints the
 * process's pid once it listens, and waits to be killed.
 */
import { HsmProcess } from '../../dist/hsm/process.js';

const launch = JSON.parse(process.argv[2] ?? '');
const child = new HsmProcess({
  launch,
  events: {
    launched: (line) => process.stdout.write(`${'failed' in line ? line.message : child.pid}\n`),
    exited: () => process.exit(1),
    silent: () => undefined,
    heard: () => undefined,
  },
});
