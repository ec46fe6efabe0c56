#!/usr/bin/env node
// The first module of every command: it loads as little as possible, each command the rest.
import { argv } from 'node:process';

async function main(args: readonly string[]): Promise<number> {
  if (args.length === 1 && (args[0] === '--version' || args[0] === '-V')) {
    const { readVersion } = await import('./version.js');
    process.stdout.write(`${readVersion()}\n`);
    return 0;
  }
  const { runProgram } = await import('./program.js');
  return await runProgram(args);
}

// not awaited here: what scripts/pack.mjs makes of this file has no way to
void main(argv.slice(2)).then((code) => {
  process.exitCode = code;
});
