import { readFileSync } from 'node:fs';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { callAdmin } from '../../src/cli/admin-client.js';
import { pause } from '../../src/core/deadline.js';
import { LIMITS } from '../../src/core/limits.js';
import type { StatusDocument } from '../../src/protocol/admin.js';
import { DaemonFixture, eventually, signal } from '../support/daemon-fixture.js';
import { refusedUpgrade, type DoorSocket, type Message } from '../support/door-socket.js';

let daemon: DaemonFixture;
let status: StatusDocument;
let url: string;
let second: string;
let keyId: string;
let keyArn: string;

beforeAll(async () => {
  daemon = await DaemonFixture.start({ ephemeral: true });
  status = await daemon.status();
  [url = '', second = ''] = status.endpoints.websocket;
  await using client = await daemon.client();
  const { KeyId, Arn } = await client.kms.createKey();
  [keyId, keyArn] = [KeyId, Arn];
});
afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
});

/** What CreateKey answered. */
const keyOf = (result: Message['result']): { KeyId: string; Arn: string } =>
  result?.['KeyMetadata'] as { KeyId: string; Arn: string };
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const rss = (): number => {
  const text = readFileSync(`/proc/${status.pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)?.[1]) * 1024;
};

/** The daemon lives, and answers a new connection. */
async function serves(): Promise<void> {
  await using client = await daemon.client();
  const { Plaintext } = await client.kms.decrypt(
    await client.kms.encrypt({ KeyId: keyId, Plaintext: Buffer.from('still here') }),
  );
  expect(Buffer.from(Plaintext).toString()).toBe('still here');
}

describe('the subprotocols', () => {
  test('blobs are base64 in JSON and bytes in CBOR; each opens what the other made', async () => {
    await using json = await daemon.socket({ subprotocol: 'keyspan.v1.json' });
    await using cbor = await daemon.socket({ subprotocol: 'keyspan.v1.cbor' });
    const sealed = await json.call('Encrypt', { KeyId: keyId, Plaintext: base64('blob') });
    const blob = sealed.result?.['CiphertextBlob'] as string;
    expect(blob).toMatch(/^[A-Za-z0-9+/]+=*$/);
    const opened = await cbor.call('Decrypt', { CiphertextBlob: Buffer.from(blob, 'base64') });
    expect(Buffer.from(opened.result?.['Plaintext'] as Uint8Array).toString()).toBe('blob');
    expect(status.cluster.hsms.map(({ id }) => id)).toContain(opened.hsm);
  });

  test('the server chooses one that it knows out of several', async () => {
    const offers = { url, ...daemon.pems(), subprotocols: ['other.v9', 'keyspan.v1.json'] };
    expect(await refusedUpgrade(offers)).toBe('opened');
  });

  test.each(['/', '/v1/us-east-1', '/v1/us-east-1/'])('the path %s', async (path) => {
    await using socket = await daemon.socket({ url: new URL(path, url).href });
    const { result } = await socket.call('DescribeKey', { KeyId: keyId });
    expect(result?.['KeyMetadata']).toMatchObject({ Arn: keyArn });
  });

  test('a region is a KMS of its own', async () => {
    await using socket = await daemon.socket({ url: new URL('/v1/eu-west-1', url).href });
    expect(await socket.refusal('DescribeKey', { KeyId: keyId })).toBe('NotFoundException');
    const { result } = await socket.call('CreateKey');
    expect(keyOf(result).Arn).toMatch(/^arn:aws:kms:eu-west-1:/);
  });

  test('over TLS 1.2 too', async () => {
    await using socket = await daemon.socket({ url, maxVersion: 'TLSv1.2' });
    expect((await socket.call('ListKeys')).result).toHaveProperty('Keys');
  });
});

test('a request through an ENI is served by the HSM of that ENI', async () => {
  for (const [index, endpoint] of status.endpoints.websocket.entries()) {
    await using socket = await daemon.socket({ url: endpoint });
    const { hsm } = await socket.call('Encrypt', { KeyId: keyId, Plaintext: base64('x') });
    expect(hsm).toBe(status.cluster.hsms[index]?.id);
  }
});

test('many requests in flight are answered each with its own answer, in any order', async () => {
  await using socket = await daemon.socket({ url });
  // each token writes one new key after the other, so these take long together
  const slow = Array.from({ length: 24 }, () => socket.call('CreateKey'));
  const texts = Array.from({ length: 300 }, (_, index) => `text ${index}`);
  const answers = texts.map(async (text) => {
    const { result } = await socket.call('Encrypt', { KeyId: keyId, Plaintext: base64(text) });
    const opened = await socket.call('Decrypt', { CiphertextBlob: result?.['CiphertextBlob'] });
    return Buffer.from(opened.result?.['Plaintext'] as string, 'base64').toString();
  });
  expect(await Promise.all(answers)).toEqual(texts);
  for (const create of slow) expect((await create).result).toHaveProperty('KeyMetadata');
  // the creates were asked for first, and some of the rest was answered before the last of them
  const isCreate = socket.received.map(({ result }) => 'KeyMetadata' in (result ?? {}));
  expect(isCreate.indexOf(false)).toBeLessThan(isCreate.lastIndexOf(true));
});

describe('bad requests get their own error and leave the connection as it is', () => {
  let socket: DoorSocket;
  let blob: Buffer;
  beforeAll(async () => {
    socket = await daemon.socket({ url });
    const context = { a: 'bc' };
    const params = { KeyId: keyId, Plaintext: base64('secret'), EncryptionContext: context };
    const { result } = await socket.call('Encrypt', params);
    blob = Buffer.from(result?.['CiphertextBlob'] as string, 'base64');
  });

  test.each([
    'not JSON',
    '',
    '[]',
    'null',
    '7',
    '{}',
    '{"action":"ListKeys"}',
    '{"id":-1,"action":"ListKeys"}',
    '{"id":1.5,"action":"ListKeys"}',
    '{"id":{},"action":"ListKeys"}',
    '{"id":1,"action":""}',
    '{"id":1,"action":["ListKeys"]}',
    '{"id":1,"action":"ListKeys","params":[]}',
    '{"id":1,"action":"ListKeys","params":"x"}',
    '{"id":1,"action":"ListKeys","token":1}',
    '{"id":1,"action":"ListKeys","more":1}',
  ])('%s', async (text) => {
    await expectRefusedForm(text);
  });

  test('JSON that nests too deeply', async () => {
    await expectRefusedForm('['.repeat(100_000));
  });

  async function expectRefusedForm(text: string): Promise<void> {
    const before = socket.received.length;
    socket.raw(text);
    const answer = await socket.until((message) => socket.received.indexOf(message) >= before);
    expect(answer.error?.code).toBe('SerializationException');
  }

  test('an id is given back where there is one to give', async () => {
    socket.raw('{"id":"mine","action":7}');
    const answer = await socket.until(({ id }) => id === 'mine');
    expect(answer.error?.code).toBe('SerializationException');
  });

  const encrypt = (more: object): object => ({ KeyId: keyId, Plaintext: base64('x'), ...more });
  test.each([
    ['an unknown action', 'Dance', {}, 'UnknownOperationException'],
    ['a name of every object', 'constructor', {}, 'UnknownOperationException'],
    ['no key', 'Encrypt', { Plaintext: base64('x') }, 'ValidationException'],
    ['no plaintext', 'Encrypt', { KeyId: 'alias/x' }, 'ValidationException'],
    ['4097 bytes', 'Encrypt', { Plaintext: base64('x'.repeat(4097)) }, 'ValidationException'],
    ['no bytes', 'Encrypt', { Plaintext: '' }, 'ValidationException'],
    ['wrong base64', 'Encrypt', { Plaintext: 'a' }, 'SerializationException'],
    ['base64 of URLs', 'Encrypt', { Plaintext: '_-_-' }, 'SerializationException'],
    ['a number for a blob', 'Encrypt', { Plaintext: 5 }, 'SerializationException'],
    ['a list for a string', 'Encrypt', { KeyId: [1] }, 'SerializationException'],
    ['a context of numbers', 'Encrypt', { EncryptionContext: { a: 1 } }, 'SerializationException'],
    [
      'an unknown key',
      'Encrypt',
      { KeyId: `${'0'.repeat(8)}-0000-4000-8000-${'0'.repeat(12)}` },
      'NotFoundException',
    ],
    ['an unknown alias', 'Encrypt', { KeyId: 'alias/none' }, 'NotFoundException'],
    ['a string of bits', 'CreateKey', { MultiRegion: 'yes' }, 'SerializationException'],
    ['a word that is none', 'CreateKey', { KeyUsage: 'DANCE' }, 'ValidationException'],
    ['too many random bytes', 'GenerateRandom', { NumberOfBytes: 1025 }, 'ValidationException'],
    ['events that are none', 'Subscribe', { Events: ['dance'] }, 'ValidationException'],
    ['no events', 'Subscribe', {}, 'ValidationException'],
  ])('%s', async (_what, action, params, code) => {
    const whole =
      action === 'Encrypt' && Object.keys(params).length === 1 ? encrypt(params) : params;
    const isMissing = _what === 'no key' || _what === 'no plaintext';
    expect(await socket.refusal(action, isMissing ? params : whole)).toBe(code);
  });

  test('4096 bytes pass', async () => {
    const params = encrypt({ Plaintext: base64('x'.repeat(4096)) });
    expect((await socket.call('Encrypt', params)).result).toHaveProperty('CiphertextBlob');
  });

  /** where a blob has its key's id, 16 bytes long (src/kms/DESIGN.md) */
  const KEY_ID_AT = 5;

  test('a ciphertext opens whole and with its context, or not at all', async () => {
    const context = { EncryptionContext: { a: 'bc' } };
    const open = (bytes: Buffer, more: object = context): Promise<unknown> =>
      socket.refusal('Decrypt', { CiphertextBlob: bytes.toString('base64'), ...more });
    expect(await open(blob)).toMatchObject({ result: { Plaintext: base64('secret') } });
    for (const other of [{}, { EncryptionContext: { ab: 'c' } }, { EncryptionContext: {} }]) {
      expect(await open(blob, other)).toBe('InvalidCiphertextException');
    }
    for (let at = 0; at < blob.length; at += 1) {
      const tampered = Buffer.from(blob);
      tampered[at] = (tampered[at] ?? 0) ^ 0x40;
      const namesAnother = at >= KEY_ID_AT && at < KEY_ID_AT + 16;
      const code = namesAnother ? 'AccessDeniedException' : 'InvalidCiphertextException';
      expect(await open(tampered), `byte ${at}`).toBe(code);
    }
    for (const length of [1, 10, blob.length - 1]) {
      expect(await open(blob.subarray(0, length))).toBe('InvalidCiphertextException');
    }
    const extended = Buffer.concat([blob, Buffer.of(0)]);
    expect(await open(extended)).toBe('InvalidCiphertextException');
    expect(await open(Buffer.from('of another maker'))).toBe('InvalidCiphertextException');
  });

  test('a disabled key', async () => {
    const { result } = await socket.call('CreateKey');
    const { KeyId } = keyOf(result);
    await socket.call('DisableKey', { KeyId });
    const params = { KeyId, Plaintext: base64('x') };
    expect(await socket.refusal('Encrypt', params)).toBe('DisabledException');
  });

  test('CBOR that is none, nests too deeply, or names itself', async () => {
    await using cbor = await daemon.socket({ url, subprotocol: 'keyspan.v1.cbor' });
    // {"id": 1, "token": "t", "action": "CreateKey", "params": a map that holds itself}
    const selfish = Buffer.concat([
      Buffer.from('a46269640165746f6b656e6174', 'hex'),
      Buffer.from('66616374696f6e694372656174654b6579', 'hex'),
      Buffer.from('66706172616d73d81ca16161d81d00', 'hex'),
    ]);
    for (const bytes of [
      Buffer.of(0xff),
      Buffer.from('9affffffff', 'hex'),
      Buffer.from('baffffffff', 'hex'),
      Buffer.from('5affffffff', 'hex'),
      Buffer.alloc(200_000, 0x81),
      Buffer.alloc(200_000, 0xc1),
      selfish,
    ]) {
      const before = cbor.received.length;
      cbor.raw(bytes);
      const answer = await cbor.until((message) => cbor.received.indexOf(message) >= before);
      expect(answer.error?.code).toBe('SerializationException');
    }
    const big = await cbor.call('CreateKey', { Description: 2n ** 70n }, { token: 'big' });
    expect(big.error?.code).toBe('SerializationException');
  });
});

describe('bad connections', () => {
  test('a message over the bound ends its connection with 1009', async () => {
    await using socket = await daemon.socket({ url });
    socket.raw('x'.repeat(LIMITS.request_size_max_bytes + 1));
    expect(await socket.closed()).toBe(1009);
    await serves();
  });

  test.each([
    ['a reserved opcode', '83800000000000'],
    ['a frame without a mask', '810568656c6c6f'],
    ['a reserved bit', 'f1800000000000'],
    ['a control frame that is too long', '89fe007f00000000'],
    ['a length over 2^53', '81ffffffffffffffffff00000000'],
  ])('%s ends it', async (_what, hex) => {
    await using socket = await daemon.socket({ url });
    rawStream(socket).write(Buffer.from(hex, 'hex'));
    expect(await socket.closed()).toBeGreaterThan(1000);
  });

  test('a peer that goes away within a frame', async () => {
    await using socket = await daemon.socket({ url });
    // the head promises 100 bytes, and 3 come
    rawStream(socket).write(Buffer.from('81e400000000616263', 'hex'));
    rawStream(socket).destroySoon();
    await socket.closed();
    await serves();
  });
});

describe('principals', () => {
  test('the certificate says who asks; the key policy decides', async () => {
    const stranger = await callAdmin(daemon.home, 'IssueCertificate', {
      principal: 'arn:aws:iam::999999999999:user/mallory',
    });
    await using socket = await daemon.socket({ url, ...stranger, ca: daemon.pems().ca });
    const params = { KeyId: keyArn, Plaintext: base64('x') };
    const refused = await socket.call('Encrypt', params);
    expect(refused.error?.code).toBe('AccessDeniedException');
    expect(refused.error?.message).toContain('user/mallory');
  });
});

describe('the life of a connection', () => {
  test('a ping is answered', async () => {
    await using socket = await daemon.socket({ url });
    const pong = new Promise<Buffer>((resolve) => socket.webSocket.once('pong', resolve));
    socket.webSocket.ping('echo');
    expect((await pong).toString()).toBe('echo');
  });

  test('one token is one key, with any ENI; another request with it is refused', async () => {
    await using first = await daemon.socket({ url });
    await using other = await daemon.socket({ url: second });
    const params = { Description: 'once' };
    const token = { token: 'the-same' };
    const [one, two] = await Promise.all([
      first.call('CreateKey', params, token),
      other.call('CreateKey', params, token),
    ]);
    const idOf = ({ result }: Message): string => keyOf(result).KeyId;
    expect(idOf(one)).toBe(idOf(two));
    expect(idOf(await other.call('CreateKey', params, token))).toBe(idOf(one));
    expect(idOf(await first.call('CreateKey', params, { token: 'other' }))).not.toBe(idOf(one));
    const misused = await first.call('CreateKey', { Description: 'twice' }, token);
    expect(misused.error?.code).toBe('ValidationException');
    const elsewhere = await first.call('DisableKey', { KeyId: keyId }, token);
    expect(elsewhere.error?.code).toBe('ValidationException');
  });

  test('more than it may have in flight is throttled, and the rest is answered', async () => {
    const [entry] = await daemon.allActive();
    await using socket = await daemon.socket({ url });
    const count = LIMITS.connection_inflight_max + 100;
    // an HSM that stands still keeps its requests in flight
    signal(entry?.pid, 'SIGSTOP');
    const answers: Message[] = [];
    const all = Array.from({ length: count }, async (_, id) => {
      socket.send({ id, action: 'GenerateRandom', params: { NumberOfBytes: 16 } });
      answers.push(await socket.until((message) => message.id === id));
    });
    await eventually(
      async () => (socket.received.length >= 100 ? true : undefined),
      'the refusals',
    );
    signal(entry?.pid, 'SIGCONT');
    await Promise.all(all);
    const refused = answers.filter(({ error }) => error);
    expect(refused).toHaveLength(100);
    expect(new Set(refused.map(({ error }) => error?.code))).toEqual(
      new Set(['ThrottlingException']),
    );
    await daemon.allActive();
  });

  test('it ends with 1012 when its HSM leaves, and subscribers elsewhere hear of it', async () => {
    const [leaving] = await daemon.allActive();
    const hsm = leaving?.id ?? '';
    await using socket = await daemon.socket({ url });
    await using witness = await daemon.socket({ url: second });
    expect((await witness.call('Subscribe', { Events: ['hsm'] })).result).toEqual({
      Events: ['hsm'],
    });
    await callAdmin(daemon.home, 'HsmKill', { id: hsm });
    expect(await socket.closed()).toBe(1012);
    const event = await witness.until(({ data }) => data?.['id'] === hsm);
    expect(event).toEqual({ event: 'hsm', data: { id: hsm, state: 'KILLED' } });
    expect(await refusedUpgrade({ url, ...daemon.pems() })).toBe('cut');
    expect((await witness.call('ListKeys')).result).toHaveProperty('Keys');
    await callAdmin(daemon.home, 'HsmStart', { id: hsm });
    await witness.until(({ data }) => data?.['id'] === hsm && data['state'] === 'ACTIVE');
    await eventually(
      async () =>
        (await refusedUpgrade({ url, ...daemon.pems() })) === 'opened' ? true : undefined,
      'the ENI listens again',
    );
  });

  test('the client library goes on through the loss of its ENI', async () => {
    const client = await daemon.client();
    const used = client.endpoint as string;
    const index = status.endpoints.websocket.indexOf(used);
    const { id } = status.cluster.hsms[index] as { id: string };
    await callAdmin(daemon.home, 'HsmStop', { id });
    expect(await client.kms.generateRandom(8)).toHaveLength(8);
    await eventually(
      async () => (client.endpoint !== undefined && client.endpoint !== used ? true : undefined),
      'another ENI',
    );
    await callAdmin(daemon.home, 'HsmStart', { id });
    await daemon.hsm(id);
  });
});

test('many connections that come and go leave nothing behind', async () => {
  await pause(100);
  const before = rss();
  for (let round = 0; round < 20; round += 1) {
    const opened = Array.from({ length: 10 }, async () => {
      await using socket = await daemon.socket({ url });
      await socket.call('Subscribe', { Events: ['hsm', 'cluster'] });
    });
    await Promise.all(opened);
  }
  expect(rss() - before).toBeLessThan(150 << 20);
});

test('after all of it the daemon serves, in the same process, of a sane size', async () => {
  await serves();
  const now = await daemon.status();
  expect(now.pid).toBe(status.pid);
  expect(now.state).toBe('READY');
  expect(rss()).toBeLessThan(600 << 20);
  const faults = daemon
    .log()
    .split('\n')
    .filter((line) => line.includes('"level":60'));
  expect(faults).toEqual([]);
});

/** The TLS stream below a WebSocket. */
function rawStream(socket: DoorSocket): TLSSocket {
  return (socket.webSocket as unknown as { _socket: TLSSocket })._socket;
}
