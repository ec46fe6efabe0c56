import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { MessageWriter } from '../../src/protocol/message-writer.js';

/** the edges of the three forms of a length */
const SIZES = [0, 1, 125, 126, 127, 1_000, 65_535, 65_536, 200_000];
const MESSAGES = SIZES.flatMap((size) => ['x'.repeat(size), Buffer.alloc(size, size)]);

let server: Server;
let door: WebSocketServer;
let address: string;

beforeAll(async () => {
  server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  door = new WebSocketServer({ server, perMessageDeflate: false });
  address = `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => server.close());

interface Ends {
  readonly client: WebSocket;
  readonly server: WebSocket;
  readonly clientStream: Socket;
  readonly serverStream: Socket;
}

async function connect(): Promise<Ends> {
  const client = new WebSocket(address, { perMessageDeflate: false });
  const [[peer, request], [response]] = await Promise.all([
    once(door, 'connection') as Promise<[WebSocket, { socket: Socket }]>,
    once(client, 'upgrade') as Promise<[{ socket: Socket }]>,
  ]);
  if (client.readyState !== WebSocket.OPEN) await once(client, 'open');
  return { client, server: peer, clientStream: response.socket, serverStream: request.socket };
}

function push(writer: MessageWriter, message: string | Buffer): void {
  if (typeof message === 'string') return writer.push(message);
  // what stands behind the message does not belong to it
  const bytes = Buffer.concat([message, Buffer.from('rest')]);
  writer.push({ bytes, length: message.length });
}

async function received(end: WebSocket, count: number): Promise<(string | Buffer)[]> {
  const messages: (string | Buffer)[] = [];
  await new Promise<void>((resolve, reject) => {
    end.on('error', reject);
    end.on('message', (data: Buffer, isBinary) => {
      messages.push(isBinary ? data : data.toString('utf8'));
      if (messages.length === count) resolve();
    });
  });
  return messages;
}

describe('what it frames is what another implementation reads', () => {
  test("a server's", async () => {
    const { client, serverStream } = await connect();
    const writer = new MessageWriter('server', (bytes) => serverStream.write(bytes));
    const read = received(client, MESSAGES.length);
    for (const message of MESSAGES) push(writer, message);
    expect(await read).toEqual(MESSAGES);
    client.terminate();
  });

  test("a client's, under masks that differ", async () => {
    const ends = await connect();
    const seen: Buffer[] = [];
    const writer = new MessageWriter('client', (bytes) => {
      seen.push(bytes);
      ends.clientStream.write(bytes);
    });
    const read = received(ends.server, MESSAGES.length + 2_000);
    for (const message of MESSAGES) push(writer, message);
    for (let i = 0; i < 2_000; i += 1) writer.push('same');
    const messages = await read;
    expect(messages.slice(0, MESSAGES.length)).toEqual(MESSAGES);
    expect(messages.slice(MESSAGES.length).every((message) => message === 'same')).toBe(true);
    // two bytes of head, four of mask, four of text
    const last = Buffer.concat(seen).subarray(-10 * 2_000);
    const masks = new Set(Array.from({ length: 2_000 }, (_, i) => last.readUInt32BE(i * 10 + 2)));
    expect(masks.size).toBeGreaterThan(1_990);
    ends.client.terminate();
  });

  test('a message of a turn leaves with the others, or at once when it is told to', async () => {
    const writes: Buffer[] = [];
    const writer = new MessageWriter('server', (bytes) => writes.push(bytes));
    writer.push('a');
    writer.push('b');
    expect(writes).toEqual([]);
    writer.flush();
    expect(writes).toEqual([Buffer.from([0x81, 1, 0x61, 0x81, 1, 0x62])]);
    writer.push('c');
    await new Promise((resolve) => setImmediate(resolve));
    expect(writes).toHaveLength(2);
  });
});
