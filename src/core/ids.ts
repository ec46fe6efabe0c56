import { randomBytes, randomUUID } from 'node:crypto';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** `cluster-` and 11 characters of [2-7a-z] (CloudHSM V2 API, ClusterId) */
export type ClusterId = Branded<'ClusterId'>;
/** `hsm-` and 11 characters of [2-7a-z] (CloudHSM V2 API, HsmId) */
export type HsmId = Branded<'HsmId'>;
/** 32 hex digits: one attempt to make one key, the same on every HSM, never reused */
export type HsmKeyId = Branded<'HsmKeyId'>;
/** A UUID, the last part of a KMS key's ARN (`mrk-` and 32 hex digits for multi-Region keys) */
export type KmsKeyId = Branded<'KmsKeyId'>;
/** 64 hex digits (KMS API, BackingKeyIdType) */
export type MaterialId = Branded<'MaterialId'>;
/** 64 hex digits (KMS API, GrantIdType) */
export type GrantId = Branded<'GrantId'>;
/** 32 hex digits, random at each start of an HSM process */
export type BootId = Branded<'BootId'>;
/** `backup-` and 11 characters of [2-7a-z] (CloudHSM V2 API, BackupId) */
export type BackupId = Branded<'BackupId'>;
/** 32 hex digits: names the three masking keys of a cluster and of its relatives */
export type MaskingKeyId = Branded<'MaskingKeyId'>;

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** `length` characters of [a-z2-7], five random bits each. */
function base32(length: number): string {
  return Array.from(randomBytes(length), (byte) => BASE32[byte & 31]).join('');
}

const CLUSTER_ID = /^cluster-[2-7a-zA-Z]{11,16}$/;
const HSM_ID = /^hsm-[2-7a-zA-Z]{11,16}$/;
const BACKUP_ID = /^backup-[2-7a-zA-Z]{11,16}$/;
const HEX_32 = /^[0-9a-f]{32}$/;
const HEX_64 = /^[0-9a-f]{64}$/;
const KMS_KEY_ID = /^(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$/;

export const newClusterId = (): ClusterId => `cluster-${base32(11)}` as ClusterId;
export const newHsmId = (): HsmId => `hsm-${base32(11)}` as HsmId;
export const newBackupId = (): BackupId => `backup-${base32(11)}` as BackupId;
export const newHsmKeyId = (): HsmKeyId => randomBytes(16).toString('hex') as HsmKeyId;
export const newKmsKeyId = (): KmsKeyId => randomUUID() as string as KmsKeyId;
export const newMaterialId = (): MaterialId => randomBytes(32).toString('hex') as MaterialId;
export const newGrantId = (): GrantId => randomBytes(32).toString('hex') as GrantId;
export const newBootId = (): BootId => randomBytes(16).toString('hex') as BootId;
export const newMaskingKeyId = (): MaskingKeyId => randomBytes(16).toString('hex') as MaskingKeyId;
/** `eni-` and 17 hex digits, as EC2 writes it */
export const newEniId = (): string => `eni-${randomBytes(9).toString('hex').slice(0, 17)}`;
/** An id of IAM: four letters that say of what it is, then [A-Z2-7] */
const iamId = (kind: string, length: number): string => kind + base32(length).toUpperCase();
export const newUserId = (): string => iamId('AIDA', 17);
export const newRoleId = (): string => iamId('AROA', 17);
export const newPolicyId = (): string => iamId('ANPA', 17);
/** of a user's own key */
export const newAccessKeyId = (): string => iamId('AKIA', 16);
/** of a session's key */
export const newSessionKeyId = (): string => iamId('ASIA', 16);
/** 40 characters of base64, as AWS's secret access keys are */
export const newSecretAccessKey = (): string => randomBytes(30).toString('base64');
/** A UUID for one request, as AWS's `x-amzn-RequestId` */
export const newRequestId = (): string => randomUUID();

export const isClusterId = (text: string): text is ClusterId => CLUSTER_ID.test(text);
export const isHsmId = (text: string): text is HsmId => HSM_ID.test(text);
export const isBackupId = (text: string): text is BackupId => BACKUP_ID.test(text);
export const isHsmKeyId = (text: string): text is HsmKeyId => HEX_32.test(text);
export const isKmsKeyId = (text: string): text is KmsKeyId => KMS_KEY_ID.test(text);
export const isMaterialId = (text: string): text is MaterialId => HEX_64.test(text);
export const isGrantId = (text: string): text is GrantId => HEX_64.test(text);
export const isBootId = (text: string): text is BootId => HEX_32.test(text);
export const isMaskingKeyId = (text: string): text is MaskingKeyId => HEX_32.test(text);
