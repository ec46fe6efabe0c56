import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { KeyspanClient, type ClientOptions } from '../../src/client/client.js';
import { LIMITS } from '../../src/core/limits.js';
import { echo, ForeignEni, type Arrival, type Behaviour } from '../support/foreign-daemon.js';
import { makeTlsFiles, type TlsFiles } from '../support/tls-files.js';

let files: TlsFiles;
const enis: ForeignEni[] = [];
const clients: KeyspanClient[] = [];

beforeAll(() => {
  files = makeTlsFiles();
});

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await Promise.all(enis.splice(0).map((eni) => eni.stop()));
});

async function eni(behaviour: Behaviour = echo, tls = files): Promise<ForeignEni> {
  const one = await new ForeignEni(tls, behaviour).listen();
  enis.push(one);
  return one;
}

async function connect(
  to: readonly ForeignEni[],
  options: Partial<ClientOptions> = {},
): Promise<KeyspanClient> {
  const client = await KeyspanClient.connect({
    endpoints: to.map(({ endpoint }) => endpoint),
    ca: files.ca,
    ...files.client,
    requestTimeoutMs: 30_000,
    ...options,
  });
  clients.push(client);
  return client;
}

const eventually = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
};

/** Answers nothing until `count` requests have come, then ends in the given way. */
function hold(count: number, end: (arrival: Arrival) => void): Behaviour {
  return (arrival) => {
    if (arrival.eni.requests.length === count) end(arrival);
  };
}

describe.each(['keyspan.v1.cbor', 'keyspan.v1.json'] as const)('over %s', (subprotocol) => {
  test('many requests are in flight, and answers may come in any order', async () => {
    const held: Arrival[] = [];
    const server = await eni((arrival) => {
      held.push(arrival);
      if (held.length === 100) {
        for (const { request, answer } of held.reverse())
          answer({ N: request.params['N'] }, 'hsm-a');
      }
    });
    const client = await connect([server], { subprotocol });
    const calls = Array.from({ length: 100 }, (_, N) => client.call('Encrypt', { N }));
    const answers = await Promise.all(calls);
    expect(answers).toEqual(
      Array.from({ length: 100 }, (_, N) => ({ result: { N }, hsm: 'hsm-a' })),
    );
    expect(server.connections).toBe(1);
  });

  test('typed methods take and give bytes', async () => {
    const seen: unknown[] = [];
    const server = await eni(({ request, answer }) => {
      seen.push(request.params['Plaintext']);
      answer({ CiphertextBlob: request.params['Plaintext'], KeyId: 'arn' });
    });
    const client = await connect([server], { subprotocol });
    const Plaintext = Buffer.from([0, 1, 254, 255]);
    const { CiphertextBlob } = await client.kms.encrypt({ KeyId: 'k', Plaintext });
    expect(Buffer.from(CiphertextBlob)).toEqual(Plaintext);
    const wire = subprotocol === 'keyspan.v1.cbor' ? Plaintext : Plaintext.toString('base64');
    expect(seen).toEqual([wire]);
  });

  test('an error of the service keeps its code and message', async () => {
    const server = await eni(({ refuse }) => refuse('NotFoundException', "Key 'x' does not exist"));
    const client = await connect([server], { subprotocol });
    await expect(client.call('DescribeKey', { KeyId: 'x' })).rejects.toMatchObject({
      name: 'ServiceError',
      code: 'NotFoundException',
      message: "Key 'x' does not exist",
    });
  });
});

describe('failing over', () => {
  test('the first endpoint is used, and the next one when it refuses connections', async () => {
    const [a, b] = [await eni(), await eni()];
    expect((await connect([a, b])).endpoint).toBe(a.endpoint);
    await a.stop();
    expect((await connect([a, b])).endpoint).toBe(b.endpoint);
  });

  test.each([1001, 1012, 1011])(
    'requests in flight when a server closes with %i are sent again with the same token',
    async (code) => {
      const a = await eni(hold(3, ({ socket }) => socket.close(code)));
      const b = await eni();
      const client = await connect([a, b]);
      const answers = await Promise.all([
        client.call('CreateKey', { N: 1 }),
        client.call('CreateKey', { N: 2 }, { token: 'mine' }),
        client.call('Encrypt', { N: 3 }),
      ]);
      expect(answers.map(({ result }) => result['N'])).toEqual([1, 2, 3]);
      expect(b.requests).toEqual(a.requests);
      const tokens = b.requests.map(({ token }) => token);
      expect(tokens).toEqual([expect.stringMatching(/^.{16,64}$/), 'mine', undefined]);
    },
  );

  test('a server that dies loses no request', async () => {
    const a = await eni(hold(50, ({ eni: self }) => void self.stop()));
    const b = await eni();
    const client = await connect([a, b]);
    const calls = Array.from({ length: 50 }, (_, N) => client.call('Decrypt', { N }));
    expect(await Promise.all(calls)).toHaveLength(50);
    expect(client.endpoint).toBe(b.endpoint);
  });

  test('a server that falls silent is left', async () => {
    const a = await eni(({ eni: self }) => self.fallSilent());
    const b = await eni();
    const client = await connect([a, b], { silenceMs: 150 });
    expect(await client.call('Encrypt', { N: 7 })).toEqual({ result: { N: 7 } });
    expect(client.endpoint).toBe(b.endpoint);
  });

  test('an idle connection to a live server is kept', async () => {
    const server = await eni();
    const client = await connect([server], { silenceMs: 60 });
    await new Promise((resolve) => setTimeout(resolve, 500));
    await client.call('Encrypt');
    expect(server.connections).toBe(1);
  });

  test('a cluster that comes back is found again', async () => {
    const server = await eni();
    const client = await connect([server]);
    await server.stop();
    const call = client.call('Encrypt', { N: 1 });
    await eventually(() => client.endpoint === undefined);
    await server.listen();
    expect(await call).toEqual({ result: { N: 1 } });
  });

  test('a request that may not be sent twice fails with its connection', async () => {
    const a = await eni(({ socket }) => socket.close(1012));
    const b = await eni();
    const client = await connect([a, b]);
    const call = client.call('Encrypt', {}, { retries: false });
    await expect(call).rejects.toMatchObject({ code: 'KeyspanConnection' });
    expect(b.requests).toEqual([]);
  });
});

describe('deadlines and refusals', () => {
  test('a request without an answer ends at its deadline, and others do not', async () => {
    const server = await eni(({ request, answer }) => {
      if (request.action === 'Encrypt') answer({});
    });
    const client = await connect([server]);
    const late = client.call('Decrypt', {}, { timeoutMs: 50 });
    await expect(late).rejects.toMatchObject({ code: 'KeyspanDeadlineExceeded' });
    await client.call('Encrypt');
  });

  test('a refusal that passes is tried again with the same token', async () => {
    let refusals = 3;
    const server = await eni(({ answer, refuse }) => {
      if (refusals-- > 0) refuse('ThrottlingException');
      else answer({ Done: true });
    });
    const client = await connect([server]);
    expect((await client.call('CreateKey')).result).toEqual({ Done: true });
    expect(new Set(server.requests.map(({ token }) => token)).size).toBe(1);
    expect(server.requests).toHaveLength(4);
  });

  test('a refusal that never passes is the error at the deadline', async () => {
    const server = await eni(({ refuse }) => refuse('KeyUnavailableException', 'later'));
    const client = await connect([server]);
    const call = client.call('Encrypt', {}, { timeoutMs: 100 });
    await expect(call).rejects.toMatchObject({ code: 'KeyUnavailableException', message: 'later' });
    expect(server.requests.length).toBeGreaterThan(1);
  });

  test('without retries the first refusal counts', async () => {
    const server = await eni(({ refuse }) => refuse('ThrottlingException'));
    const client = await connect([server]);
    const call = client.call('Encrypt', {}, { retries: false });
    await expect(call).rejects.toMatchObject({ code: 'ThrottlingException' });
    expect(server.requests).toHaveLength(1);
  });

  test('a signal gives a request up', async () => {
    const server = await eni(() => undefined);
    const client = await connect([server]);
    const aborting = new AbortController();
    const call = client.call('Encrypt', {}, { signal: aborting.signal });
    aborting.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    const aborted = client.call('Encrypt', {}, { signal: aborting.signal });
    await expect(aborted).rejects.toThrow('enough');
  });

  test('an oversized request is refused here', async () => {
    const server = await eni();
    const client = await connect([server]);
    const call = client.call('Encrypt', { Plaintext: Buffer.alloc(300_000) });
    await expect(call).rejects.toMatchObject({ code: 'ValidationException' });
    expect(server.requests).toEqual([]);
  });

  test('a message that is none ends the connection and not the client', async () => {
    const a = await eni(({ socket }) => socket.send(Buffer.from([0xff, 0x00, 0x1c])));
    const b = await eni();
    const client = await connect([a, b]);
    expect(await client.call('Encrypt', { N: 1 })).toEqual({ result: { N: 1 } });
    expect(client.endpoint).toBe(b.endpoint);
  });

  test('what is unanswered when the client is closed fails', async () => {
    const server = await eni(() => undefined);
    const client = await connect([server]);
    const call = client.call('Encrypt');
    const refused = expect(call).rejects.toMatchObject({ code: 'KeyspanConnection' });
    await client[Symbol.asyncDispose]();
    await refused;
    await expect(client.call('Encrypt')).rejects.toMatchObject({ code: 'KeyspanConnection' });
    await eventually(() => server.sockets.size === 0);
  });
});

describe('who is who', () => {
  test('a server of another CA is not trusted', async () => {
    const server = await eni(echo, { ...makeTlsFiles(), ca: files.ca });
    await expect(connect([server])).rejects.toMatchObject({ code: 'KeyspanConnection' });
    expect(server.connections).toBe(0);
  });

  test('a server that is no cluster is not trusted', async () => {
    const other = makeTlsFiles('www.example.com');
    const server = await eni(echo, { ...other, ca: other.ca });
    const connecting = connect([server], {
      ca: other.ca,
      ...other.client,
      connectTimeoutMs: 60_000,
    });
    await expect(connecting).rejects.toThrow("the server's certificate is not a cluster's");
  });

  test('the cluster can be named', async () => {
    const server = await eni();
    await connect([server], { hsmName: 'HSM:0123456789ABCDEF:PARTN:1, for FIPS mode' });
    const other = connect([server], { hsmName: 'HSM:FF' });
    await expect(other).rejects.toThrow('names another cluster');
  });

  test('a client of another CA is refused', async () => {
    const server = await eni();
    const stranger = makeTlsFiles().client;
    const connecting = connect([server], { ...stranger, connectTimeoutMs: 0 });
    await expect(connecting).rejects.toMatchObject({ code: 'KeyspanConnection' });
    expect(server.connections).toBe(0);
  });

  test('a refused upgrade is the error that its body names', async () => {
    const server = await eni();
    const error = { code: 'UnrecognizedClientException', message: 'who?' };
    server.refusal = { status: 401, body: JSON.stringify({ error }) };
    const connecting = connect([server], { connectTimeoutMs: 60_000 });
    await expect(connecting).rejects.toMatchObject({ name: 'ServiceError', ...error });
    server.refusal = { status: 403, body: 'no' };
    await expect(connect([server])).rejects.toMatchObject({ code: 'AccessDeniedException' });
  });

  test('nobody there: one turn through all endpoints, then the error', async () => {
    const gone = await eni();
    await gone.stop();
    const connecting = connect([gone, gone], { connectTimeoutMs: 0 });
    await expect(connecting).rejects.toMatchObject({ code: 'KeyspanConnection' });
    await expect(connect([])).rejects.toMatchObject({ code: 'KeyspanConnection' });
  });

  test('when every ENI refuses the client, requests do not wait for their deadline', async () => {
    const server = await eni(({ eni: self, socket }) => {
      self.refusal = { status: 401, body: '' };
      socket.close(1012);
    });
    const client = await connect([server], { requestTimeoutMs: 600_000 });
    const call = client.call('Encrypt');
    await expect(call).rejects.toMatchObject({ code: 'UnrecognizedClientException' });
  });
});

test('requests of one turn of the event loop leave in few TLS writes', async () => {
  const server = await eni();
  const client = await connect([server]);
  server.chunks.length = 0;
  const calls = Array.from({ length: 64 }, (_, N) => client.call('Encrypt', { N }));
  await Promise.all(calls);
  expect(server.requests).toHaveLength(64);
  expect(server.chunks.length).toBeLessThanOrEqual(64 / LIMITS.batch_messages_max);
});

test('events reach their listeners, also over the next connection', async () => {
  const serve: Behaviour = ({ request, answer, send }) => {
    answer({});
    if (request.action !== 'Subscribe') return;
    send({ event: 'hsm.lost', data: { Id: 'hsm-a' } });
    send({ event: 'key', data: {} });
  };
  const [a, b] = [await eni(serve), await eni(serve)];
  const client = await connect([a, b]);
  const heard: string[] = [];
  const subscription = await client.subscribe(['hsm'], (event, data) => {
    heard.push(`${event} ${String(data['Id'])}`);
  });
  await eventually(() => heard.length === 1);
  await a.stop();
  await eventually(() => heard.length === 2);
  expect(heard).toEqual(['hsm.lost hsm-a', 'hsm.lost hsm-a']);
  expect(b.requests[0]).toMatchObject({ action: 'Subscribe', params: { Events: ['hsm'] } });
  await subscription[Symbol.asyncDispose]();
  await b.stop();
  await b.listen();
  await client.call('Encrypt');
  expect(heard).toHaveLength(2);
});
