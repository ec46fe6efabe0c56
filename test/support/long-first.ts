import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The files that take longest, the longest first. */
const LONG = [
  'faults/create-steps',
  'daemon/daemon',
  'faults/ceremony',
  'faults/token-files',
  'faults/backups',
  'faults/record-steps',
  'scripts/operators',
  'faults/old-copies',
  'clients/iam',
  'faults/one-hsm',
  'faults/daemon',
  'front/cloudhsm-life',
  'scripts/readme',
  'clients/recipes',
  'scripts/ceremony',
  'scripts/transcripts',
  'cli/installation',
  'faults/membership-steps',
  'cluster/trust-anchor',
  'cluster/backup-jobs',
  'cli/cloudhsm-cli',
  'fuzz/p11-server',
  'fuzz/frames',
].map((name) => `/test/${name}.test.ts`);

const rank = ({ moduleId }: TestSpecification): number => {
  const at = LONG.findIndex((name) => moduleId.endsWith(name));
  return at === -1 ? LONG.length : at;
};

/**
 * Long files begin first, so that no worker waits at the end for the other. Vitest does so by what
 * it noted of earlier runs; a fresh clone has none.
 */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => rank(a) - rank(b));
  }
}
