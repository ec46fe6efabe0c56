import { z } from 'zod';
import type { ClusterId, HsmId, HsmKeyId, MaskingKeyId } from '../core/ids.js';
import { decodeValue, encodeValue } from '../store/value.js';

/** The facts of a cluster and of its HSMs as they stand in the store. */
const VERSION = 1;

const clusterSchema = z.object({
  v: z.literal(VERSION),
  id: z.custom<ClusterId>((value) => typeof value === 'string'),
  account: z.string(),
  region: z.string(),
  state: z.enum(['INITIALIZED', 'ACTIVE']),
  /** civil time, in milliseconds since 1970; null: it was made before this was written down */
  createdMs: z.int().min(0).nullable().default(null),
  vpcId: z.string(),
  /** subnet ids by availability zone */
  subnets: z.record(z.string(), z.string()),
  /** raised by every change of membership; 1 at the beginning */
  epoch: z.int().min(1),
  maskingKeyId: z.custom<MaskingKeyId>((value) => typeof value === 'string'),
  /** the first HSM, which makes the masking keys; none other ever does */
  founder: z.custom<HsmId>((value) => typeof value === 'string'),
  /** the masking keys exist on a token: from now on they are handed over, never made */
  founded: z.boolean(),
  /** how often an operator adopted an old copy of the store */
  adoption: z.int().min(0).default(0),
  /** how many HSMs must hold a key before its making is acknowledged: 2, or 1 (a flag) */
  availability: z.int().min(1).max(2),
  /** the HSM key behind the cluster's certificate */
  clusterKey: z.custom<HsmKeyId>((value) => typeof value === 'string').nullable(),
  /** what the operator's CA signed, and the operator's CA; PEM */
  certificate: z.string().nullable(),
  trustAnchor: z.string().nullable(),
});
export type ClusterRecord = Omit<z.infer<typeof clusterSchema>, 'v'>;

const hsmSchema = z.object({
  v: z.literal(VERSION),
  id: z.custom<HsmId>((value) => typeof value === 'string'),
  az: z.string(),
  subnetId: z.string(),
  eniId: z.string(),
  eniIp: z.string(),
  eniPort: z.int(),
  /** the token's serial, once there is a token; it is never made a second time */
  serial: z.string().nullable(),
  /** it has the masking keys */
  joined: z.boolean(),
  intent: z.enum(['run', 'stop', 'kill', 'pause']),
});
export type HsmRecord = Omit<z.infer<typeof hsmSchema>, 'v'>;

export const encodeCluster = (record: ClusterRecord): Uint8Array => encodeValue(VERSION, record);
export const decodeCluster = (value: Uint8Array): ClusterRecord =>
  decodeValue(value, clusterSchema);
export const encodeHsm = (record: HsmRecord): Uint8Array => encodeValue(VERSION, record);
export const decodeHsm = (value: Uint8Array): HsmRecord => decodeValue(value, hsmSchema);

/** Availability zones in turn: HSMs are spread over three. */
export const azOf = (region: string, index: number): string =>
  `${region}${'abcdef'[index % 3] ?? 'a'}`;
