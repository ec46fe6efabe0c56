// A light load of HTTP for scripts/bench: http-load.mjs PORT CONNECTIONS MILLISECONDS < requests
// The bytes of requests in base64, as a list in JSON: each connection sends the next as soon as one
// is answered.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';

const [port, connections, milliseconds] = process.argv.slice(2).map(Number);
const requests = JSON.parse(readFileSync(0, 'utf8')).map((one) => Buffer.from(one, 'base64'));
let sent = 0;
const HEAD_END = Buffer.from('\r\n\r\n');
const samples = [];
let isOver = false;
let failed;

/** @returns the bytes of the first whole answer in `bytes`, if it is whole */
function answerLength(bytes) {
  const head = bytes.indexOf(HEAD_END);
  if (head < 0) return undefined;
  const text = bytes.toString('latin1', 0, head);
  if (!text.startsWith('HTTP/1.1 200')) failed ??= bytes.toString('latin1');
  const length = Number(/content-length: (\d+)/i.exec(text)?.[1]);
  const whole = head + HEAD_END.length + length;
  return bytes.length >= whole ? whole : undefined;
}

const drive = () =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.setNoDelay(true);
    let rest = Buffer.alloc(0);
    let sentAt = 0;
    const send = () => {
      sentAt = performance.now();
      socket.write(requests[sent % requests.length]);
      sent += 1;
    };
    socket.once('connect', send);
    socket.once('error', reject);
    socket.once('close', resolve);
    socket.on('data', (chunk) => {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      const length = answerLength(rest);
      if (length === undefined) return;
      rest = rest.subarray(length);
      samples.push(performance.now() - sentAt);
      if (isOver || failed) socket.end();
      else send();
    });
  });

const begin = performance.now();
setTimeout(() => {
  isOver = true;
}, milliseconds);
await Promise.all(Array.from({ length: connections }, drive));
if (failed) throw new Error(failed);
const perSecond = (samples.length * 1_000) / (performance.now() - begin);
samples.sort((a, b) => a - b);
process.stdout.write(`${JSON.stringify({ perSecond, medianMs: samples[samples.length >> 1] })}\n`);
