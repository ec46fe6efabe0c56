import { createHash } from 'node:crypto';
import { createServer } from 'node:net';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { WEBSOCKET_PORT } from '../protocol/client-frames.js';

/** Where the ENIs of an installation listen. It is claimed at the first start and stays. */
export type Block =
  | { readonly mode: 'addresses'; readonly prefix: string }
  | { readonly mode: 'ports'; readonly bind: string; readonly firstPort: number };

export interface Eni {
  readonly ip: string;
  readonly port: number;
}

const TRIES_MAX = 64;
const FIRST_HOST = 10;
const PORTS_PER_BLOCK = 64;
const FIRST_PORT = 20_000;
/** blocks of ports end below 32768, from where systems take ports for outgoing connections */
const PORT_BLOCKS = 199;

/** Whether this machine lets us listen there now. */
export async function canListen(eni: Eni): Promise<boolean> {
  const server = createServer();
  return await new Promise<boolean>((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(eni.port, eni.ip, () => server.close(() => resolve(true)));
  });
}

/** The nth ENI of a block, from 0. */
export function eniAt(block: Block, index: number): Eni {
  if (block.mode === 'ports') return { ip: block.bind, port: block.firstPort + index };
  return { ip: `${block.prefix}.${FIRST_HOST + index}`, port: WEBSOCKET_PORT };
}

/**
 * The first ENI of the block that no HSM has. @throws KeyspanError KeyspanRefused when all are
 * taken
 */
export async function freeEni(block: Block, taken: readonly Eni[]): Promise<Eni> {
  const isTaken = (eni: Eni): boolean =>
    taken.some(({ ip, port }) => ip === eni.ip && port === eni.port);
  for (const eni of allEnis(block)) if (!isTaken(eni) && (await canListen(eni))) return eni;
  throw new KeyspanError('KeyspanRefused', 'No free address is left for another HSM.');
}

/** All ENIs that a block may ever have. */
export const allEnis = (block: Block): Eni[] =>
  Array.from({ length: 2 * LIMITS.hsms_per_cluster_max }, (_, index) => eniAt(block, index));

/**
 * Claims a block that nobody uses: a /24 of 127/8, or consecutive ports. Where to look first
 * follows from the home's path, so
 * that two homes seldom meet even when one of them is not running.
 * @throws KeyspanError KeyspanConfig
 */
export async function claimBlock(options: {
  home: string;
  mode: 'addresses' | 'ports';
  bind: string;
  /** how many ENIs must be free */
  hsms: number;
}): Promise<Block> {
  const seed = createHash('sha256').update(options.home).digest().readUInt16BE(0);
  for (let attempt = 0; attempt < TRIES_MAX; attempt += 1) {
    const block = candidate(options, seed + attempt * 97);
    if (await isFree(block, options.hsms)) return block;
  }
  const hint = options.mode === 'addresses' ? ' Try --eni-mode ports.' : '';
  throw new KeyspanError('KeyspanConfig', `No free addresses for the HSMs were found.${hint}`);
}

async function isFree(block: Block, hsms: number): Promise<boolean> {
  for (let index = 0; index < hsms; index += 1) {
    if (!(await canListen(eniAt(block, index)))) return false;
  }
  return true;
}

function candidate(options: { mode: 'addresses' | 'ports'; bind: string }, number: number): Block {
  if (options.mode === 'ports') {
    const firstPort = FIRST_PORT + (number % PORT_BLOCKS) * PORTS_PER_BLOCK;
    return { mode: 'ports', bind: options.bind, firstPort };
  }
  const second = 64 + ((number >> 8) % 48);
  return { mode: 'addresses', prefix: `127.${second}.${number % 256}` };
}
