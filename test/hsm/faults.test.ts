import { expect, test } from 'vitest';
import { deadlineIn, within } from '../../src/core/deadline.js';
import { FaultRules, type FaultAction } from '../../src/core/fault-rules.js';
import { monotonic } from '../../src/core/clock.js';
import { strike } from '../../src/hsm/faults.js';
import { expectCode } from '../support/store-calls.js';

function waiting(action: FaultAction): FaultRules {
  const faults = new FaultRules();
  faults.add({ operation: 'insert', when: 'before', nth: 1, times: 1, action });
  return faults;
}

test('nothing strikes where nothing waits', async () => {
  const faults = waiting({ do: 'error', ckr: 'CKR_DEVICE_ERROR' });
  await strike(faults, 'insert', 'after');
  await strike(faults, 'extract', 'before');
  expect(faults.list()).toHaveLength(1);
});

test('an error is as one of the token', async () => {
  const device = waiting({ do: 'error', ckr: 'CKR_DEVICE_ERROR' });
  await expectCode(strike(device, 'insert', 'before'), 'HsmDeviceError');
  await strike(device, 'insert', 'before');
});

test('a delay delays', async () => {
  const begin = monotonic();
  await strike(waiting({ do: 'delay', ms: 40 }), 'insert', 'before');
  // timers may be a moment early
  expect(monotonic() - begin).toBeGreaterThan(30);
});

test('what is dropped never ends', async () => {
  const struck = strike(waiting({ do: 'drop' }), 'insert', 'before');
  await expectCode(within(struck, deadlineIn(50), 'a strike'), 'KeyspanDeadlineExceeded');
});

test('an error that PKCS#11 has not is refused, should one come this far', async () => {
  const faults = waiting({ do: 'error', ckr: 'CKR_NONSENSE' });
  await expectCode(strike(faults, 'insert', 'before'), 'HsmBadFrame');
});
