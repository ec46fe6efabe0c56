import { expect, test } from 'vitest';
import { isFatal } from '../../src/client/connection.js';
import { ServiceError } from '../../src/client/service-error.js';
import { KeyspanError } from '../../src/core/errors.js';

const lost = (code: string): KeyspanError =>
  new KeyspanError('KeyspanConnection', 'lost', { cause: Object.assign(new Error(), { code }) });

test.each([
  'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA',
  'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'CERT_HAS_EXPIRED',
])('%s will not heal', (code) => expect(isFatal(lost(code))).toBe(true));

test.each(['ECONNREFUSED', 'ECONNRESET', 'ETIMEDOUT', 'EHOSTUNREACH'])('%s may heal', (code) =>
  expect(isFatal(lost(code))).toBe(false),
);

test('a service that says no will say so again', () => {
  expect(isFatal(new ServiceError('AccessDeniedException', ''))).toBe(true);
  expect(isFatal(new KeyspanError('KeyspanConnection'))).toBe(false);
});
