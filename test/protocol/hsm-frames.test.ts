import { describe, expect, test } from 'vitest';
import { newBootId, newClusterId, newHsmId, newHsmKeyId } from '../../src/core/ids.js';
import { LIMITS } from '../../src/core/limits.js';
import {
  FRAME_VERSION,
  HSM_OPERATIONS,
  RECORD_VERSION,
  hello,
  joinTranscript,
  type HsmOperation,
} from '../../src/protocol/hsm-frames.js';

const keyId = newHsmKeyId();
const maskingKeyId = newHsmKeyId();
const user = { username: 'alice', password: 'password' };
const certificates = ['pem'];
const bytes = (length: number): Buffer => Buffer.alloc(length, 1);

const key = { keyId, reference: '0x0000000000000001', label: 'a key', given: { sign: true } };

const fault = { operation: '*', when: 'before', nth: 1, times: 1, action: { do: 'crash' } };

/** Fields of each operation that are right. */
const RIGHT: Record<HsmOperation, Record<string, unknown>> = {
  info: {},
  'fault-add': { rule: fault },
  'fault-list': {},
  'store-seen': {},
  'fault-clear': {},
  identity: {},
  found: { maskingKeyId, certificates, root: 'pem', appUser: user, admin: user },
  'join-offer': {},
  join: {
    maskingKeyId,
    wrapped: { wrap: bytes(256), seal: bytes(256), auth: bytes(256) },
    certificates,
    root: 'pem',
    users: bytes(64),
  },
  handover: { hsm: newHsmId(), certificates, publicKey: bytes(294), signature: bytes(70) },
  backup: { certificates },
  'backup-keys': { keyIds: [keyId] },
  leave: {},
  login: user,
  logout: {},
  activate: { password: 'password' },
  'user-list': {},
  'user-create': { ...user, role: 'crypto-user' },
  'user-delete': { username: 'alice', role: 'admin' },
  'user-change-password': { ...user, role: 'appliance-user' },
  'mfa-challenge': { username: 'alice' },
  'user-change-mfa': { username: 'alice', role: 'crypto-user' },
  'user-change-quorum': {
    publicKey: bytes(294),
    proof: { token: bytes(245), signature: bytes(256) },
  },
  'user-extract': { username: 'alice', role: 'crypto-user' },
  'user-insert': { sealed: bytes(200) },
  'token-create': { service: 'user' },
  'token-list': {},
  'token-delete': { scope: 'user' },
  'quorum-values': {},
  'quorum-set': { service: 'quorum', value: 2 },
  generate: { keyId, kind: 'aes-256', label: '' },
  import: { keyId, material: bytes(32), label: '' },
  insert: { masked: bytes(200) },
  extract: { keyId },
  find: { after: '', limit: 1 },
  destroy: { keyId },
  discard: { keyId },
  inventory: { after: keyId, limit: LIMITS.hsm_inventory_page_max },
  'record-prepare': {
    keyId,
    change: { share: ['bob'], unshare: ['carol'], label: '', usage: { encrypt: false } },
  },
  'record-apply': { masked: bytes(200) },
  'record-extract': { keyId },
  'cluster-key': { keyId },
  'key-generate': { key, spec: { type: 'aes', length: 32 } },
  'key-pair-generate': { privateKey: key, publicKey: key, spec: { type: 'rsa' } },
  'key-import': { key, type: 'ec', der: bytes(91) },
  'key-unwrap': {
    key,
    wrappingId: keyId,
    mechanism: { name: 'aes-no-pad' },
    data: bytes(40),
    kind: 'aes',
  },
  'key-keep': { fromId: keyId, keyId },
  'key-wrap': { payloadId: keyId, wrappingId: keyId, mechanism: { name: 'rsa-oaep' } },
  'key-find': { filter: { attributes: {} }, limit: 1, verbose: true },
  'key-destroyable': { keyId },
  'key-export': { keyId },
  'key-acceptable': { masked: bytes(200) },
  'key-drop': { keyId },
  'key-sign': { keyId, mechanism: { name: 'ecdsa' }, data: bytes(1), digested: false },
  'key-verify': {
    keyId,
    mechanism: { name: 'ecdsa' },
    data: bytes(1),
    digested: false,
    signature: bytes(64),
  },
  'object-find': { limit: 1 },
  'object-create': { key, content: { kind: 'data', value: bytes(9) } },
  'object-copy': { fromId: keyId, key },
  'object-reveal': { keyId },
  'p11-cipher': { keyId, direction: 'encrypt', mechanism: { type: 0x1081 }, data: bytes(16) },
  'p11-sign': { keyId, mechanism: { type: 1 }, data: bytes(0) },
  'p11-verify': { keyId, mechanism: { type: 1 }, data: bytes(0), signature: bytes(256) },
  'p11-derive': { baseId: keyId, key, type: 'aes', kdf: 1, publicData: bytes(65) },
  digest: { type: 0x250, data: bytes(0) },
  'stream-open': { purpose: 'digest', mechanism: { type: 0x250 } },
  'stream-update': { stream: 1, data: bytes(1) },
  'stream-final': { stream: 1 },
  'stream-close': { stream: 1 },
  random: { length: 1 },
  encrypt: { keyId, aad: bytes(0), data: bytes(1) },
  decrypt: { keyId, iv: bytes(12), aad: bytes(0), data: bytes(17) },
  reencrypt: {
    keyId,
    iv: bytes(12),
    aad: bytes(0),
    data: bytes(17),
    toKeyId: keyId,
    toAad: bytes(9),
  },
  'data-key': { keyId, aad: bytes(0), length: 32, withPlaintext: false },
};

const fieldsOf = (operation: HsmOperation, fields: unknown): unknown =>
  HSM_OPERATIONS[operation].fields(fields);

describe.each(Object.entries(RIGHT))('%s', (name, right) => {
  const operation = name as HsmOperation;

  test('takes its fields as they are', () => {
    expect(fieldsOf(operation, right)).toEqual(right);
  });

  test('refuses fields that are missing, of another type, or too many', () => {
    for (const member of Object.keys(right)) {
      const { [member]: _, ...without } = right;
      expect(() => fieldsOf(operation, without)).toThrow(member);
      for (const value of [null, undefined, 7.5, [], {}, -1, new Date(0)]) {
        expect(() => fieldsOf(operation, { ...right, [member]: value })).toThrow(member);
      }
    }
    expect(() => fieldsOf(operation, { ...right, more: 1 })).toThrow('unknown');
    for (const value of [null, undefined, 1, 'x']) {
      expect(() => fieldsOf(operation, value)).toThrow();
    }
  });
});

describe('fields', () => {
  test.each<[HsmOperation, string, unknown[], unknown[]]>([
    ['encrypt', 'data', [bytes(16_384)], [bytes(0), bytes(16_385), 'text']],
    ['encrypt', 'aad', [bytes(16_384)], [bytes(16_385)]],
    ['encrypt', 'keyId', [], ['', keyId.toUpperCase(), `${keyId}0`]],
    ['decrypt', 'iv', [], [bytes(11), bytes(13)]],
    ['decrypt', 'data', [bytes(16_400)], [bytes(0), bytes(16_401)]],
    ['reencrypt', 'data', [bytes(16_400)], [bytes(16_401)]],
    ['random', 'length', [1_024], [0, 1_025, 1n]],
    ['data-key', 'length', [1_024], [0, 1_025]],
    ['data-key', 'withPlaintext', [true], [1, 'true']],
    ['find', 'limit', [1, 2_000], [0, 2_001]],
    ['find', 'after', [keyId], [`${keyId}0`]],
    ['generate', 'label', ['x'.repeat(127)], ['x'.repeat(128)]],
    ['generate', 'kind', ['cluster-key'], ['aes-128']],
    ['import', 'material', [bytes(32)], [bytes(31), bytes(33), 'x'.repeat(32)]],
    ['login', 'username', ['x'.repeat(31), 'A_9'], ['', 'x'.repeat(32), 'a-b', 'a b', 'ä', 'a\n']],
    ['login', 'password', ['x', 'a:b'], ['', 'x'.repeat(65)]],
    ['user-create', 'password', ['x'.repeat(7)], ['x'.repeat(6), 'x'.repeat(65), 'pass:word']],
    ['user-create', 'role', ['admin'], ['appliance-user', 'unactivated-admin', 'toString']],
    ['user-delete', 'role', ['crypto-user'], ['appliance-user', 'unactivated-admin']],
    ['token-create', 'key', [keyId, '0x0000000000680006'], ['', 'a b', 'x'.repeat(41)]],
    ['token-create', 'service', ['key-usage', 'cluster'], ['mfa', 'keys']],
    ['quorum-set', 'value', [1, 8], [0, 9, 1.5]],
    ['quorum-set', 'service', ['user'], ['registration', 'key-usage']],
    ['insert', 'masked', [bytes(40_960)], [bytes(63), bytes(40_961)]],
    ['handover', 'certificates', [['a', 'b', 'c', 'd']], [[], ['a', 'b', 'c', 'd', 'e'], ['']]],
    ['handover', 'hsm', [], [newClusterId(), 'hsm-x']],
  ])('%s %s', (operation, member, taken, refused) => {
    const read = (value: unknown): unknown =>
      fieldsOf(operation, { ...RIGHT[operation], [member]: value });
    for (const value of taken) expect(read(value)).toHaveProperty(member, value);
    for (const value of refused) expect(() => read(value)).toThrow(member);
  });

  test('what an HSM seals it can be asked to open', () => {
    const sealed = bytes(LIMITS.hsm_data_max_bytes + 16);
    expect(fieldsOf('decrypt', { ...RIGHT.decrypt, data: sealed })).toBeDefined();
  });
});

describe('hello', () => {
  const right = {
    hello: FRAME_VERSION,
    recordVersion: RECORD_VERSION,
    hsm: newHsmId(),
    cluster: newClusterId(),
  };

  test('is taken from either side', () => {
    expect(hello(right)).toEqual(right);
    const answer = { ...right, boot: newBootId(), epoch: 3, phase: 'new' };
    expect(hello(answer)).toEqual(answer);
  });

  test('of another version or form is refused', () => {
    const wrong = [
      { hello: 1 },
      { hello: '1' },
      { hsm: right.cluster },
      { cluster: right.hsm },
      { recordVersion: 0 },
      { boot: 'x' },
      { epoch: -1 },
      { phase: 'old' },
      { more: 1 },
    ];
    for (const change of wrong) expect(() => hello({ ...right, ...change })).toThrow();
    for (const value of [[], null, 'hello', [1, 1_000, 0, 'info', 0, {}]]) {
      expect(() => hello(value)).toThrow();
    }
  });
});

test('what a joiner signs is bound to the cluster, the HSM and the key', () => {
  const [cluster, hsm] = [newClusterId(), newHsmId()];
  const all = [
    joinTranscript(cluster, hsm, bytes(9)),
    joinTranscript(newClusterId(), hsm, bytes(9)),
    joinTranscript(cluster, newHsmId(), bytes(9)),
    joinTranscript(cluster, hsm, bytes(8)),
  ].map((transcript) => transcript.toString('hex'));
  expect(new Set(all).size).toBe(all.length);
  expect(joinTranscript(cluster, hsm, bytes(1)).toString('latin1')).toBe(
    `keyspan join v1\0${cluster}\0${hsm}\0\x01`,
  );
});
