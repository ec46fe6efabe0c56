import type { FaultDesk } from '../cluster/fault-desk.js';
import { KeyspanError } from '../core/errors.js';
import type { AdminHandlers } from '../front/admin.js';
import { readFaultRule } from '../protocol/fault.js';

/** The operator's faults on demand, on the cluster that backs KMS. */
export function faultHandlers(
  cluster: () => { readonly faults: FaultDesk | undefined },
): Pick<AdminHandlers, 'FaultAdd' | 'FaultList' | 'FaultClear'> {
  const desk = (): FaultDesk => {
    const { faults } = cluster();
    if (faults) return faults;
    throw new KeyspanError('KeyspanRefused', 'Faults need a daemon started with --faults.');
  };
  return {
    FaultAdd: async ({ hsm, rule }) => ({ id: await desk().add(hsm, readFaultRule(rule)) }),
    FaultList: async () => ({ faults: await desk().list() }),
    FaultClear: async () => {
      await desk().clear();
      return {};
    },
  };
}
