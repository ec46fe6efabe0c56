#!/usr/bin/env node
// The program `cloudhsm-cli`, for scripts that call it by CloudHSM's name.
import { argv } from 'node:process';
import { runCloudhsmCli } from './cloudhsm/run.js';

// not awaited here: what scripts/pack.mjs makes of this file has no way to
void runCloudhsmCli(argv.slice(2)).then((code) => {
  process.exitCode = code;
});
