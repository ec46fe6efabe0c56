import { configDefaults, defineConfig } from 'vitest/config';
import { LongFirst } from './test/support/long-first.js';

/** Tests of these folders load no PKCS#11 module into their process, and leave nothing in it. */
const SHARING = [
  'audit',
  'cli',
  'client',
  'cluster',
  'core',
  'front',
  'iam',
  'kms',
  'protocol',
  'store',
];
const sharing = SHARING.map((folder) => `test/${folder}/**/*.test.ts`);

/**
 * Test files run in processes of their own: a PKCS#11 module and SOFTHSM2_CONF belong to a process.
 * Where no module is, files follow each other in one process: its start and what it loads took
 * longer than most of these tests. Programs and worker threads run compiled code, which is brought
 * up to date first.
 */
export default defineConfig({
  test: {
    globalSetup: ['test/support/compile.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    sequence: { sequencer: LongFirst },
    projects: [
      {
        extends: true,
        test: {
          name: 'alone',
          include: ['test/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...sharing],
        },
      },
      { extends: true, test: { name: 'sharing', include: sharing, isolate: false } },
    ],
  },
});
