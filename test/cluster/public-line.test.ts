import { describe, expect, test } from 'vitest';
import type { Member } from '../../src/cluster/member.js';
import { PublicLine } from '../../src/cluster/public-line.js';
import type { Call } from '../../src/core/call.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { KeyspanError, type ErrorCode } from '../../src/core/errors.js';
import { newHsmId, newHsmKeyId } from '../../src/core/ids.js';

/** An HSM that answers with its own name, or always fails so. */
class Answerer {
  readonly id = newHsmId();
  readonly asked: unknown[] = [];
  channel: object | undefined = {};
  failure: Error | undefined;

  ask(...request: unknown[]): Promise<{ bytes: string }> {
    this.asked.push(request);
    if (this.failure) return Promise.reject(this.failure);
    return Promise.resolve({ bytes: this.id });
  }

  fails(code: ErrorCode): this {
    this.failure = new KeyspanError(code);
    return this;
  }
}

const lineOf = (members: readonly Answerer[]): PublicLine =>
  new PublicLine(() => members as unknown as Member[]);
const newCall = (ms = 1_000): Call => ({ deadline: deadlineIn(ms), requestId: 'request' });
const code = (name: ErrorCode): unknown => expect.objectContaining({ code: name });
const three = (): [Answerer, Answerer, Answerer] => [
  new Answerer(),
  new Answerer(),
  new Answerer(),
];

describe('what is asked of any HSM', () => {
  test('goes from one to the next, under the name of the request', async () => {
    const members = three();
    const line = lineOf(members);
    const served = new Set<unknown>();
    for (let i = 0; i < 6; i += 1) {
      const call = newCall();
      await line.run('random', { length: 1 }, call);
      served.add(call.servedBy);
      const asked = members.find(({ id }) => id === call.servedBy)?.asked.at(-1);
      expect(asked).toEqual(['random', { length: 1 }, call.deadline, 'request']);
    }
    expect(served).toEqual(new Set(members.map(({ id }) => id)));
    expect(members.map(({ asked }) => asked.length)).toEqual([2, 2, 2]);
  });

  test.each<ErrorCode>([
    'KeyspanConnection',
    'HsmBusy',
    'HsmDeviceError',
    'HsmKeyNotFound',
    'HsmKeyUnproven',
    'HsmNotLoggedIn',
    'HsmPhase',
  ])('is asked of another when one answers %s', async (name) => {
    const members = three();
    members[0].fails(name);
    members[1].fails(name);
    const line = lineOf(members);
    for (let i = 0; i < 3; i += 1) {
      const call = newCall();
      await line.run('random', { length: 1 }, call);
      expect(call.servedBy).toBe(members[2].id);
    }
    members[2].fails(name);
    const call = newCall();
    await expect(line.run('random', { length: 1 }, call)).rejects.toEqual(code(name));
    expect(call.servedBy).toBeUndefined();
  });

  test('is not asked again where the answer would be the same', async () => {
    const members = three();
    for (const each of members) each.fails('HsmDataInvalid');
    const asked = lineOf(members).run('random', { length: 1 }, newCall());
    await expect(asked).rejects.toEqual(code('HsmDataInvalid'));
    expect(members.flatMap((one) => one.asked)).toHaveLength(1);
    for (const each of members) each.failure = new TypeError('a mistake');
    const mistaken = lineOf(members).run('random', { length: 1 }, newCall());
    await expect(mistaken).rejects.toThrow(TypeError);
  });

  test('is over with its deadline', async () => {
    const members = three();
    for (const each of members) each.fails('HsmBusy');
    const asked = lineOf(members).run('random', { length: 1 }, newCall(-1));
    await expect(asked).rejects.toEqual(code('VaultTimeout'));
    expect(members.flatMap((one) => one.asked)).toHaveLength(1);
  });

  test('passes over an HSM that does not serve, and says when none does', async () => {
    const members = three();
    members[0].channel = undefined;
    members[1].channel = undefined;
    const line = lineOf(members);
    const call = newCall();
    await line.run('random', { length: 1 }, call, newHsmKeyId());
    expect(call.servedBy).toBe(members[2].id);
    members[2].channel = undefined;
    const asked = line.run('random', { length: 1 }, newCall());
    await expect(asked).rejects.toEqual(code('VaultUnavailable'));
  });
});

describe('what is asked of one HSM', () => {
  test('is asked of it alone, and no other answers for it', async () => {
    const members = three();
    const line = lineOf(members);
    const [, second] = members;
    const fields = { stream: 1 };
    expect(await line.runOn(second.id, 'stream-close', fields, newCall())).toEqual({
      bytes: second.id,
    });
    second.fails('HsmBusy');
    const asked = line.runOn(second.id, 'stream-close', fields, newCall());
    await expect(asked).rejects.toEqual(code('HsmBusy'));
    expect(members.map((one) => one.asked.length)).toEqual([0, 2, 0]);
  });

  test('is lost with it', async () => {
    const [gone, other] = three();
    gone.channel = undefined;
    const line = lineOf([gone, other]);
    for (const id of [gone.id, newHsmId()]) {
      const asked = line.runOn(id, 'stream-close', { stream: 1 }, newCall());
      await expect(asked).rejects.toEqual(code('VaultKeyMissing'));
    }
    expect(other.asked).toEqual([]);
  });
});
