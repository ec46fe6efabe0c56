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
import type { BackupId, ClusterId, HsmId, HsmKeyId, MaskingKeyId } from '../core/ids.js';
import { decodeValue, encodeValue } from '../store/value.js';

/** The facts of a cluster and of its HSMs as they stand in the store. */
const VERSION = 1;
const name = named<string>();
const pem = text({ max: 65_536 });

const ceremony = object({
  csr: pem,
  hsmCertificate: pem,
  awsHardwareCertificate: pem,
  manufacturerHardwareCertificate: pem,
});
/** a moment of civil time, in milliseconds since 1970 */
const moment = nullable(int({ min: 0 }));

const clusterSchema = object({
  v: oneOf(VERSION),
  id: named<ClusterId>(),
  account: name,
  region: name,
  /** who made it: the installation for its KMS, or a caller of CreateCluster */
  origin: orElse(oneOf('installation', 'caller'), 'installation'),
  /** where it is, or what it was last told to do: cluster-states.ts says which is shown when */
  state: oneOf(
    'CREATE_IN_PROGRESS',
    'UNINITIALIZED',
    'INITIALIZE_IN_PROGRESS',
    'INITIALIZED',
    'ACTIVE',
    'MODIFY_IN_PROGRESS',
    'ROLLBACK_IN_PROGRESS',
    'DELETE_IN_PROGRESS',
  ),
  /** when the step that `state` names is over */
  dueMs: orElse(moment, null),
  hsmType: orElse(text({ max: 32 }), 'hsm2m.medium'),
  /** while it can be had back, until `rollbackUntilMs` */
  formerHsmType: orElse(nullable(text({ max: 32 })), null),
  rollbackUntilMs: orElse(moment, null),
  mode: orElse(oneOf('FIPS', 'NON_FIPS'), 'FIPS'),
  networkType: orElse(oneOf('IPV4', 'DUALSTACK'), 'IPV4'),
  /** of backups, in days; AWS's own default */
  retentionDays: orElse(int({ min: 7, max: 379 }), 90),
  /** civil time, in milliseconds since 1970; null: it was made before this was written down */
  createdMs: orElse(nullable(int({ min: 0 })), null),
  vpcId: name,
  /** subnet ids by availability zone */
  subnets: mapOf(name),
  /** raised by every change of membership; 1 at the beginning */
  epoch: int({ min: 1 }),
  maskingKeyId: named<MaskingKeyId>(),
  /** the first HSM, which makes the masking keys; none other ever does. null: there was none */
  founder: nullable(named<HsmId>()),
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
  /** the cluster that the first of its backups was taken of; null: none of another's */
  family: orElse(nullable(named<ClusterId>()), null),
  /** what CreateCluster made it from */
  sourceBackupId: orElse(nullable(named<BackupId>()), null),
  /** what the next HSM is made from: there is no other that has the keys */
  restoreFrom: orElse(nullable(named<BackupId>()), null),
  /** what an operator verifies and signs; from the first HSM until the cluster is claimed */
  ceremony: orElse(nullable(ceremony), null),
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
  /** it is not shown as ACTIVE before; null: as soon as it serves */
  readyMs: orElse(moment, null),
  /** DeleteHsm was asked for; it leaves at this time */
  leaveMs: orElse(moment, null),
});
export type HsmRecord = Omit<FormOf<typeof hsmSchema>, 'v'>;

/**
 * The id that masked objects, transcripts and HSMs name the cluster by: relatives, which come of
 * one cluster's backups, share it, so that what one masked opens in all.
 */
export const familyOf = ({ id, family }: Pick<ClusterRecord, 'id' | 'family'>): ClusterId =>
  family ?? id;

export const encodeCluster = (record: ClusterRecord): Uint8Array => encodeValue(VERSION, record);
export const decodeCluster = (value: Uint8Array): ClusterRecord =>
  decodeValue(value, clusterSchema);
export const encodeHsm = (record: HsmRecord): Uint8Array => encodeValue(VERSION, record);
export const decodeHsm = (value: Uint8Array): HsmRecord => decodeValue(value, hsmSchema);

/** Availability zones in turn: HSMs are spread over three. */
export const azOf = (region: string, index: number): string =>
  `${region}${'abcdef'[index % 3] ?? 'a'}`;
