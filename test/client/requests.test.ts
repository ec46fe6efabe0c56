import { describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.js';
import { Requests, type Request } from '../../src/client/requests.js';

function add(requests: Requests<string>, settings: Partial<Request<string>> = {}): Request<string> {
  const request: Request<string> = {
    id: requests.nextId,
    message: '',
    deadline: 1_000,
    retries: true,
    settlement: { resolve: () => undefined, reject: () => undefined },
    state: 'waiting',
    sends: 0,
    via: undefined,
    notBefore: 0,
    refusal: undefined,
    ...settings,
  };
  requests.add(request);
  return request;
}

describe('the requests of a client', () => {
  test('are sent in their order, and found by their ids until they are done', () => {
    const requests = new Requests<string>();
    const made = Array.from({ length: 5_000 }, () => add(requests));
    const taken = made.map(() => requests.take('a'));
    expect(taken).toEqual(made);
    expect([requests.take('a'), requests.waiting, requests.size]).toEqual([undefined, 0, 5_000]);
    const [first, ...others] = made as [Request<string>, ...Request<string>[]];
    expect(requests.get(first.id)).toBe(first);
    requests.remove(first);
    expect(requests.get(first.id)).toBeUndefined();
    expect(requests.size).toBe(others.length);
  });

  test('that were given up while they waited are not sent', () => {
    const requests = new Requests<string>();
    const [gone, next] = [add(requests), add(requests)];
    requests.remove(gone);
    expect(requests.waiting).toBe(1);
    expect(requests.take('a')).toBe(next);
    expect([requests.take('a'), requests.waiting]).toEqual([undefined, 0]);
  });

  test('wait again when their connection is lost, unless they may be sent once only', () => {
    const requests = new Requests<string>();
    const once = add(requests, { retries: false });
    const often = add(requests, { sends: LIMITS.client_sends_max - 1 });
    const [other, again] = [add(requests), add(requests)];
    for (const via of ['a', 'a', 'b', 'a']) requests.take(via);
    expect(requests.lose('a')).toEqual([once, often]);
    expect([requests.size, requests.waiting]).toEqual([2, 1]);
    expect(requests.take('b')).toBe(again);
    expect([again.via, other.via, again.sends]).toEqual(['b', 'b', 2]);
  });

  test('rest, and wait again after that', () => {
    const requests = new Requests<string>();
    const request = add(requests);
    requests.take('a');
    requests.rest(request, 50);
    expect(requests.sweep(49)).toEqual([]);
    expect(requests.take('a')).toBeUndefined();
    requests.sweep(50);
    expect(requests.take('a')).toBe(request);
    requests.rest(request, 2_000);
    expect(requests.sweep(1_000)).toEqual([request]);
    expect([requests.size, requests.waiting]).toEqual([0, 0]);
  });

  test('are as many in flight as they may be, whatever waits or rests', () => {
    const requests = new Requests<string>();
    for (let i = 0; i < LIMITS.client_inflight_max; i += 1) {
      expect(requests.mayFly).toBe(true);
      add(requests);
      requests.take('a');
    }
    const waits = add(requests);
    expect([requests.mayFly, requests.waiting]).toEqual([false, 1]);
    expect(requests.clear()).toContain(waits);
    expect([requests.mayFly, requests.size, requests.waiting]).toEqual([true, 0, 0]);
  });
});
