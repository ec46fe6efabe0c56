// One PKCS #11 application, for scripts/bench: pkcs11-client.mjs MODULE PIN MODE MILLISECONDS
import pkcs11 from 'pkcs11js';

const [path, pin, mode, amount] = process.argv.slice(2);
const milliseconds = Number(amount);
const module = new pkcs11.PKCS11();
module.load(path);

const initialize = () => module.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
const FLAGS = pkcs11.CKF_RW_SESSION | pkcs11.CKF_SERIAL_SESSION;
const slotOf = () => module.C_GetSlotList(true)[0];

function open() {
  initialize();
  const session = module.C_OpenSession(slotOf(), FLAGS);
  module.C_Login(session, pkcs11.CKU_USER, pin);
  return session;
}

/** How often a second `work` is done, and the median of one, in microseconds. */
function rate(work) {
  const warm = performance.now() + milliseconds / 4;
  while (performance.now() < warm) work();
  const samples = [];
  const begin = performance.now();
  while (performance.now() - begin < milliseconds) {
    const before = performance.now();
    work();
    samples.push(performance.now() - before);
  }
  const perSecond = (samples.length * 1_000) / (performance.now() - begin);
  samples.sort((a, b) => a - b);
  return { perSecond, medianUs: samples[samples.length >> 1] * 1_000 };
}

function find(session, label) {
  module.C_FindObjectsInit(session, [{ type: pkcs11.CKA_LABEL, value: label }]);
  const found = [];
  for (;;) {
    const handle = module.C_FindObjects(session);
    if (!handle) break;
    found.push(handle);
  }
  module.C_FindObjectsFinal(session);
  return found;
}

function privateKey(session, label) {
  const isPrivate = (handle) =>
    module.C_GetAttributeValue(session, handle, [{ type: pkcs11.CKA_CLASS }])[0].value[0] ===
    pkcs11.CKO_PRIVATE_KEY;
  return find(session, label).find(isPrivate);
}

function signing(label, mechanism, length) {
  const session = open();
  const key = privateKey(session, label);
  const [data, signature] = [Buffer.alloc(length, 7), Buffer.alloc(512)];
  return rate(() => {
    module.C_SignInit(session, mechanism, key);
    module.C_Sign(session, data, signature);
  });
}

const RSA_KEY = [
  { type: pkcs11.CKA_MODULUS_BITS, value: 2_048 },
  { type: pkcs11.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
];
const P256 = [{ type: pkcs11.CKA_EC_PARAMS, value: Buffer.from('06082a8648ce3d030107', 'hex') }];

const MODES = {
  /** Makes the keys that the others work with. */
  make() {
    const session = open();
    for (const [label, mechanism, attributes] of [
      ['bench-rsa', pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, RSA_KEY],
      ['bench-ec', pkcs11.CKM_EC_KEY_PAIR_GEN, P256],
    ]) {
      const half = [
        { type: pkcs11.CKA_TOKEN, value: true },
        { type: pkcs11.CKA_LABEL, value: label },
      ];
      module.C_GenerateKeyPair(
        session,
        { mechanism },
        half.concat(attributes, { type: pkcs11.CKA_VERIFY, value: true }),
        [
          ...half,
          { type: pkcs11.CKA_PRIVATE, value: true },
          { type: pkcs11.CKA_SIGN, value: true },
        ],
      );
    }
    return {};
  },
  info() {
    const session = open();
    return rate(() => module.C_GetSessionInfo(session));
  },
  rsa: () => signing('bench-rsa', { mechanism: pkcs11.CKM_SHA256_RSA_PKCS }, 32),
  ec: () => signing('bench-ec', { mechanism: pkcs11.CKM_ECDSA }, 32),
  random() {
    const session = open();
    const buffer = Buffer.alloc(32);
    return rate(() => module.C_GenerateRandom(session, buffer));
  },
  /** A connection from its beginning to its end. */
  connect: () =>
    rate(() => {
      initialize();
      module.C_GetSlotList(true);
      module.C_Finalize();
    }),
  /** The login alone, of a connection of its own each time. */
  login() {
    const samples = [];
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      initialize();
      const session = module.C_OpenSession(slotOf(), FLAGS);
      const before = performance.now();
      module.C_Login(session, pkcs11.CKU_USER, pin);
      samples.push(performance.now() - before);
      module.C_Finalize();
    }
    samples.sort((a, b) => a - b);
    return { medianUs: samples[samples.length >> 1] * 1_000 };
  },
  find() {
    const session = open();
    return rate(() => find(session, 'bench-ec'));
  },
  /** So many secret keys more. */
  fill() {
    const session = open();
    for (let i = 0; i < milliseconds; i += 1) {
      module.C_GenerateKey(session, { mechanism: pkcs11.CKM_AES_KEY_GEN }, [
        { type: pkcs11.CKA_TOKEN, value: true },
        { type: pkcs11.CKA_LABEL, value: `fill-${i}` },
        { type: pkcs11.CKA_VALUE_LEN, value: 32 },
      ]);
    }
    return {};
  },
};

process.stdout.write(`${JSON.stringify(MODES[mode]())}\n`);
