import { expect, test } from 'vitest';
import { KeyspanError } from '../../src/core/errors.js';
import { newHsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import { Streams } from '../../src/hsm/streams.js';
import type { PieceWise } from '../../src/token/data-signature.js';

/** What was ended without a result. */
const closed: number[] = [];
const work = (name = 0): PieceWise => ({
  update: () => undefined,
  final: () => Buffer.of(name),
  close: () => void closed.push(name),
});
const code = (name: string): unknown => expect.objectContaining({ code: name });
const KEY = newHsmKeyId();
const digest = (session: number) => ({ session, purpose: 'digest' }) as const;
const mac = (session: number) => ({ session, purpose: 'sign', keyId: KEY }) as const;

test('a stream is of its login alone, until it is taken', () => {
  const streams = new Streams();
  const id = streams.open(digest(1), () => work());
  expect(streams.get(1, id)).toMatchObject(digest(1));
  for (const [session, other] of [
    [2, id],
    [1, id + 1],
  ] as const) {
    expect(() => streams.get(session, other)).toThrow(code('HsmKeyNotFound'));
    expect(() => streams.take(session, other)).toThrow(code('HsmKeyNotFound'));
  }
  expect(streams.take(1, id).work.final()).toEqual(Buffer.of(0));
  expect(() => streams.take(1, id)).toThrow(code('HsmKeyNotFound'));
  expect(streams.size).toBe(0);
});

test('a name is not given out again', () => {
  const streams = new Streams();
  const ids = Array.from({ length: 5 }, () => {
    const id = streams.open(digest(1), () => work());
    streams.take(1, id);
    return id;
  });
  expect(new Set(ids).size).toBe(5);
});

test('those of a login that is over are closed, and no others', () => {
  const streams = new Streams();
  closed.length = 0;
  streams.open(digest(1), () => work(1));
  const kept = streams.open(mac(2), () => work(2));
  streams.open(mac(1), () => work(3));
  streams.end(1);
  expect(closed).toEqual([1, 3]);
  expect(streams.get(2, kept).keyId).toBe(KEY);
  expect(streams.size).toBe(1);
});

test('there are so many of one login, of MACs and of all; what is full begins no work', () => {
  const streams = new Streams();
  const never = (): PieceWise => {
    throw new Error('it was begun');
  };
  for (let i = 0; i < LIMITS.p11_streams_max; i += 1) streams.open(digest(1), () => work());
  expect(() => streams.open(digest(1), never)).toThrow(code('HsmBusy'));
  for (let i = 0; i < LIMITS.p11_mac_streams_max; i += 1) streams.open(mac(2), () => work());
  expect(() => streams.open(mac(3), never)).toThrow(code('HsmBusy'));
  streams.open(digest(3), () => work());
  for (let session = 4; streams.size < LIMITS.p11_streams_total_max; session += 1) {
    const room = Math.min(LIMITS.p11_streams_max, LIMITS.p11_streams_total_max - streams.size);
    for (let i = 0; i < room; i += 1) streams.open(digest(session), () => work());
  }
  expect(() => streams.open(digest(10_000), never)).toThrow(code('HsmBusy'));
  streams.end(2);
  streams.open(mac(3), () => work());
});

test('what cannot begin takes no room', () => {
  const streams = new Streams();
  const begin = (): PieceWise => {
    throw new KeyspanError('HsmMechanismInvalid');
  };
  expect(() => streams.open(mac(1), begin)).toThrow(code('HsmMechanismInvalid'));
  expect(streams.size).toBe(0);
});
