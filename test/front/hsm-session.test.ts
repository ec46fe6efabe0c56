import { beforeEach, expect, test } from 'vitest';
import type { RequestEvent } from '../../src/audit/events.js';
import { deadlineIn } from '../../src/core/deadline.js';
import { ERRORS, KeyspanError, type ErrorCode } from '../../src/core/errors.js';
import { newHsmId } from '../../src/core/ids.js';
import {
  DataPlane,
  isDataPlaneCode,
  type DataPlaneOptions,
  type EniCaller,
} from '../../src/front/hsm-session.js';
import type { HsmSessionHandlers } from '../../src/front/user-context.js';
import { parsePrincipal } from '../../src/iam/principal.js';

const seen: { action: string; params: object }[] = [];
const lines: RequestEvent[] = [];

const doing =
  (action: string, result: object = {}) =>
  async (params: object): Promise<object> => {
    seen.push({ action, params });
    return await Promise.resolve(result);
  };

/** A data plane whose actions do nothing but tell of themselves. */
function plane(more: object = {}): DataPlane {
  const handlers = {
    UserList: doing('UserList', { users: [] }),
    KeySign: doing('KeySign', { signature: Buffer.of(1) }),
    ...more,
  } as unknown as HsmSessionHandlers;
  const events = { requestEvent: (event: RequestEvent) => void lines.push(event) };
  return new DataPlane({ events } as unknown as DataPlaneOptions, handlers);
}

const entry = newHsmId();
const caller = (name = 'alice', cluster = 'cluster-of-the-eni'): EniCaller => ({
  principal: parsePrincipal(`arn:aws:iam::000000000000:user/${name}`),
  cluster,
  entry,
  call: { requestId: 'r', deadline: deadlineIn(1_000) },
});

beforeEach(() => {
  seen.length = 0;
  lines.length = 0;
});

test('the cluster is the one of the ENI where none is named', async () => {
  const one = plane();
  await one.perform('UserList', {}, caller());
  await one.perform('UserList', { cluster: 'other' }, caller());
  await one.operator().UserList({});
  expect(seen.map(({ params }) => params)).toEqual([
    { cluster: 'cluster-of-the-eni' },
    { cluster: 'other' },
    {},
  ]);
});

test('params of another form are refused before anything is done', async () => {
  await expect(plane().perform('UserLogout', { session: 7 }, caller())).rejects.toMatchObject({
    code: 'ValidationException',
    message: 'UserLogout: session is not a text',
  });
  expect(lines).toMatchObject([{ action: 'UserLogout', code: 'ValidationException' }]);
});

test('a login that is unknown is none, as session and as destination', async () => {
  const reference = '0x0000000000000001';
  const refused = expect.objectContaining({ code: 'HsmNotLoggedIn' }) as unknown;
  const sign = {
    session: 'x',
    key: reference,
    mechanism: { name: 'ecdsa', hash: 'sha256' },
    data: 'AA==',
  };
  await expect(plane().perform('KeySign', sign, caller())).rejects.toEqual(refused);
  const replicate = { session: 'x', destination: 'y', key: reference };
  await expect(plane().perform('KeyReplicate', replicate, caller())).rejects.toEqual(refused);
  expect(seen).toEqual([]);
});

test('each request leaves a line that names the principal and the key', async () => {
  const sign = { session: 'x', key: `0x${'0'.repeat(100_000)}`, mechanism: {}, data: '' };
  await expect(plane().perform('KeySign', sign, caller())).rejects.toThrow();
  await plane().perform('UserList', {}, caller());
  expect(lines).toMatchObject([
    { door: 'websocket', action: 'KeySign', resource: '0x0000000000000000', entry },
    { action: 'UserList', principal: 'arn:aws:iam::000000000000:user/alice', code: undefined },
  ]);
});

test('a cluster that is not there is a wrong member', async () => {
  const UserList = (): Promise<never> =>
    Promise.reject(new KeyspanError('KeyspanUsage', 'there is no cluster x'));
  const ask = plane({ UserList }).perform('UserList', { cluster: 'x' }, caller());
  await expect(ask).rejects.toMatchObject({
    code: 'ValidationException',
    message: 'there is no cluster x',
  });
});

test('what is behind it is not its own', () => {
  const own = (Object.keys(ERRORS) as ErrorCode[]).filter(isDataPlaneCode);
  expect(own).toContain('HsmCredentialsRefused');
  expect(own.filter((code) => !code.startsWith('Hsm'))).toEqual([
    'VaultBusy',
    'VaultNotDurable',
    'VaultTimeout',
    'VaultUnavailable',
    'KeyspanRefused',
  ]);
});
