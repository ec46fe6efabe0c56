import type { Command } from 'commander';
import { usage } from './context.js';
import { leaf } from './tree.js';

/** A command of CloudHSM's that cannot be done here: it says why, whatever it is given. */
export function addRefused(parent: Command, name: string, why: string): void {
  leaf(parent, name, `not here: ${why}`)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(() => {
      throw usage(why);
    });
}
