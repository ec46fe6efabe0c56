import { createHash } from 'node:crypto';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { WEBSOCKET_PORT } from '../protocol/client-frames.js';
import { named, nullable, object, oneOf, text, type FormOf } from '../protocol/form.js';
import { KEYSPACE } from '../store/keyspace.js';
import type { Store } from '../store/store.js';
import { decodeValue, encodeValue } from '../store/value.js';
import { newVpcId } from './lifecycle.js';
import { canListen, eniAt, freeEni, type Block, type Eni } from './network.js';

const VERSION = 1;
const schema = object({
  v: oneOf(VERSION),
  id: named<string>(),
  vpcId: named<string>(),
  az: named<string>(),
  /** three numbers of a /24 in 127/8; null: its ENIs share the installation's ports */
  prefix: nullable(text({ max: 64 })),
});
export type Subnet = Omit<FormOf<typeof schema>, 'v'>;

export interface Place {
  readonly account: string;
  readonly region: string;
}

/** a region has no more */
const ZONES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'];
/** below are the installations' own blocks */
const FIRST_SECOND_BYTE = 112;
const SECOND_BYTES = 15;
const TRIES_MAX = 64;

/**
 * The subnets that callers name. EC2 is not there to be asked: a subnet that is named for the first
 * time gets a zone, a VPC and a range of addresses, and keeps them.
 */
export class Subnets {
  readonly #store: Store;
  readonly #block: Block;
  readonly #seed: string;

  /** @param seed installations with different ones seldom choose the same addresses */
  constructor(store: Store, block: Block, seed: string) {
    this.#store = store;
    this.#block = block;
    this.#seed = seed;
  }

  /**
   * The subnets of a new cluster: all in one VPC, one in each zone.
   * @throws KeyspanError CloudHsmInvalidRequestException
   */
  async of(place: Place, ids: readonly string[]): Promise<Subnet[]> {
    const { entries } = await this.#store.range(KEYSPACE.subnets(place.account, place.region));
    const known = new Map(entries.map(({ value }) => [decode(value).id, decode(value)]));
    const named = ids.flatMap((id) => known.get(id) ?? []);
    const vpcs = new Set(named.map(({ vpcId }) => vpcId));
    if (new Set(ids).size < ids.length) throw refused('A subnet is given twice.');
    if (vpcs.size > 1) throw refused('The subnets belong to different VPCs.');
    const zones = new Set<string>();
    for (const { az, id } of named) {
      if (zones.has(az)) throw refused(`${id} is the second subnet in ${az}: one in each zone.`);
      zones.add(az);
    }
    const vpcId = [...vpcs][0] ?? newVpcId();
    const subnets: Subnet[] = [];
    for (const id of ids) {
      const az = known.get(id)?.az ?? freeZone(place.region, zones);
      zones.add(az);
      subnets.push(known.get(id) ?? (await this.#make(place, { id, vpcId, az })));
    }
    return subnets;
  }

  async #make(place: Place, made: { id: string; vpcId: string; az: string }): Promise<Subnet> {
    const subnet = { ...made, prefix: await this.#newPrefix(made.id) };
    const key = KEYSPACE.subnet(place.account, place.region, made.id);
    await this.#store.commit({
      compares: [{ key, modRevision: null }],
      writes: [{ op: 'put', key, value: encodeValue(VERSION, subnet) }],
    });
    return subnet;
  }

  async #newPrefix(id: string): Promise<string | null> {
    if (this.#block.mode === 'ports') return null;
    const { entries } = await this.#store.range(KEYSPACE.allSubnets);
    const taken = new Set(entries.map(({ value }) => decode(value).prefix));
    const seed = createHash('sha256').update(`${this.#seed} ${id}`).digest().readUInt16BE(0);
    for (let attempt = 0; attempt < TRIES_MAX; attempt += 1) {
      const number = seed + attempt * 97;
      const second = FIRST_SECOND_BYTE + ((number >> 8) % SECOND_BYTES);
      const prefix = `127.${second}.${number % 256}`;
      const first = eniAt({ mode: 'addresses', prefix }, 0);
      if (!taken.has(prefix) && (await canListen(first))) return prefix;
    }
    throw new KeyspanError('CloudHsmServiceException', 'No addresses are left for a new subnet.');
  }

  /**
   * A place for an ENI in a subnet. @param ip the address that the caller wants
   * @throws KeyspanError CloudHsmInvalidRequestException when it cannot be had
   */
  async eni(place: Place, id: string, taken: readonly Eni[], ip?: string): Promise<Eni> {
    const entry = await this.#store.get(KEYSPACE.subnet(place.account, place.region, id));
    const prefix = entry ? decode(entry.value).prefix : null;
    const block: Block = prefix === null ? this.#block : { mode: 'addresses', prefix };
    if (ip === undefined) return await freeEni(block, taken);
    const wanted = await wantedEni(block, taken, ip);
    if (wanted) return wanted;
    throw refused(`This machine cannot listen on the IpAddress ${ip}, or an HSM has it.`);
  }
}

async function wantedEni(
  block: Block,
  taken: readonly Eni[],
  ip: string,
): Promise<Eni | undefined> {
  if (block.mode === 'ports') return ip === block.bind ? await freeEni(block, taken) : undefined;
  const eni = { ip, port: WEBSOCKET_PORT };
  return !taken.some((one) => one.ip === ip) && (await canListen(eni)) ? eni : undefined;
}

function freeZone(region: string, taken: ReadonlySet<string>): string {
  const zones = ZONES.map((letter) => `${region}${letter}`);
  const zone = zones.find((one) => !taken.has(one));
  if (zone) return zone;
  throw refused(`A cluster has at most ${LIMITS.subnets_per_cluster_max} subnets.`);
}

const decode = (value: Uint8Array): Subnet => decodeValue(value, schema);

const refused = (sentence: string): KeyspanError =>
  new KeyspanError('CloudHsmInvalidRequestException', sentence);
