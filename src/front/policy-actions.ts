import { KeyspanError } from '../core/errors.js';
import type { Kms } from '../kms/kms.js';
import type { AdminHandlers } from './admin.js';

/**
 * What the operator asks about policies.
 * @param kms absent until it runs
 * @param region of keys that are not named by ARN
 */
export function policyHandlers(
  kms: () => Kms | undefined,
  region: string,
): Pick<AdminHandlers, 'PolicyExplain'> {
  return {
    PolicyExplain: async (question) => {
      const running = kms();
      if (running) return running.explain(question, region);
      throw new KeyspanError('KeyspanRefused', 'KMS does not run yet.');
    },
  };
}
