import { createPublicKey, randomBytes, verify } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { CKA, CKM, CKR } from '../../src/core/pkcs11.js';
import type { P11Mechanism } from '../../src/protocol/p11-mechanism.js';
import { eventually, signal } from '../support/daemon-fixture.js';
import { P11Client, bytesOf } from '../support/p11-client.js';
import { P11Fixture, aesKey, template, type OpenedSession } from '../support/p11-fixture.js';

let fixture: P11Fixture;
let opened: OpenedSession;
let pair: { publicKey: number; privateKey: number };
const RSA = { type: CKM.RSA_PKCS_KEY_PAIR_GEN };
const SHA256_RSA: P11Mechanism = { type: CKM.SHA256_RSA_PKCS };

beforeAll(async () => {
  fixture = await P11Fixture.start();
  opened = await fixture.open();
  const { client, session } = opened;
  const onToken = { [CKA.TOKEN]: true, [CKA.LABEL]: 'fault' };
  pair = await client.generateKeyPair(session, RSA, {
    publicKey: template({ ...onToken, [CKA.MODULUS_BITS]: 2_048 }),
    privateKey: template(onToken),
  });
});
afterAll(async () => {
  await fixture[Symbol.asyncDispose]();
});

const kill = async (id: string): Promise<void> => {
  await callAdmin(fixture.daemon.home, 'HsmKill', { id });
};
const back = async (id: string): Promise<void> => {
  await callAdmin(fixture.daemon.home, 'HsmStart', { id });
  await fixture.daemon.hsm(id);
};

async function isGood(data: Uint8Array, signature: Uint8Array): Promise<boolean> {
  const { client, session } = opened;
  const info = await client.attribute(session, pair.publicKey, CKA.PUBLIC_KEY_INFO);
  const key = createPublicKey({
    key: Buffer.from(info as Uint8Array),
    format: 'der',
    type: 'spki',
  });
  return verify('sha256', data, key, signature);
}

describe('an HSM that dies', () => {
  test('takes no signature of 8 MiB with it that is half-way', async () => {
    const { client, session } = opened;
    const data = randomBytes(8 << 20);
    const piece = 256 << 10;
    for (const { id } of await fixture.daemon.allActive()) {
      await client.call('C_SignInit', [session, SHA256_RSA, pair.privateKey]);
      for (let at = 0; at < data.length; at += piece) {
        if (at === data.length / 2) await kill(id);
        await client.call('C_SignUpdate', [session, data.subarray(at, at + piece)]);
      }
      const [signature] = await client.call('C_SignFinal', [session, 512]);
      expect(await isGood(data, bytesOf(signature)), id).toBe(true);
      await back(id);
    }
  });

  test('fails no signature of several applications', async () => {
    const lanes = await Promise.all(Array.from({ length: 4 }, () => fixture.open()));
    const over = new AbortController();
    let done = 0;
    const work = lanes.map(async ({ client, session }) => {
      const [key = 0] = await client.find(
        session,
        template({ [CKA.LABEL]: 'fault', [CKA.CLASS]: 3 }),
      );
      while (!over.signal.aborted) {
        await client.sign(session, SHA256_RSA, key, Buffer.from('under load'));
        done += 1;
      }
    });
    const kills = (async (): Promise<void> => {
      for (const { id } of await fixture.daemon.allActive()) {
        const before = done;
        await kill(id);
        await eventually(async () => (done > before + 20 ? true : undefined), 'signatures');
        await back(id);
      }
    })();
    await kills.finally(() => over.abort());
    await Promise.all(work);
    expect(done).toBeGreaterThan(60);
  });

  test('takes its session objects, and nothing else', async () => {
    const { client, session } = await fixture.open();
    const key = await client.create(session, aesKey(randomBytes(16)));
    const home = await holderOf(client, session, key);
    await kill(home);
    const ecb = { type: CKM.AES_ECB };
    await client.call('C_EncryptInit', [session, ecb, key]);
    const gone = await client.code('C_Encrypt', [session, Buffer.alloc(16), 64]);
    expect(gone).toBe(CKR.DEVICE_REMOVED);
    const [found = 0] = await client.find(
      session,
      template({ [CKA.LABEL]: 'fault', [CKA.CLASS]: 3 }),
    );
    const signature = await client.sign(session, SHA256_RSA, found, Buffer.from('still'));
    expect(await isGood(Buffer.from('still'), signature)).toBe(true);
    const other = await client.create(session, aesKey(randomBytes(16)));
    expect(bytesOf((await encrypt(client, session, other))[0])).toHaveLength(16);
    await back(home);
  });

  test('or stands still holds nobody up for long', async () => {
    const { client, session } = opened;
    for (const { id, pid } of await fixture.daemon.allActive()) {
      signal(pid, 'SIGSTOP');
      for (let i = 0; i < 6; i += 1) {
        const data = Buffer.from(`${id} ${i}`);
        const signature = await client.sign(session, SHA256_RSA, pair.privateKey, data);
        expect(await isGood(data, signature)).toBe(true);
      }
      signal(pid, 'SIGCONT');
      await fixture.daemon.hsm(id);
    }
  });
});

const encrypt = async (
  client: P11Client,
  session: number,
  key: number,
): Promise<readonly [Uint8Array | number]> => {
  await client.call('C_EncryptInit', [session, { type: CKM.AES_ECB }, key]);
  return await client.call('C_Encrypt', [session, Buffer.alloc(16), 64]);
};

/** The HSM that works with a key: the one whose count of operations grows. */
async function holderOf(client: P11Client, session: number, key: number): Promise<string> {
  const counts = async (): Promise<ReadonlyMap<string, number>> => {
    const { body } = await fixture.daemon.adminRequest('/metrics', '', 'GET');
    const lines = body.matchAll(/^keyspan_hsm_operations_total\{.*?hsm="([^"]+)".*?\} (\d+)$/gm);
    return new Map([...lines].map(([, id = '', count]) => [id, Number(count)]));
  };
  const before = await counts();
  for (let i = 0; i < 200; i += 1) await encrypt(client, session, key);
  const after = await counts();
  const [holder] = [...after].find(([id, count]) => count - (before.get(id) ?? 0) >= 200) ?? [];
  if (holder === undefined) throw new Error('no HSM works with the key');
  return holder;
}

describe('applications', () => {
  test('may be two hundred at once', async () => {
    const clients = await Promise.all(
      Array.from({ length: 200 }, () => P11Client.connect(fixture.socket)),
    );
    const sessions = await Promise.all(
      clients.map(async (client) => {
        const [slot = 0] = await client.slots();
        const session = await client.open(slot);
        await client.login(session, fixture.pin);
        return await client.find(session, template({ [CKA.LABEL]: 'fault' }));
      }),
    );
    expect(sessions.every((found) => found.length === 2)).toBe(true);
    await Promise.all(clients.map((client) => client.close()));
  });

  test('that ask without reading hold up nobody else', async () => {
    const greedy = await fixture.connect();
    greedy.stream.pause();
    const { client, session } = await fixture.open();
    const [slot = 0] = await client.slots();
    for (let i = 0; i < 20_000; i += 1) {
      greedy.call('C_GetMechanismList', [slot, 100]).catch(() => undefined);
    }
    expect((await client.random(session, 32)).length).toBe(32);
    await greedy.close();
  });
});
