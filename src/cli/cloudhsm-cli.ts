#!/usr/bin/env node
// The program `cloudhsm-cli`, for scripts that call it by CloudHSM's name.
import { argv } from 'node:process';
import { runCloudhsmCli } from './cloudhsm/run.js';

process.exitCode = await runCloudhsmCli(argv.slice(2));
