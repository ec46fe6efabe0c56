import { constants, generateKeyPairSync, privateDecrypt, randomBytes, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { certifyHsm, certifyRecovery, makeAuthority } from '../../src/cluster/certificates.js';
import { newClusterId, newHsmId, newHsmKeyId } from '../../src/core/ids.js';
import { joinTranscript, type HsmFields, type HsmResults } from '../../src/protocol/hsm-frames.js';
import { HsmHost, PASSWORDS, type FrameClient, type TestHsm } from '../support/hsm-host.js';

const refused = (code: string): unknown => expect.objectContaining({ code });
const AAD = Buffer.from('context');

/** A member, and a newcomer that is to become one: two real processes. */
let host: HsmHost;
let member: FrameClient;
let appliance = 0;
let newcomer: TestHsm;
let joiner: FrameClient;
let certificates: string[];

beforeAll(async () => {
  host = await HsmHost.open();
  const first = host.newHsm();
  newcomer = host.newHsm();
  await Promise.all([first.start(), newcomer.start()]);
  member = await first.connect();
  const admin = await host.found(first, member);
  const user = { username: 'alice', role: 'crypto-user', password: PASSWORDS.user };
  await member.ask('user-create', user, { session: admin, epoch: 5 });
  await member.ask('user-create', { ...user, username: 'bob' }, { session: admin, epoch: 5 });
  for (let time = 0; time < 5; time += 1) await member.login('bob', 'wrong').catch(() => undefined);
  appliance = await member.login('app_user', PASSWORDS.appUser);
  joiner = await newcomer.connect();
  const { publicKey } = await joiner.ask<'identity'>('identity', {});
  certificates = await host.certify(newcomer.id, publicKey);
});
afterAll(() => host[Symbol.asyncDispose]());

const newOffer = (): Promise<HsmResults['join-offer']> =>
  joiner.ask<'join-offer'>('join-offer', {});

async function handover(
  changes: Partial<HsmFields<'handover'>> = {},
): Promise<HsmResults['handover']> {
  const { publicKey, signature } = await newOffer();
  const fields = { hsm: newcomer.id, certificates, publicKey, signature, ...changes };
  return await member.ask<'handover'>('handover', fields, { session: appliance });
}

describe('a newcomer', () => {
  test('is refused what members do', async () => {
    for (const operation of ['login', 'user-list', 'encrypt', 'insert', 'inventory']) {
      await expect(joiner.ask(operation, {})).rejects.toEqual(refused('HsmPhase'));
    }
    expect(await joiner.ask('info', {})).toMatchObject({ phase: 'new', keys: 0, users: 0 });
  });

  test('keeps its identity', async () => {
    const [one, two] = [
      await joiner.ask<'identity'>('identity', {}),
      await joiner.ask<'identity'>('identity', {}),
    ];
    expect(one).toEqual(two);
  });
});

describe('a member hands nothing over', () => {
  const bad = refused('HsmBadRecord');

  test('to whom a foreign authority vouches for', async () => {
    const manufacturer = await makeAuthority('manufacturer');
    const hardware = await makeAuthority('hardware', manufacturer);
    const { publicKey } = await joiner.ask<'identity'>('identity', {});
    const leaf = await certifyHsm({ hardware, hsm: newcomer.id, publicKey });
    for (const chain of [
      [leaf, hardware.certificate],
      [leaf, hardware.certificate, manufacturer.certificate],
      [leaf, host.hardware.certificate],
      [leaf],
      [certificates[0] ?? ''],
      [...certificates].reverse(),
    ]) {
      await expect(handover({ certificates: chain })).rejects.toEqual(bad);
    }
  });

  test('to whom another HSM, not an authority, vouches for', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = publicKey.export({ format: 'der', type: 'spki' });
    const [issuing = '', ...above] = await host.certify(newHsmId(), spki);
    const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' });
    const own = await joiner.ask<'identity'>('identity', {});
    const leaf = await certifyHsm({
      hardware: { certificate: issuing, privateKey: pkcs8 },
      hsm: newcomer.id,
      publicKey: own.publicKey,
    });
    await expect(handover({ certificates: [leaf, issuing, ...above] })).rejects.toEqual(bad);
  });

  test('to an HSM with the name of another', async () => {
    await expect(handover({ hsm: newHsmId() })).rejects.toEqual(bad);
    const { publicKey } = await joiner.ask<'identity'>('identity', {});
    const others = await host.certify(newHsmId(), publicKey);
    await expect(handover({ certificates: others })).rejects.toEqual(bad);
  });

  test('for a key that the joiner did not sign', async () => {
    const spki = (bits: number): Buffer =>
      generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({
        format: 'der',
        type: 'spki',
      });
    await expect(handover({ publicKey: spki(2_048) })).rejects.toEqual(bad);
    await expect(handover({ signature: randomBytes(70) })).rejects.toEqual(bad);
    const { signature } = await newOffer();
    await expect(handover({ signature })).rejects.toEqual(bad);
  });

  test('for a key of another kind, or a signature for another cluster', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const identity = publicKey.export({ format: 'der', type: 'spki' });
    const hsm = newHsmId();
    const own = { hsm, certificates: await host.certify(hsm, identity) };
    const signed = (cluster = host.cluster, key: Buffer = identity) => ({
      publicKey: key,
      signature: sign('sha256', joinTranscript(cluster, hsm, key), privateKey),
    });
    await expect(handover({ ...own, ...signed() })).rejects.toEqual(bad);
    await expect(handover({ ...own, ...signed(undefined, randomBytes(300)) })).rejects.toEqual(bad);
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey;
    const joinKey = rsa.export({ format: 'der', type: 'spki' });
    const elsewhere = signed(newClusterId(), joinKey);
    await expect(handover({ ...own, ...elsewhere })).rejects.toEqual(bad);
    expect((await handover({ ...own, ...signed(undefined, joinKey) })).maskingKeyId).toBe(
      host.maskingKeyId,
    );
  });

  test('for certificates that cannot be read', async () => {
    for (const pem of ['x', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----']) {
      await expect(handover({ certificates: [pem] })).rejects.toEqual(bad);
    }
  });
});

describe('a member backs itself up', () => {
  const bad = refused('HsmBadRecord');
  const recovery = generateKeyPairSync('rsa', { modulusLength: 2_048 });
  const publicKey = recovery.publicKey.export({ format: 'der', type: 'spki' });
  const asked = (given: readonly string[], session = appliance): Promise<HsmResults['backup']> =>
    member.ask<'backup'>('backup', { certificates: [...given] }, { session });
  const certified = async (hardware = host.hardware): Promise<string[]> => [
    await certifyRecovery({ hardware, publicKey }),
    hardware.certificate,
  ];

  test('for a key that its hardware certified as one of recovery', async () => {
    const given = await asked(await certified());
    expect(given.maskingKeyId).toBe(host.maskingKeyId);
    const { privateKey: key } = recovery;
    const padding = constants.RSA_PKCS1_OAEP_PADDING;
    for (const wrapped of Object.values(given.wrapped) as Uint8Array[]) {
      expect(privateDecrypt({ key, padding, oaepHash: 'sha1' }, wrapped)).toHaveLength(32);
    }
  });

  test('for no key that another hardware certified', async () => {
    const manufacturer = await makeAuthority('manufacturer');
    await expect(
      asked(await certified(await makeAuthority('hardware', manufacturer))),
    ).rejects.toEqual(bad);
    await expect(asked([(await certified())[0] ?? ''])).rejects.toEqual(bad);
  });

  test('not for an HSM, nor for an HSM of that name', async () => {
    await expect(asked(certificates)).rejects.toEqual(bad);
    // a recovery key's certificate does not make a joiner either
    await expect(handover({ certificates: await certified() })).rejects.toEqual(bad);
  });

  test('for the appliance user alone', async () => {
    const alice = await member.login('alice', PASSWORDS.user);
    await expect(asked(await certified(), alice)).rejects.toEqual(refused('HsmRoleRefused'));
    await expect(
      member.ask('backup-keys', { keyIds: [newHsmKeyId()] }, { session: alice }),
    ).rejects.toEqual(refused('HsmRoleRefused'));
  });

  test('with the keys that it has, whoever owns them', async () => {
    const alice = await member.login('alice', PASSWORDS.user);
    const keyIds = [newHsmKeyId(), newHsmKeyId(), newHsmKeyId()];
    const [first = '', , last = ''] = keyIds;
    for (const keyId of [first, last]) {
      const made = { keyId, kind: 'aes-256', label: '' };
      const { masked } = await member.ask<'generate'>('generate', made, { session: alice });
      await member.ask('insert', { masked }, { session: alice, epoch: 5 });
    }
    const as = { session: appliance };
    const { keys } = await member.ask<'backup-keys'>('backup-keys', { keyIds }, as);
    expect(keys.map(({ id }) => id)).toEqual([first, last]);
    for (const keyId of [first, last]) {
      await member.ask('discard', { keyId }, { session: appliance, epoch: 5 });
      const masked = keys.find(({ id }) => id === keyId)?.masked;
      await member.ask('insert', { masked }, { session: appliance, epoch: 5 });
      const data = Buffer.from('data');
      await member.ask('encrypt', { keyId, aad: AAD, data }, { session: alice });
    }
  });
});

describe('joining', () => {
  const join = (given: HsmResults['handover'], changes: object = {}): Promise<unknown> =>
    joiner.ask('join', {
      ...given,
      certificates,
      root: host.manufacturer.certificate,
      ...changes,
    });

  test('needs an offer, and what was given for this one', async () => {
    const stale = await handover();
    await newOffer();
    await expect(join(stale)).rejects.toEqual(refused('HsmDataInvalid'));
    // the offer is used up
    await expect(join(stale)).rejects.toEqual(refused('HsmPhase'));
    const given = await handover();
    const { wrap, seal, auth } = given.wrapped;
    const mixed = { wrap, seal: auth, auth: seal };
    const failing = join(given, { wrapped: mixed });
    await expect(failing).rejects.toEqual(refused('HsmDataInvalid'));
    expect(await joiner.ask('info', {})).toMatchObject({ phase: 'new', users: 0 });
  });

  test('fails whole when the users cannot be opened, and can be done again', async () => {
    const given = await handover();
    const users = Buffer.from(given.users);
    users[20] = (users[20] ?? 0) ^ 1;
    await expect(join(given, { users })).rejects.toEqual(refused('HsmDataInvalid'));
    expect(await joiner.ask('info', {})).toMatchObject({ phase: 'new', users: 0 });
    joiner = await newcomer.restart();
    expect(joiner.peer.phase).toBe('new');
    const again = await handover();
    await join(again);
    expect(await joiner.ask('info', {})).toMatchObject({ phase: 'member', users: 4, epoch: 5 });
    await expect(join(again)).rejects.toEqual(refused('HsmPhase'));
  });

  test('brings the users with their passwords and their locks', async () => {
    expect(await joiner.ask('user-list', {})).toEqual(await member.ask('user-list', {}));
    await expect(joiner.login('bob', PASSWORDS.user)).rejects.toEqual(refused('HsmUserLocked'));
    await expect(joiner.login('alice', 'wrong')).rejects.toEqual(refused('HsmCredentialsRefused'));
    expect(await joiner.login('alice', PASSWORDS.user)).toBeGreaterThan(0);
  });

  test('makes one cluster of both: what one seals the other opens', async () => {
    const [here, there] = [
      await member.login('alice', PASSWORDS.user),
      await joiner.login('alice', PASSWORDS.user),
    ];
    const keyId = newHsmKeyId();
    const fields = { keyId, kind: 'aes-256', label: 'a key' };
    const { masked, proof } = await member.ask<'generate'>('generate', fields, { session: here });
    const answers = [
      await member.ask<'insert'>('insert', { masked }, { session: here, epoch: 5 }),
      await joiner.ask<'insert'>('insert', { masked }, { session: there, epoch: 5 }),
    ];
    for (const answer of answers) expect(answer.proof).toEqual(proof);
    const data = Buffer.from('sealed on the first');
    const sealed = await member.ask<'encrypt'>(
      'encrypt',
      { keyId, aad: AAD, data },
      { session: here },
    );
    const opened = await joiner.ask<'decrypt'>(
      'decrypt',
      { keyId, aad: AAD, iv: sealed.iv, data: sealed.data },
      { session: there },
    );
    expect(Buffer.from(opened.data).toString()).toBe('sealed on the first');
  });

  test('shares the key of the cluster, which only the appliance user gets', async () => {
    const keyId = newHsmKeyId();
    const fields = { keyId, kind: 'cluster-key', label: 'cluster' };
    const as = { session: appliance, epoch: 5 };
    const { masked } = await member.ask<'generate'>('generate', fields, as);
    await member.ask('insert', { masked }, as);
    const session = await joiner.login('app_user', PASSWORDS.appUser);
    await joiner.ask('insert', { masked }, { session, epoch: 5 });
    const [one, two] = [
      await member.ask<'cluster-key'>('cluster-key', { keyId }, as),
      await joiner.ask<'cluster-key'>('cluster-key', { keyId }, { session }),
    ];
    expect(one.privateKey).toEqual(two.privateKey);
    const { items } = await joiner.ask<'inventory'>(
      'inventory',
      { after: '', limit: 9 },
      { session },
    );
    expect(items.map(({ id }) => id)).toContain(keyId);
  });

  test('lasts over kill -9, and the joiner hands over in its turn', async () => {
    joiner = await newcomer.restart();
    expect(joiner.peer).toMatchObject({ phase: 'member', epoch: 5 });
    const session = await joiner.login('app_user', PASSWORDS.appUser);
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const identity = publicKey.export({ format: 'der', type: 'spki' });
    const hsm = newHsmId();
    const joinKey = generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey.export({
      format: 'der',
      type: 'spki',
    });
    const given = await joiner.ask<'handover'>(
      'handover',
      {
        hsm,
        certificates: await host.certify(hsm, identity),
        publicKey: joinKey,
        signature: sign('sha256', joinTranscript(host.cluster, hsm, joinKey), privateKey),
      },
      { session },
    );
    expect(given.maskingKeyId).toBe(host.maskingKeyId);
  });
});
