const PLAIN = /^[ !#-[\]-~]*$/;

/** A string in JSON; most need no escapes. */
export const quoted = (text: string): string =>
  PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);

/**
 * What records of calls show of requests and of answers, as CloudTrail does ("Logging AWS KMS API
 * calls with AWS CloudTrail"). Only what is listed is shown: no plaintext, ciphertext, message,
 * signature, key material, grant token or password can get in by being new.
 */
const SHOWN = `
  AliasName BypassPolicyLockoutSafetyCheck CloudHsmClusterId Constraints CustomerMasterKeySpec
  CustomKeyStoreId CustomKeyStoreName CustomKeyStoreType Description DestinationEncryptionAlgorithm
  DestinationEncryptionContext DestinationKeyId DryRun DryRunModifiers EncapsulationAlgorithm
  EncryptionAlgorithm
  EncryptionContext ExpirationModel GranteePrincipal GranteeServicePrincipal GrantId ImportType
  IncludeKeyMaterial KeyAgreementAlgorithm KeyId KeyMaterialDescription KeyMaterialId KeyPairSpec
  KeySpec KeyUsage Limit MacAlgorithm Marker MessageType MultiRegion Name NewCustomKeyStoreName
  NumberOfBytes Operations Origin PendingWindowInDays Policy PolicyName PrimaryRegion ReplicaRegion
  RetiringPrincipal RetiringServicePrincipal RotationPeriodInDays SigningAlgorithm
  SourceEncryptionAlgorithm SourceEncryptionContext SourceKeyId TagKeys Tags TargetKeyId
  TrustAnchorCertificate ValidTo WrappingAlgorithm WrappingKeySpec XksKeyId XksProxyConnectivity
  XksProxyUriEndpoint XksProxyUriPath XksProxyVpcEndpointServiceName
  XksProxyVpcEndpointServiceOwner

  DeletionDate KeyMetadata KeyState ReplicaKeyMetadata ReplicaPolicy ReplicaTags

  AvailabilityZone BackupId BackupRetentionPolicy ClusterId DestinationRegion EniId EniIp Filters
  HsmId HsmType IpAddress MaxResults Mode NetworkType NeverExpires NextToken ResourceArn ResourceId
  Shared SignedCert SortAscending SourceBackupId SubnetIds TagKeyList TagList TrustAnchor

  Backup Cluster DestinationBackup Hsm State StateMessage

  AccessKeyId AssumeRolePolicyDocument DurationSeconds ExternalId MaxItems MaxSessionDuration Path
  PathPrefix PermissionsBoundary PolicyArn PolicyDocument RoleArn RoleName RoleSessionName
  SerialNumber SourceIdentity Status TransitiveTagKeys UserName

  AccessKey AssumedRoleUser Credentials PackedPolicySize Role User
`;

/** Within what is shown too. */
const HIDDEN: ReadonlySet<string> = new Set([
  'Certificates',
  'PreCoPassword',
  'SecretAccessKey',
  'SessionToken',
]);

/** What AWS writes down though a request left it out. */
const DEFAULTS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  CreateKey: {
    Description: '',
    Origin: 'AWS_KMS',
    BypassPolicyLockoutSafetyCheck: false,
    KeySpec: 'SYMMETRIC_DEFAULT',
    KeyUsage: 'ENCRYPT_DECRYPT',
  },
  Decrypt: { EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' },
  Encrypt: { EncryptionAlgorithm: 'SYMMETRIC_DEFAULT' },
  PutKeyPolicy: { PolicyName: 'default', BypassPolicyLockoutSafetyCheck: false },
  ReEncrypt: {
    SourceEncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
    DestinationEncryptionAlgorithm: 'SYMMETRIC_DEFAULT',
  },
  ScheduleKeyDeletion: { PendingWindowInDays: 30 },
};

const DATES: ReadonlySet<string> = new Set([
  'CreateDate',
  'CreateTimestamp',
  'CreationDate',
  'DeletionDate',
  'DeleteTimestamp',
  'Expiration',
  'ValidTo',
]);
const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** `keyId` of KeyId, but AWSAccountId stays as it is. */
const labelOf = (name: string): string =>
  `${quoted(/^[A-Z]{2}/.test(name) ? name : name.charAt(0).toLowerCase() + name.slice(1))}:`;

const LABELS: ReadonlyMap<string, string> = new Map(
  SHOWN.trim()
    .split(/\s+/)
    .map((name) => [name, labelOf(name)]),
);

export const isShown = (name: string): boolean => LABELS.has(name);

type Members = Readonly<Record<string, unknown>>;

/** A request's or an answer's members in JSON, named as CloudTrail names them; `null` for none. */
export function shownMembers(members: Members, action?: string): string {
  let text = '';
  // eslint-disable-next-line guard-for-in -- as fast as can be: these are plain objects
  for (const name in members) {
    const value = members[name];
    const label = value === undefined ? undefined : LABELS.get(name);
    if (label !== undefined) text += `${text === '' ? '{' : ','}${label}${inJson(name, value)}`;
  }
  const defaults = action === undefined ? undefined : DEFAULTS[action];
  if (defaults) text += defaultsBeside(members, defaults, text === '' ? '{' : ',');
  return text === '' ? 'null' : `${text}}`;
}

function defaultsBeside(members: Members, defaults: Members, before: string): string {
  let text = '';
  for (const name of Object.keys(defaults)) {
    if (members[name] !== undefined) continue;
    text += (text === '' ? before : ',') + labelOf(name) + inJson(name, defaults[name]);
  }
  return text;
}

function inJson(name: string, value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (value instanceof Map) return pairsInJson(value as ReadonlyMap<string, unknown>);
  if (typeof value === 'number') return DATES.has(name) ? `"${dateOf(value)}"` : String(value);
  if (typeof value !== 'object' || value === null) return JSON.stringify(value ?? null);
  if (Array.isArray(value)) return `[${value.map((one) => inJson('', one)).join(',')}]`;
  // bytes are never shown
  if (ArrayBuffer.isView(value)) return 'null';
  return `{${Object.entries(value)
    .filter(([key, one]) => one !== undefined && !HIDDEN.has(key))
    .map(([key, one]) => labelOf(key) + inJson(key, one))
    .join(',')}}`;
}

/** An encryption context: its keys are the caller's. */
function pairsInJson(pairs: ReadonlyMap<string, unknown>): string {
  let text = '';
  for (const [key, value] of pairs) {
    text += `${text === '' ? '{' : ','}${quoted(key)}:${inJson('', value)}`;
  }
  return text === '' ? '{}' : `${text}}`;
}

/** As CloudTrail writes it: `Aug 10, 2022, 10:38:27 PM`. */
function dateOf(seconds: number): string {
  const date = new Date(seconds * 1_000);
  if (Number.isNaN(date.getTime())) return String(seconds);
  const two = (value: number): string => String(value).padStart(2, '0');
  const hour = date.getUTCHours();
  const day = `${MONTHS[date.getUTCMonth()]} ${date.getUTCDate()}, ${date.getUTCFullYear()}`;
  const clock = `${hour % 12 || 12}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`;
  return `${day}, ${clock} ${hour < 12 ? 'AM' : 'PM'}`;
}
