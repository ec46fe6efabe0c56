import { KeyspanError } from '../core/errors.js';
import { parseStructure, planOf, type Plan } from './aws-parser.js';
import {
  BOOLEAN,
  integer,
  list,
  map,
  oneOf,
  pattern,
  required,
  string,
  structure,
  TIMESTAMP,
  unanchored,
  type AnswerMembers,
  type AnswerOf,
  type Members,
  type ParamsOf,
} from './aws-shapes.js';

/** CloudHSM V2 API, Cluster$State. */
export const CLUSTER_STATES = [
  'CREATE_IN_PROGRESS',
  'UNINITIALIZED',
  'INITIALIZE_IN_PROGRESS',
  'INITIALIZED',
  'ACTIVE',
  'UPDATE_IN_PROGRESS',
  'MODIFY_IN_PROGRESS',
  'ROLLBACK_IN_PROGRESS',
  'PENDING_ROLLBACK',
  'DELETE_IN_PROGRESS',
  'DELETED',
  'DEGRADED',
] as const;
export type ClusterState = (typeof CLUSTER_STATES)[number];

/** CloudHSM V2 API, Hsm$State. */
export const HSM_STATES = [
  'CREATE_IN_PROGRESS',
  'ACTIVE',
  'DEGRADED',
  'DELETE_IN_PROGRESS',
  'DELETED',
] as const;

/** CloudHSM V2 API, Backup$BackupState. */
export const BACKUP_STATES = [
  'CREATE_IN_PROGRESS',
  'READY',
  'DELETED',
  'PENDING_DELETION',
] as const;

const id = (kind: string): ReturnType<typeof string> =>
  string({ pattern: pattern(`${kind}-[2-7a-zA-Z]{11,16}`) });
const PARTITION = 'arn:aws(-(us-gov))?:cloudhsm:';
const ARN_REGION =
  '([a-z]{2}(-(gov|isob|iso))?-(east|west|north|south|central){1,2}-[0-9]{1}):[0-9]{12}:';
const REGION_TEXT = '[a-z]{2}(-(gov))?-(east|west|north|south|central){1,2}-\\d';
const TAG_TEXT = '^([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)$';

const CLUSTER_ID = id('cluster');
const HSM_ID = id('hsm');
const BACKUP_ID = id('backup');
const RESOURCE_ID = id('(?:cluster|backup)');
const BACKUP_ARN = string({
  pattern: pattern(`^(${PARTITION}${ARN_REGION}backup/)?backup-[2-7a-zA-Z]{11,16}`),
});
const CLOUDHSM_ARN = string({
  pattern: pattern(
    `${PARTITION}${ARN_REGION}(backup/backup|cluster/cluster|hsm/hsm)-[2-7a-zA-Z]{11,16}`,
  ),
});
const HSM_TYPE = string({ max: 32, pattern: pattern('((p|)hsm[0-9][a-z.]*\\.[a-zA-Z]+)') });
const MODE = oneOf('FIPS', 'NON_FIPS');
const NETWORK_TYPE = oneOf('IPV4', 'DUALSTACK');
const EXTERNAL_AZ = string({ pattern: pattern(`${REGION_TEXT}[a-z]`) });
const REGION = string({ pattern: pattern(REGION_TEXT) });
const SUBNET_ID = string({ pattern: pattern('subnet-[0-9a-fA-F]{8,17}') });
const ENI_ID = string({ pattern: pattern('eni-[0-9a-fA-F]{8,17}') });
const IP_ADDRESS = string({ pattern: pattern('\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}') });
// `+-/` is a range: it lets the comma, the dot and the hyphen in
const CERT = string({ max: 20_000, pattern: pattern('[a-zA-Z0-9+-/=\\s]*') });
const STATE_MESSAGE = string({ max: 300, pattern: pattern('.*') });
const NEXT_TOKEN = string({ max: 256, pattern: pattern('.*') });
const RESOURCE_POLICY = string({ min: 1, max: 20_000 });
const TAG_KEY = string({ min: 1, max: 128, pattern: pattern(TAG_TEXT) });
const TAG_VALUE = string({ min: 0, max: 256, pattern: pattern(TAG_TEXT) });
const TAG_LIST = list(structure({ Key: required(TAG_KEY), Value: required(TAG_VALUE) }), {
  min: 1,
  max: 50,
});
/** in an answer the list is empty where there are none, whatever AWS's model says */
const ANSWERED_TAGS = list(TAG_LIST.of, { max: 50 });
const TAG_KEYS = list(TAG_KEY, { min: 1, max: 50 });
const RETENTION = structure({
  Type: oneOf('DAYS'),
  Value: string({ min: 1, max: 3, pattern: pattern('[0-9]+') }),
});
const FILTERS = map(string({ pattern: pattern('[a-zA-Z0-9_-]+') }), list(string()), { max: 30 });

const CERTIFICATES = structure({
  ClusterCsr: CERT,
  HsmCertificate: CERT,
  AwsHardwareCertificate: CERT,
  ManufacturerHardwareCertificate: CERT,
  ClusterCertificate: CERT,
});

const HSM = structure({
  AvailabilityZone: EXTERNAL_AZ,
  ClusterId: CLUSTER_ID,
  SubnetId: SUBNET_ID,
  EniId: ENI_ID,
  EniIp: IP_ADDRESS,
  EniIpV6: string({ max: 100 }),
  HsmId: required(HSM_ID),
  HsmType: HSM_TYPE,
  State: oneOf(...HSM_STATES),
  StateMessage: string(),
});

const CLUSTER = structure({
  BackupPolicy: oneOf('DEFAULT'),
  BackupRetentionPolicy: RETENTION,
  Certificates: CERTIFICATES,
  ClusterId: CLUSTER_ID,
  CreateTimestamp: TIMESTAMP,
  Hsms: list(HSM),
  HsmType: HSM_TYPE,
  HsmTypeRollbackExpiration: TIMESTAMP,
  Mode: MODE,
  NetworkType: NETWORK_TYPE,
  PreCoPassword: string({ min: 7, max: 32 }),
  SecurityGroup: string({ pattern: pattern('sg-[0-9a-fA-F]{8,17}') }),
  SourceBackupId: BACKUP_ID,
  State: oneOf(...CLUSTER_STATES),
  StateMessage: STATE_MESSAGE,
  SubnetMapping: map(EXTERNAL_AZ, SUBNET_ID),
  TagList: ANSWERED_TAGS,
  VpcId: string({ pattern: unanchored('vpc-[0-9a-fA-F]') }),
});

const BACKUP = structure({
  BackupId: required(BACKUP_ID),
  BackupArn: BACKUP_ARN,
  BackupState: oneOf(...BACKUP_STATES),
  ClusterId: CLUSTER_ID,
  CreateTimestamp: TIMESTAMP,
  CopyTimestamp: TIMESTAMP,
  NeverExpires: BOOLEAN,
  SourceRegion: REGION,
  SourceBackup: BACKUP_ID,
  SourceCluster: CLUSTER_ID,
  DeleteTimestamp: TIMESTAMP,
  TagList: ANSWERED_TAGS,
  HsmType: HSM_TYPE,
  Mode: MODE,
});

export type CloudHsmCluster = AnswerOf<typeof CLUSTER>;
export type CloudHsmHsm = AnswerOf<typeof HSM>;
export type CloudHsmBackup = AnswerOf<typeof BACKUP>;
export type CloudHsmCertificates = AnswerOf<typeof CERTIFICATES>;

/** The members of the requests, as AWS's model has them (BaldrApiService 2017-04-28). */
export const CLOUDHSM_REQUESTS = {
  CopyBackupToRegion: {
    DestinationRegion: required(REGION),
    BackupId: required(BACKUP_ID),
    TagList: TAG_LIST,
  },
  CreateCluster: {
    BackupRetentionPolicy: RETENTION,
    HsmType: required(HSM_TYPE),
    SourceBackupId: BACKUP_ARN,
    SubnetIds: required(list(SUBNET_ID, { min: 1, max: 10 })),
    NetworkType: NETWORK_TYPE,
    TagList: TAG_LIST,
    Mode: MODE,
  },
  CreateHsm: {
    ClusterId: required(CLUSTER_ID),
    AvailabilityZone: required(EXTERNAL_AZ),
    IpAddress: IP_ADDRESS,
  },
  DeleteBackup: { BackupId: required(BACKUP_ID) },
  DeleteCluster: { ClusterId: required(CLUSTER_ID) },
  DeleteHsm: {
    ClusterId: required(CLUSTER_ID),
    HsmId: HSM_ID,
    EniId: ENI_ID,
    EniIp: IP_ADDRESS,
  },
  DeleteResourcePolicy: { ResourceArn: CLOUDHSM_ARN },
  DescribeBackups: {
    NextToken: NEXT_TOKEN,
    MaxResults: integer({ min: 1, max: 50 }),
    Filters: FILTERS,
    Shared: BOOLEAN,
    SortAscending: BOOLEAN,
  },
  DescribeClusters: {
    Filters: FILTERS,
    NextToken: NEXT_TOKEN,
    MaxResults: integer({ min: 1, max: 25 }),
  },
  GetResourcePolicy: { ResourceArn: CLOUDHSM_ARN },
  InitializeCluster: {
    ClusterId: required(CLUSTER_ID),
    SignedCert: required(CERT),
    TrustAnchor: required(CERT),
  },
  ListTags: {
    ResourceId: required(RESOURCE_ID),
    NextToken: NEXT_TOKEN,
    MaxResults: integer({ min: 1, max: 100 }),
  },
  ModifyBackupAttributes: { BackupId: required(BACKUP_ID), NeverExpires: required(BOOLEAN) },
  ModifyCluster: {
    HsmType: HSM_TYPE,
    BackupRetentionPolicy: RETENTION,
    ClusterId: required(CLUSTER_ID),
  },
  PutResourcePolicy: { ResourceArn: CLOUDHSM_ARN, Policy: RESOURCE_POLICY },
  RestoreBackup: { BackupId: required(BACKUP_ID) },
  TagResource: { ResourceId: required(RESOURCE_ID), TagList: required(TAG_LIST) },
  UntagResource: { ResourceId: required(RESOURCE_ID), TagKeyList: required(TAG_KEYS) },
} as const satisfies Record<string, Members>;

export type CloudHsmAction = keyof typeof CLOUDHSM_REQUESTS;
export type CloudHsmParams<A extends CloudHsmAction> = ParamsOf<(typeof CLOUDHSM_REQUESTS)[A]>;

/** What each action answers. */
export const CLOUDHSM_RESPONSES = {
  CopyBackupToRegion: {
    DestinationBackup: structure({
      CreateTimestamp: TIMESTAMP,
      SourceRegion: REGION,
      SourceBackup: BACKUP_ID,
      SourceCluster: CLUSTER_ID,
    }),
  },
  CreateCluster: { Cluster: CLUSTER },
  CreateHsm: { Hsm: HSM },
  DeleteBackup: { Backup: BACKUP },
  DeleteCluster: { Cluster: CLUSTER },
  DeleteHsm: { HsmId: HSM_ID },
  DeleteResourcePolicy: { ResourceArn: CLOUDHSM_ARN, Policy: RESOURCE_POLICY },
  DescribeBackups: { Backups: list(BACKUP), NextToken: NEXT_TOKEN },
  DescribeClusters: { Clusters: list(CLUSTER), NextToken: NEXT_TOKEN },
  GetResourcePolicy: { Policy: RESOURCE_POLICY },
  InitializeCluster: { State: oneOf(...CLUSTER_STATES), StateMessage: STATE_MESSAGE },
  ListTags: { TagList: required(ANSWERED_TAGS), NextToken: NEXT_TOKEN },
  ModifyBackupAttributes: { Backup: BACKUP },
  ModifyCluster: { Cluster: CLUSTER },
  PutResourcePolicy: { ResourceArn: CLOUDHSM_ARN, Policy: RESOURCE_POLICY },
  RestoreBackup: { Backup: BACKUP },
  TagResource: {},
  UntagResource: {},
} as const satisfies Record<CloudHsmAction, Members>;

export type CloudHsmAnswer<A extends CloudHsmAction> = AnswerMembers<
  (typeof CLOUDHSM_RESPONSES)[A]
>;

/** A request whose form was checked: action and params belong together. */
export type CloudHsmRequest = {
  [A in CloudHsmAction]: { readonly action: A; readonly params: CloudHsmParams<A> };
}[CloudHsmAction];

const PLANS = new Map<string, Plan>(
  Object.entries(CLOUDHSM_REQUESTS).map(([action, members]) => [action, planOf(members)]),
);

export const isCloudHsmAction = (action: string): action is CloudHsmAction => PLANS.has(action);

/**
 * Checks the form of a request.
 * @throws UnknownOperationException, SerializationException, ValidationException
 */
export function parseCloudHsmRequest(action: string, params: unknown): CloudHsmRequest {
  const plan = PLANS.get(action);
  if (!plan) throw new KeyspanError('UnknownOperationException');
  return { action, params: parseStructure(plan, params ?? {}, 'json') } as CloudHsmRequest;
}
