import { describe, expect, test } from 'vitest';
import {
  callNamed,
  callOfId,
  P11_CALLS,
  P11_HANDSHAKE,
  type P11CallName,
} from '../../src/protocol/p11-calls.js';

const names = Object.keys(P11_CALLS) as P11CallName[];

describe('the calls of the protocol', () => {
  test('have the numbers 1 to 89 in their order', () => {
    expect(names.map((name) => P11_CALLS[name].id)).toEqual(
      Array.from({ length: 89 }, (_, i) => i + 1),
    );
  });

  test('are found by number and by name', () => {
    for (const name of names) {
      expect(callOfId(callNamed(name).id)).toBe(callNamed(name));
      expect(callNamed(name)).toMatchObject({ name, id: P11_CALLS[name].id });
    }
    for (const id of [0, 90, 0xffff_ffff]) expect(callOfId(id)).toBeUndefined();
  });

  test('have signatures of known tokens, with a size for each text of fixed length', () => {
    for (const name of names) {
      const { request, response, requestFields, responseFields } = callNamed(name);
      expect(requestFields.map(({ token }) => token).join('')).toBe(request);
      expect(responseFields.map(({ token }) => token).join('')).toBe(response);
      const texts = [...requestFields, ...responseFields].filter(({ token }) => token === 's');
      expect(texts.map(({ size }) => size)).toEqual(P11_CALLS[name].sizes);
      for (const { token } of requestFields) {
        expect(['y', 'u', 's', 'z', 'ay', 'fy', 'fu', 'aA', 'fA', 'M']).toContain(token);
      }
      for (const { token } of responseFields) {
        expect(['u', 'v', 's', 'ay', 'au', 'aA', 'P']).toContain(token);
      }
    }
  });

  test('came with versions 0, 1 and 2', () => {
    const since = (version: number): P11CallName[] =>
      names.filter((name) => callNamed(name).since === version);
    expect(since(0)).toHaveLength(65);
    expect(since(1)).toHaveLength(23);
    expect(since(2)).toEqual(['C_DeriveKey2']);
  });
});

test('the handshake has 41 bytes', () => expect(P11_HANDSHAKE).toHaveLength(41));
