import type { Events } from '../audit/events.js';
import type { ClockStatus } from '../protocol/admin.js';
import type { AdminHandlers } from './admin.js';

/** Civil time as its operator moves it. */
export interface OperatorsClock {
  status(): ClockStatus;
  /** @throws KeyspanError KeyspanRefused */
  advance(by: { byMs: number; force: boolean }): Promise<ClockStatus>;
  /** @throws KeyspanError KeyspanRefused */
  reset(how: { force: boolean }): Promise<ClockStatus>;
}

/** What the operator's door does with civil time. */
export function clockHandlers(
  clock: OperatorsClock,
  events: Events,
): Pick<AdminHandlers, 'ClockShow' | 'ClockAdvance' | 'ClockReset'> {
  return {
    ClockShow: async () => clock.status(),
    ClockAdvance: async (by) => {
      const status = await clock.advance(by);
      events.operatorEvent({ action: 'clock advance', target: `${by.byMs} ms` });
      return status;
    },
    ClockReset: async (how) => {
      const status = await clock.reset(how);
      events.operatorEvent({ action: 'clock reset' });
      return status;
    },
  };
}
