import { aliasArn, keyArn, parseArn, rootArn } from '../core/arn.js';
import { joinParts } from '../core/commit.js';
import { isKeyspanError } from '../core/errors.js';
import { newKmsKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { evaluate } from '../iam/evaluate.js';
import { cachedPolicy } from '../iam/policy-document.js';
import { KEYSPACE } from '../store/keyspace.js';
import { policiesOn, requestOf } from './authorize.js';
import type { PageRequest } from './facts.js';
import { addMaterial } from './materials.js';
import { addPart } from './due-keys.js';
import { civilSeconds, encodeAlias, type AliasFact, type KeyRecord } from './records.js';
import type { Answer, KmsParts, KmsRequest } from './request.js';
import { enabledAt } from './rotation-schedule.js';

/**
 * AWS managed keys: each belongs to an account, is for one service, and is made when it is first
 * used through that service. Nobody can change its policy, and its policy allows nobody to change
 * anything else of it.
 */
interface ManagedService {
  /** as the alias has it, behind `alias/aws/` */
  readonly name: string;
  /** as kms:ViaService has it, before the region */
  readonly service: string;
  /** as AWS shows it */
  readonly title: string;
}

const managed = (name: string, title: string, service = name): ManagedService => ({
  name,
  service,
  title,
});

const SERVICES: readonly ManagedService[] = [
  managed('acm', 'ACM'),
  managed('backup', 'Backup'),
  managed('dynamodb', 'DynamoDB'),
  managed('ebs', 'EBS', 'ec2'),
  managed('elasticfilesystem', 'EFS'),
  managed('es', 'Elasticsearch'),
  managed('fsx', 'FSx'),
  managed('glue', 'Glue'),
  managed('kinesis', 'Kinesis'),
  managed('lambda', 'Lambda'),
  managed('rds', 'RDS'),
  managed('redshift', 'Redshift'),
  managed('s3', 'S3'),
  managed('secretsmanager', 'Secrets Manager'),
  managed('sns', 'SNS'),
  managed('sqs', 'SQS'),
  managed('ssm', 'SSM'),
];
const PREFIX = 'alias/aws/';
/** nobody can change it (developer guide, rotating AWS managed keys) */
const ROTATION_DAYS = 365;
const BY_ALIAS = new Map(SERVICES.map((one) => [PREFIX + one.name, one]));

/** As ListAliases shows an alias whose key was not made yet: it has no TargetKeyId. */
export interface ListedAlias extends Pick<AliasFact, 'name' | 'arn'> {
  readonly fact?: AliasFact;
}

/** One page of an account's aliases, with those of services whose keys were not made yet. */
export function listedAliases(
  kms: KmsParts,
  place: { readonly account: string; readonly region: string },
  page: PageRequest,
): ListedAlias[] {
  const { account, region } = place;
  const own = kms.facts.aliases(account, region, page);
  const listed = own.map((fact): ListedAlias => ({ name: fact.name, arn: fact.arn, fact }));
  const last = own.length < page.limit ? undefined : own.at(-1)?.name;
  for (const name of BY_ALIAS.keys()) {
    const isBefore = page.after !== undefined && name <= page.after;
    const isBehind = last !== undefined && name > last;
    if (isBefore || isBehind || kms.facts.alias(account, region, name)) continue;
    listed.push({ name, arn: aliasArn(region, account, name) });
  }
  return listed.sort((a, b) => (a.name < b.name ? -1 : 1)).slice(0, page.limit);
}

/** Whether a request may be one that AWS managed keys are made for. */
export const mayNeedManagedKey = ({ action, caller }: KmsRequest): boolean =>
  action === 'DescribeKey' || caller.origin?.viaService !== undefined;

/**
 * Makes the AWS managed keys that the request names and that are not there yet, when it comes
 * through the service that they are for, or describes them (API reference, DescribeKey).
 * @throws what the vault throws
 */
export async function makeManagedKeys(kms: KmsParts, request: KmsRequest): Promise<void> {
  const params: Answer = request.params;
  for (const member of ['KeyId', 'SourceKeyId', 'DestinationKeyId']) {
    const given = params[member];
    if (typeof given !== 'string' || !given.includes(PREFIX)) continue;
    const name = aliasOf(request, given);
    const service = name === undefined ? undefined : BY_ALIAS.get(name);
    if (!service || !isVia(request, service)) continue;
    if (mayUse(kms, request, service)) await makeKey(kms, request, service);
  }
}

/** The name of an alias of the caller's account and region. */
function aliasOf({ caller }: KmsRequest, given: string): string | undefined {
  if (given.startsWith(PREFIX)) return given;
  const arn = parseArn(given);
  const { account } = caller.principal;
  const isOwn = arn?.service === 'kms' && arn.region === caller.region && arn.account === account;
  return isOwn ? arn.resource : undefined;
}

const isVia = ({ action, caller }: KmsRequest, { service }: ManagedService): boolean =>
  action === 'DescribeKey' ||
  caller.origin?.viaService === `${service}.${caller.region}.amazonaws.com`;

/**
 * Whether the key's policy would let the caller do this: who may do nothing makes no keys either. A
 * service asks only for whom it lets.
 */
function mayUse(kms: KmsParts, { action, caller }: KmsRequest, service: ManagedService): boolean {
  if (action !== 'DescribeKey') return true;
  const { account } = caller.principal;
  const { region } = caller;
  const document = cachedPolicy(policyOf({ account, region, service }), 'key');
  const permission = 'kms:DescribeKey';
  const access = { kms, caller, action: permission, key: undefined, details: {} };
  const request = requestOf(access, keyArn(region, account, newKmsKeyId()));
  return evaluate(request, { ...policiesOn(access), resource: { document, account } }).allowed;
}

/** Of several that make it at once, one does. */
async function makeKey(kms: KmsParts, request: KmsRequest, service: ManagedService): Promise<void> {
  const { principal, region } = request.caller;
  for (let attempt = 1; ; attempt += 1) {
    if (kms.facts.alias(principal.account, region, PREFIX + service.name)) return;
    try {
      await commitKey(kms, request, service);
      return;
    } catch (error) {
      const isConflict = isKeyspanError(error, 'StoreConflict');
      if (!isConflict || attempt >= LIMITS.commit_attempts_max) throw error;
      await kms.facts.catchUp(request.call.deadline);
    }
  }
}

async function commitKey(
  kms: KmsParts,
  request: KmsRequest,
  service: ManagedService,
): Promise<void> {
  const { caller } = request;
  const key = recordOf(kms, { account: caller.principal.account, region: caller.region, service });
  const { account, region, createdAt } = key;
  const name = PREFIX + service.name;
  const aliasPath = KEYSPACE.kmsAlias(account, region, name);
  const alias = encodeAlias({ name, target: key.id, createdAt, updatedAt: createdAt });
  await addMaterial(kms, request, key, (material) => ({
    part: joinParts(addPart({ ...key, currentMaterial: material.id }), {
      compares: [{ key: aliasPath, modRevision: null }],
      writes: [{ op: 'put', key: aliasPath, value: alias }],
    }),
  }));
}

function recordOf(
  kms: KmsParts,
  place: {
    readonly account: string;
    readonly region: string;
    readonly service: ManagedService;
  },
): Omit<KeyRecord, 'currentMaterial'> {
  const { account, region, service } = place;
  const createdAt = civilSeconds(kms.clock);
  return {
    id: newKmsKeyId(),
    account,
    region,
    description: `Default key that protects my ${service.title} data when no other key is defined`,
    spec: 'SYMMETRIC_DEFAULT',
    usage: 'ENCRYPT_DECRYPT',
    origin: 'AWS_KMS',
    state: 'Enabled',
    createdAt,
    policy: policyOf(place),
    multiRegion: false,
    onDemandRotations: 0,
    tags: [],
    manager: 'AWS',
    rotation: enabledAt(createdAt, ROTATION_DAYS),
  };
}

/** The policy that AWS gives such keys (developer guide, AWS managed keys). */
function policyOf(place: {
  readonly account: string;
  readonly region: string;
  readonly service: ManagedService;
}): string {
  const { account, region, service } = place;
  return JSON.stringify({
    Version: '2012-10-17',
    Id: `auto-${service.name}-1`,
    Statement: [
      {
        Sid:
          `Allow access through ${service.title} for all principals in the account that are ` +
          `authorized to use ${service.title}`,
        Effect: 'Allow',
        Principal: { AWS: '*' },
        Action: [
          'kms:Encrypt',
          'kms:Decrypt',
          'kms:ReEncrypt*',
          'kms:GenerateDataKey*',
          'kms:CreateGrant',
          'kms:DescribeKey',
        ],
        Resource: '*',
        Condition: {
          StringEquals: {
            'kms:CallerAccount': account,
            'kms:ViaService': `${service.service}.${region}.amazonaws.com`,
          },
        },
      },
      {
        Sid: 'Allow direct access to key metadata to the account',
        Effect: 'Allow',
        Principal: { AWS: rootArn(account) },
        Action: ['kms:Describe*', 'kms:Get*', 'kms:List*', 'kms:RevokeGrant'],
        Resource: '*',
      },
    ],
  });
}
