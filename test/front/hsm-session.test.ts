import { expect, test } from 'vitest';
import { performHsmSession } from '../../src/front/hsm-session.js';
import type { HsmSessionHandlers } from '../../src/front/user-context.js';

test('params of another form are refused before anything is done', async () => {
  const handlers = {} as HsmSessionHandlers;
  await expect(performHsmSession(handlers, 'UserLogout', { session: 7 })).rejects.toMatchObject({
    code: 'ValidationException',
    message: 'UserLogout: session is not a text',
  });
});
