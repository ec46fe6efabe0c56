#!/usr/bin/env node
// The first module of every command: it loads as little as possible, each command the rest.
import { argv } from 'node:process';

const args = argv.slice(2);

if (args.length === 1 && (args[0] === '--version' || args[0] === '-V')) {
  const { readVersion } = await import('./version.js');
  process.stdout.write(`${readVersion()}\n`);
} else {
  const { runProgram } = await import('./program.js');
  process.exitCode = await runProgram(args);
}
