import type { BackupId, ClusterId, HsmId, HsmKeyId } from '../core/ids.js';
import type { GrantId, KmsKeyId, MaterialId } from '../core/ids.js';

/**
 * Where each fact stands in the store. A name ends its prefix with a slash, so that a range
 * over it meets nothing else.
 * Values are CBOR whose first member is a version (promise 12).
 */
export const KEYSPACE = {
  /** the schema version of all that stands here */
  schema: 'meta/schema',
  /** facts of the installation: its id, its block of addresses */
  installation: 'meta/installation',
  /** what civil time is ahead of the machine's */
  clock: 'meta/clock',
  /** the AWS door's port, where the default one was taken */
  awsPort: 'meta/aws-port',
  /** sealed: the newest seal of the audit log that was written down */
  auditSeal: 'meta/audit-seal',
  /** the emulated certificate authorities: certificates in clear, keys sealed */
  authority: (name: string): string => `meta/authority/${name}`,

  /** sealed, each as a whole: who it speaks for, and its secret */
  accessKeys: 'access-key/',
  accessKey: (id: string): string => `access-key/${id}`,

  /** users, roles and managed policies of accounts; names are in lower case */
  iam: 'iam/',
  iamUsers: (account: string): string => `iam/user/${account}/`,
  iamUser: (account: string, name: string): string => `iam/user/${account}/${name.toLowerCase()}`,
  iamRoles: (account: string): string => `iam/role/${account}/`,
  iamRole: (account: string, name: string): string => `iam/role/${account}/${name.toLowerCase()}`,
  iamPolicies: (account: string): string => `iam/policy/${account}/`,
  iamPolicy: (account: string, name: string): string =>
    `iam/policy/${account}/${name.toLowerCase()}`,

  /** where a subnet is, and the addresses of its ENIs */
  subnets: (account: string, region: string): string => `subnet/${account}/${region}/`,
  subnet: (account: string, region: string, id: string): string =>
    `subnet/${account}/${region}/${id}`,
  allSubnets: 'subnet/',

  /** of a cluster or a backup */
  resourceTags: (resource: string): string => `tag/${resource}`,

  backups: 'backup/',
  backup: (id: BackupId): string => `backup/${id}`,

  clusters: 'cluster/',
  cluster: (id: ClusterId): string => `cluster/${id}`,
  hsms: (cluster: ClusterId): string => `hsm/${cluster}/`,
  hsm: (cluster: ClusterId, id: HsmId): string => `hsm/${cluster}/${id}`,
  /** HSMs that left, until their token's directory is gone */
  removedHsms: (cluster: ClusterId): string => `removed-hsm/${cluster}/`,
  removedHsm: (cluster: ClusterId, id: HsmId): string => `removed-hsm/${cluster}/${id}`,
  hsmSecrets: (cluster: ClusterId): string => `hsm-secret/${cluster}/`,
  /** sealed: an HSM's PINs */
  hsmSecret: (cluster: ClusterId, id: HsmId): string => `hsm-secret/${cluster}/${id}`,
  /**
   * sealed: passwords that the installation itself keeps (app_user, kmsuser, up's admin and
   * crypto-user)
   */
  userSecrets: (cluster: ClusterId): string => `user-secret/${cluster}/`,
  userSecret: (cluster: ClusterId, user: string): string => `user-secret/${cluster}/${user}`,
  lease: (cluster: ClusterId): string => `lease/${cluster}`,

  ledger: (cluster: ClusterId): string => `ledger/${cluster}/`,
  ledgerKey: (cluster: ClusterId, key: HsmKeyId): string => `ledger/${cluster}/${key}`,

  /** the next number of a key's reference */
  keyReferences: (cluster: ClusterId): string => `key-reference/${cluster}`,

  kms: 'kms/',
  kmsKeys: (account: string, region: string): string => `kms/key/${account}/${region}/`,
  kmsKey: (account: string, region: string, id: KmsKeyId): string =>
    `kms/key/${account}/${region}/${id}`,
  kmsMaterials: (account: string, region: string, key: KmsKeyId): string =>
    `kms/material/${account}/${region}/${key}/`,
  kmsMaterial: (account: string, region: string, key: KmsKeyId, id: MaterialId): string =>
    `kms/material/${account}/${region}/${key}/${id}`,
  kmsAliases: (account: string, region: string): string => `kms/alias/${account}/${region}/`,
  /** `name` begins with `alias/` */
  kmsAlias: (account: string, region: string, name: string): string =>
    `kms/alias/${account}/${region}/${name}`,

  /** what keys come due for, in the order of time: not under `kms/`, which requests follow */
  kmsDue: 'kms-due/',
  /** `atMs`: civil time, in milliseconds since 1970 */
  kmsDueKey: (atMs: number, account: string, region: string, id: KmsKeyId): string =>
    `kms-due/${String(atMs).padStart(16, '0')}/${account}/${region}/${id}`,
  kmsGrants: (account: string, region: string, key: KmsKeyId): string =>
    `kms/grant/${account}/${region}/${key}/`,
  kmsGrant: (account: string, region: string, key: KmsKeyId, id: GrantId): string =>
    `kms/grant/${account}/${region}/${key}/${id}`,
  /** which grant has a name with these terms: not under `kms/`, which requests follow */
  kmsGrantName: (account: string, region: string, key: KmsKeyId, digest: string): string =>
    `kms-grant-name/${account}/${region}/${key}/${digest}`,
} as const;
