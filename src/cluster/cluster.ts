import {
  flag,
  int,
  mapOf,
  named,
  nullable,
  object,
  oneOf,
  orElse,
  text,
  type FormOf,
} from '../protocol/form.js';
import type { ClusterId, HsmId, HsmKeyId, MaskingKeyId } from '../core/ids.js';
import { decodeValue, encodeValue } from '../store/value.js';

/** The facts of a cluster and of its HSMs as they stand in the store. */
const VERSION = 1;
const name = named<string>();
const pem = text({ max: 65_536 });

const clusterSchema = object({
  v: oneOf(VERSION),
  id: named<ClusterId>(),
  account: name,
  region: name,
  state: oneOf('INITIALIZED', 'ACTIVE'),
  /** civil time, in milliseconds since 1970; null: it was made before this was written down */
  createdMs: orElse(nullable(int({ min: 0 })), null),
  vpcId: name,
  /** subnet ids by availability zone */
  subnets: mapOf(name),
  /** raised by every change of membership; 1 at the beginning */
  epoch: int({ min: 1 }),
  maskingKeyId: named<MaskingKeyId>(),
  /** the first HSM, which makes the masking keys; none other ever does */
  founder: named<HsmId>(),
  /** the masking keys exist on a token: from now on they are handed over, never made */
  founded: flag,
  /** how often an operator adopted an old copy of the store */
  adoption: orElse(int({ min: 0 }), 0),
  /** how many HSMs must hold a key before its making is acknowledged: 2, or 1 (a flag) */
  availability: int({ min: 1, max: 2 }),
  /** the HSM key behind the cluster's certificate */
  clusterKey: nullable(named<HsmKeyId>()),
  /** what the operator's CA signed, and the operator's CA; PEM */
  certificate: nullable(pem),
  trustAnchor: nullable(pem),
});
export type ClusterRecord = Omit<FormOf<typeof clusterSchema>, 'v'>;

const hsmSchema = object({
  v: oneOf(VERSION),
  id: named<HsmId>(),
  az: name,
  subnetId: name,
  eniId: name,
  eniIp: name,
  eniPort: int({ min: 0 }),
  /** the token's serial, once there is a token; it is never made a second time */
  serial: nullable(name),
  /** it has the masking keys */
  joined: flag,
  intent: oneOf('run', 'stop', 'kill', 'pause'),
});
export type HsmRecord = Omit<FormOf<typeof hsmSchema>, 'v'>;

export const encodeCluster = (record: ClusterRecord): Uint8Array => encodeValue(VERSION, record);
export const decodeCluster = (value: Uint8Array): ClusterRecord =>
  decodeValue(value, clusterSchema);
export const encodeHsm = (record: HsmRecord): Uint8Array => encodeValue(VERSION, record);
export const decodeHsm = (value: Uint8Array): HsmRecord => decodeValue(value, hsmSchema);

/** Availability zones in turn: HSMs are spread over three. */
export const azOf = (region: string, index: number): string =>
  `${region}${'abcdef'[index % 3] ?? 'a'}`;
