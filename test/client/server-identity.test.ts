import { expect, test } from 'vitest';
import { checkHsmIdentity } from '../../src/client/server-identity.js';

const named = (CN: unknown): { subject: never } => ({ subject: { CN } as never });

test('a name that begins with HSM: is a cluster', () => {
  expect(checkHsmIdentity(named('HSM:AB:PARTN:1'))).toBeUndefined();
  expect(checkHsmIdentity(named('HSM:AB'), 'HSM:AB')).toBeUndefined();
});

test.each([undefined, '', 'xHSM:AB', 'hsm:ab', ['HSM:AB', 'HSM:CD']])('%j is none', (name) => {
  expect(checkHsmIdentity(named(name))).toMatchObject({ code: 'KeyspanConnection' });
});

test('another cluster is refused when one is named', () => {
  expect(checkHsmIdentity(named('HSM:AB'), 'HSM:A')).toMatchObject({ code: 'KeyspanConnection' });
});
