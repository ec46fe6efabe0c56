// The reference: a bare in-process loop over the PKCS#11 module, without anything of Keyspan.
// Run as a process of its own: bare.mjs MODE DIRECTORY [MILLISECONDS]
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pkcs11 from 'pkcs11js';
import { loadModuleProfile } from '../../dist/token/softhsm.js';

const SO_PIN = '12345678';
const USER_PIN = '87654321';

export function open(directory, make) {
  mkdirSync(join(directory, 'tokens'), { recursive: true });
  const configuration = join(directory, 'softhsm2.conf');
  writeFileSync(
    configuration,
    `directories.tokendir = ${join(directory, 'tokens')}\nobjectstore.backend = file\n`,
  );
  process.env.SOFTHSM2_CONF = configuration;
  const module = new pkcs11.PKCS11();
  module.load(loadModuleProfile().library);
  module.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
  const [slot] = module.C_GetSlotList(true);
  if (make) {
    module.C_InitToken(slot, SO_PIN, 'bare'.padEnd(32));
    const [made] = module.C_GetSlotList(true);
    const officer = module.C_OpenSession(made, pkcs11.CKF_RW_SESSION | pkcs11.CKF_SERIAL_SESSION);
    module.C_Login(officer, pkcs11.CKU_SO, SO_PIN);
    module.C_InitPIN(officer, USER_PIN);
    module.C_Logout(officer);
    module.C_CloseSession(officer);
  }
  const [token] = module.C_GetSlotList(true);
  const session = module.C_OpenSession(token, pkcs11.CKF_RW_SESSION | pkcs11.CKF_SERIAL_SESSION);
  module.C_Login(session, pkcs11.CKU_USER, USER_PIN);
  return { module, session };
}

function generate({ module, session }, onToken) {
  return module.C_GenerateKey(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
    { type: pkcs11.CKA_TOKEN, value: onToken },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_VALUE_LEN, value: 32 },
    { type: pkcs11.CKA_ENCRYPT, value: true },
    { type: pkcs11.CKA_DECRYPT, value: true },
  ]);
}

/** C_EncryptInit and C_Encrypt of 32 bytes with a session key: microseconds each, rate. */
function encryptLoop(token, milliseconds) {
  const { module, session } = token;
  const key = generate(token, false);
  const [plaintext, iv, aad] = [Buffer.alloc(32, 7), Buffer.alloc(12, 1), Buffer.alloc(64, 2)];
  const sealed = Buffer.alloc(48);
  const parameter = { type: pkcs11.CK_PARAMS_AES_GCM_v240, iv, aad, ivBits: 96, tagBits: 128 };
  const mechanism = { mechanism: pkcs11.CKM_AES_GCM, parameter };
  const samples = [];
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < milliseconds) {
    const before = performance.now();
    for (let i = 0; i < 100; i += 1) {
      module.C_EncryptInit(session, mechanism, key);
      module.C_Encrypt(session, plaintext, sealed);
    }
    samples.push((performance.now() - before) * 10);
    count += 100;
  }
  const perSecond = (count * 1000) / (performance.now() - start);
  samples.sort((a, b) => a - b);
  return { perSecond, medianUs: samples[samples.length >> 1] };
}

/** Milliseconds to make one token key. */
function createLoop(token, count) {
  const samples = [];
  for (let i = 0; i < count; i += 1) {
    const before = performance.now();
    generate(token, true);
    samples.push(performance.now() - before);
  }
  samples.sort((a, b) => a - b);
  return { medianMs: samples[samples.length >> 1] };
}

/** C_SignInit and C_Sign with an RSA-2048 session key, hash and all: the rate. */
function signLoop({ module, session }, milliseconds) {
  const { privateKey } = module.C_GenerateKeyPair(
    session,
    { mechanism: pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN },
    [
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_MODULUS_BITS, value: 2_048 },
      { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
    ],
    [
      { type: pkcs11.CKA_TOKEN, value: false },
      { type: pkcs11.CKA_PRIVATE, value: true },
      { type: pkcs11.CKA_SIGN, value: true },
    ],
  );
  const [data, signature] = [Buffer.alloc(32, 7), Buffer.alloc(256)];
  const mechanism = { mechanism: pkcs11.CKM_SHA256_RSA_PKCS };
  const start = performance.now();
  let count = 0;
  while (performance.now() - start < milliseconds) {
    module.C_SignInit(session, mechanism, privateKey);
    module.C_Sign(session, data, signature);
    count += 1;
  }
  return { perSecond: (count * 1000) / (performance.now() - start) };
}

const print = (figures) => process.stdout.write(`${JSON.stringify(figures)}\n`);

const [mode, directory, amount] = process.argv.slice(2);
if (mode === 'make') open(directory, true);
else if (mode === 'login') open(directory, false);
else if (mode === 'encrypt') {
  print(encryptLoop(open(directory, true), Number(amount)));
} else if (mode === 'create') {
  print(createLoop(open(directory, true), Number(amount)));
} else if (mode === 'sign') {
  print(signLoop(open(directory, true), Number(amount)));
}
