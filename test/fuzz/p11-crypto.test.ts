import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import type { HsmKeyId } from '../../src/core/ids.js';
import { CKM } from '../../src/core/pkcs11.js';
import type { HsmOperation, HsmResults } from '../../src/protocol/hsm-frames.js';
import { CryptoFixture } from '../support/crypto-fixture.js';
import { Dice, fuzzSeed } from '../support/mutation.js';

const ROUNDS = 20_000;
/** where modules look twice */
const LENGTHS = [0, 1, 8, 15, 16, 17, 20, 28, 31, 32, 33, 48, 64, 100, 128, 190, 214];
const RSA_LENGTHS = [222, 234, 244, 245, 246, 255, 256, 257, 300, 511, 512, 513];
const MECHANISMS = Object.values(CKM);
const HASHES = [CKM.SHA_1, CKM.SHA224, CKM.SHA256, CKM.SHA384, CKM.SHA512, CKM.AES_CBC, 0];

/** What a request may be told that is wrong in any way; never that the token failed. */
const REFUSALS = new Set([
  'HsmAttributeRefused',
  'HsmDataInvalid',
  'HsmMechanismInvalid',
  'HsmMechanismParamInvalid',
  'HsmUsageRefused',
]);

/** A signing half, or a secret key, and what undoes its work. */
interface Keys {
  readonly does: HsmKeyId;
  readonly undoes: HsmKeyId;
}

async function allKeys(hsm: CryptoFixture, dice: Dice): Promise<readonly Keys[]> {
  const pairs = [
    generateKeyPairSync('rsa', { modulusLength: 2_048 }),
    generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    generateKeyPairSync('ec', { namedCurve: 'P-521' }),
    generateKeyPairSync('ed25519'),
  ];
  const keys: Keys[] = [];
  for (const pair of pairs) {
    const { secret: does, open: undoes } = await hsm.bringPair(pair);
    keys.push({ does, undoes });
  }
  const given = { encrypt: true, decrypt: true };
  for (const [kind, length] of [
    ['aes', 16],
    ['aes', 32],
    ['generic-secret', 1],
    ['generic-secret', 800],
  ] as const) {
    const key = await hsm.bring(kind, dice.bytes(length), given);
    keys.push({ does: key, undoes: key });
  }
  return keys;
}

/** A mechanism, half of the time with members that belong to it. */
function anyMechanism(dice: Dice): Record<string, unknown> {
  const type = dice.chance(0.02) ? dice.below(2 ** 32) : dice.pick(MECHANISMS);
  const isPss = type === CKM.RSA_PKCS_PSS || (type >= 0x43 && type <= 0x45);
  const hash = dice.pick(HASHES);
  const mgf = dice.chance(0.7) ? [1, 5, 2, 3, 4][HASHES.indexOf(hash)] : dice.below(7);
  const members: Record<string, [number, unknown]> = {
    hash: [isPss || type === CKM.RSA_PKCS_OAEP ? 0.9 : 0.02, hash],
    mgf: [isPss || type === CKM.RSA_PKCS_OAEP ? 0.9 : 0.02, mgf ?? 0],
    saltLength: [isPss ? 0.9 : 0.02, dice.pick([0, 20, 32, 64, 190, 222, 223, 512])],
    label: [type === CKM.RSA_PKCS_OAEP ? 0.5 : 0.02, dice.bytes(dice.below(40))],
    iv: [type >= CKM.AES_CBC && type <= CKM.AES_GCM ? 0.9 : 0.02, anyIv(dice)],
    counterBits: [type === CKM.AES_CTR ? 0.9 : 0.02, 1 + dice.below(128)],
    aad: [type === CKM.AES_GCM ? 0.5 : 0.02, dice.bytes(dice.below(40))],
    tagBits: [type === CKM.AES_GCM ? 0.5 : 0.02, dice.pick([0, 1, 32, 64, 96, 100, 120, 128])],
    macLength: [dice.chance(0.5) ? 0.5 : 0.02, dice.below(65)],
  };
  const chosen = Object.entries(members).filter(([, [chance]]) => dice.chance(chance));
  return { type, ...Object.fromEntries(chosen.map(([name, [, value]]) => [name, value])) };
}

const anyIv = (dice: Dice): Buffer =>
  dice.chance(0.5) ? Buffer.from(dice.bytes(16)) : Buffer.from(dice.bytes(1 + dice.below(128)));

test('whatever the mechanism and the data are, the token neither fails nor ends', async () => {
  const seed = fuzzSeed();
  const dice = new Dice(seed);
  using hsm = await CryptoFixture.open();
  const keys = await allKeys(hsm, dice);
  const done = new Map<string, number>();
  const tried = async <Op extends HsmOperation>(
    operation: Op,
    fields: object,
  ): Promise<HsmResults[Op] | undefined> => {
    try {
      const result = await hsm.alice(operation, fields);
      done.set(operation, (done.get(operation) ?? 0) + 1);
      return result;
    } catch (error) {
      const { code } = error as { code: string };
      const told = `${code} of ${operation} ${JSON.stringify(fields)}, FUZZ_SEED=${seed}`;
      if (!REFUSALS.has(code)) throw new Error(told, { cause: error });
      return undefined;
    }
  };
  for (let round = 0; round < ROUNDS; round += 1) {
    const { does, undoes } = dice.pick(keys);
    const mechanism = anyMechanism(dice);
    const length = dice.pick(dice.chance(0.7) ? LENGTHS : RSA_LENGTHS);
    const data = Buffer.from(dice.bytes(length));
    const signed = await tried('p11-sign', { keyId: does, mechanism, data });
    if (signed) {
      const check = { keyId: undoes, mechanism, data, signature: signed.signature };
      expect(await hsm.alice('p11-verify', check)).toEqual({ valid: true });
    }
    const signature = Buffer.from(dice.bytes(dice.pick([0, 1, 16, 64, 132, 256, 257])));
    await tried('p11-verify', { keyId: undoes, mechanism, data, signature });
    await tried('p11-cipher', { keyId: does, direction: 'decrypt', mechanism, data });
    const asked = { keyId: undoes, direction: 'encrypt', mechanism, data };
    const sealed = await tried('p11-cipher', asked);
    if (!sealed) continue;
    const back = { keyId: does, direction: 'decrypt', mechanism, data: sealed.data };
    const opened = Buffer.from((await hsm.alice('p11-cipher', back)).data);
    const whole = mechanism['type'] === CKM.RSA_X_509 ? opened.subarray(256 - length) : opened;
    expect(whole.equals(data)).toBe(true);
  }
  for (const operation of ['p11-sign', 'p11-cipher'])
    expect(done.get(operation)).toBeGreaterThan(99);
});
