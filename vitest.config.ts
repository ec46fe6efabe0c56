import { defineConfig } from 'vitest/config';

/**
 * Each test file runs in a process of its own: a PKCS#11 module and SOFTHSM2_CONF belong to a
 * process. Programs and worker threads run compiled code, which is brought up to date first.
 */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/compile.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
