import { describe, expect, test } from 'vitest';
import { ADMIN_ACTIONS } from '../../src/protocol/admin.js';
import { clientRequest, decodeMessage, encodeMessage } from '../../src/protocol/client-frames.js';
import { accept } from '../../src/protocol/form.js';

const bytes = (encoded: Uint8Array | string): Uint8Array =>
  typeof encoded === 'string' ? Buffer.from(encoded) : encoded;

describe('messages', () => {
  const message = {
    id: 7,
    action: 'Encrypt',
    params: { KeyId: 'ä', Plaintext: Buffer.of(0, 255) },
  };

  test('CBOR keeps bytes', () => {
    const read = decodeMessage('keyspan.v1.cbor', bytes(encodeMessage('keyspan.v1.cbor', message)));
    expect(read).toEqual(message);
  });

  test.each([Buffer.of(0, 255), new Uint8Array([0, 255])])(
    'JSON makes them base64',
    (Plaintext) => {
      const params = { ...message.params, Plaintext };
      const encoded = encodeMessage('keyspan.v1.json', { ...message, params });
      expect(decodeMessage('keyspan.v1.json', bytes(encoded))).toEqual({
        ...message,
        params: { KeyId: 'ä', Plaintext: 'AP8=' },
      });
    },
  );

  test('what is no message is refused', () => {
    expect(() => decodeMessage('keyspan.v1.json', Buffer.from('{'))).toThrow();
    expect(() => decodeMessage('keyspan.v1.cbor', Buffer.of(0x5a, 0xff))).toThrow();
  });
});

describe('requests', () => {
  test('have a form', () => {
    const parsed = clientRequest({ id: 1, action: 'ListKeys' });
    expect(parsed).toEqual({ id: 1, action: 'ListKeys', params: {} });
    for (const wrong of [
      { action: 'A' },
      { id: -1, action: 'A' },
      { id: 1.5, action: 'A' },
      { id: '', action: 'A' },
      { id: 1, action: '' },
      { id: 1, action: 'A', params: [] },
      { id: 1, action: 'A', token: '' },
      { id: 1, action: 'A', token: 'x'.repeat(65) },
      { id: 1, action: 'A', extra: true },
    ]) {
      expect(accept(clientRequest, wrong), JSON.stringify(wrong)).toBeUndefined();
    }
  });
});

test("the operator's requests have a form too", () => {
  const { HsmKill, IssueCertificate, Status } = ADMIN_ACTIONS;
  expect(IssueCertificate({ principal: 'p' })).toEqual({ principal: 'p', days: 365 });
  expect(accept<unknown>(IssueCertificate, { principal: 'p', days: 0 })).toBeUndefined();
  expect(accept<unknown>(HsmKill, {})).toBeUndefined();
  expect(accept<unknown>(Status, { extra: 1 })).toBeUndefined();
});
