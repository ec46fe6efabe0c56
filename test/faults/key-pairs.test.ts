import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { DescribedKey } from '../../src/protocol/hsm-session.js';
import { FaultScene } from '../support/fault-scene.js';
import {
  armHsm,
  haveStruck,
  isBack,
  isWhole,
  killDaemonAt,
  operate,
} from '../support/stepped-fault.js';

const PASSWORD = 'password-of-alice';
let scene: FaultScene;
let session = '';

async function logIn(): Promise<void> {
  const user = { username: 'alice', role: 'crypto-user', password: PASSWORD };
  ({ session } = await operate(scene, 'UserLogin', user));
}

beforeAll(async () => {
  scene = await FaultScene.start(3, { faults: true });
  const { admin } = await operate(scene, 'Credentials');
  const login = await operate(scene, 'UserLogin', { ...admin, role: 'admin' });
  const user = { username: 'alice', role: 'crypto-user', password: PASSWORD };
  await operate(scene, 'UserCreate', { session: login.session, ...user });
});
beforeEach(logIn);
afterAll(async () => {
  await scene?.[Symbol.asyncDispose]();
});

const newPair = (spec: object): Promise<{ publicKey: DescribedKey; privateKey: DescribedKey }> =>
  operate(scene, 'KeyGeneratePair', {
    session,
    spec,
    publicKey: { label: 'public', attributes: { verify: true } },
    privateKey: { label: 'private', attributes: { sign: true } },
  });
const EC = { type: 'ec', curve: 'secp256r1' };
const count = async (): Promise<number> =>
  (await operate(scene, 'KeyFind', { session, limit: 1 })).total;
const sign = (key: DescribedKey): Promise<unknown> =>
  operate(scene, 'KeySign', {
    session,
    key: key['key-reference'],
    mechanism: { name: 'ecdsa', hash: 'sha256' },
    data: Buffer.from('data').toString('base64'),
  });

const MOMENTS = ['before', 'after'] as const;

describe('a key pair is made', () => {
  const cases = (['key-pair-generate', 'insert'] as const).flatMap((operation) =>
    MOMENTS.map((when) => ({ operation, when })),
  );

  test.each(cases)('when an HSM is killed $when $operation', async ({ operation, when }) => {
    const [hsm] = await scene.daemon.allActive();
    if (!hsm) return expect.unreachable();
    const before = await count();
    await armHsm(scene, { hsm: hsm.id, operation, when });
    // several at once, so that each HSM has one to make
    const pairs = await Promise.all(Array.from({ length: 6 }, () => newPair(EC)));
    for (const { privateKey } of pairs) await sign(privateKey);
    await haveStruck(scene);
    await isBack(scene, hsm);
    await isWhole(scene);
    expect(await count()).toBe(before + 2 * pairs.length);
  });
});

describe('neither half is left', () => {
  test.each(['create.intended', 'create.made', 'create.spread'] as const)(
    'when the daemon is killed at %s',
    async (step) => {
      await scene.daemon.allActive();
      const before = await count();
      await killDaemonAt(scene, step, () => newPair(EC));
      await scene.daemon.allActive();
      await logIn();
      await isWhole(scene);
      expect(await count()).toBe(before);
      await haveStruck(scene);
      await sign((await newPair(EC)).privateKey);
    },
  );
});
