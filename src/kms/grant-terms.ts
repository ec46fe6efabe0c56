import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { readPrincipal, withoutPath } from '../iam/principal.js';
import type { KmsParams } from '../protocol/kms.js';
import { GRANT_OPERATIONS, type GrantOperation, type KeyUsage } from '../protocol/kms-members.js';
import type { EncryptionContext } from './ciphertext.js';
import type { GrantRecord, GrantTerms } from './grant-records.js';
import { invalid } from './key-spec.js';
import type { KeyFact } from './records.js';

type Given = KmsParams<'CreateGrant'>;
type Constraints = GrantRecord['constraints'];

const FEDERATED_USER = /^arn:[a-z-]+:sts::\d{12}:federated-user\/[\w+=,.@-]{2,32}$/;
const SERVICE = /^(?:[a-z0-9-]+\.)+amazonaws\.com(?:\.cn)?$/;

/** What every key's grants may allow. */
const ALWAYS: readonly GrantOperation[] = ['CreateGrant', 'DescribeKey', 'RetireGrant'];
const SYMMETRIC: readonly GrantOperation[] = [
  'Decrypt',
  'Encrypt',
  'GenerateDataKey',
  'GenerateDataKeyPair',
  'GenerateDataKeyPairWithoutPlaintext',
  'GenerateDataKeyWithoutPlaintext',
  'ReEncryptFrom',
  'ReEncryptTo',
];
/** By what a key is for; of keys that encrypt, those that are asymmetric. */
const BY_USAGE: Readonly<Record<KeyUsage, readonly GrantOperation[]>> = {
  ENCRYPT_DECRYPT: ['Decrypt', 'Encrypt', 'GetPublicKey', 'ReEncryptFrom', 'ReEncryptTo'],
  SIGN_VERIFY: ['GetPublicKey', 'Sign', 'Verify'],
  GENERATE_VERIFY_MAC: ['GenerateMac', 'VerifyMac'],
  KEY_AGREEMENT: ['DeriveSharedSecret', 'GetPublicKey'],
  ENCAPSULATE_DECAPSULATE: ['Decapsulate', 'Encapsulate', 'GetPublicKey'],
};

/**
 * What a request wants a grant to say, checked as far as it can be without the key.
 * @throws ValidationException, InvalidArnException
 */
export function readTerms(given: Given): GrantTerms {
  const { GranteePrincipal, GranteeServicePrincipal, Name } = given;
  const { RetiringPrincipal, RetiringServicePrincipal } = given;
  if ((GranteePrincipal === undefined) === (GranteeServicePrincipal === undefined)) {
    throw invalid('You must specify either GranteePrincipal or GranteeServicePrincipal.');
  }
  if (RetiringPrincipal !== undefined && RetiringServicePrincipal !== undefined) {
    throw invalid('You can specify either RetiringPrincipal or RetiringServicePrincipal.');
  }
  const constraints = readConstraints(given.Constraints ?? {});
  if (GranteeServicePrincipal !== undefined) {
    const isRetirable = (RetiringPrincipal ?? RetiringServicePrincipal) !== undefined;
    if (constraints.sourceArn === undefined || !isRetirable) {
      throw invalid(
        'A grant with a GranteeServicePrincipal must have a SourceArn constraint and a ' +
          'RetiringPrincipal or RetiringServicePrincipal.',
      );
    }
  }
  return {
    ...(Name !== undefined && { name: Name }),
    ...(GranteePrincipal !== undefined && { grantee: readGrantPrincipal(GranteePrincipal) }),
    ...(GranteeServicePrincipal !== undefined && {
      granteeService: readService(GranteeServicePrincipal),
    }),
    ...(RetiringPrincipal !== undefined && { retiring: readGrantPrincipal(RetiringPrincipal) }),
    ...(RetiringServicePrincipal !== undefined && {
      retiringService: readService(RetiringServicePrincipal),
    }),
    operations: readOperations(given.Operations),
    constraints,
  };
}

/**
 * The ARN of an account's root, a user, a role, a session of a role or a federated user.
 * @throws InvalidArnException
 */
export function readGrantPrincipal(arn: string): string {
  if (readPrincipal(arn) || FEDERATED_USER.test(arn)) return arn;
  const sentence = `ARN does not refer to a valid principal: ${arn}`;
  throw new KeyspanError('InvalidArnException', sentence);
}

/** A role's sessions do not know its path: principals of grants are compared without it. */
export const comparablePrincipal = (arn: string): string => withoutPath(arn);

function readService(name: string): string {
  if (SERVICE.test(name)) return name;
  throw invalid(`${name} is not a valid service principal.`);
}

/** Each once, in AWS's order. */
function readOperations(given: readonly GrantOperation[]): GrantOperation[] {
  const operations = GRANT_OPERATIONS.filter((operation) => given.includes(operation));
  if (operations.length === 0) throw invalid('Grants must contain at least one operation.');
  if (operations.length === 1 && operations[0] === 'CreateGrant') {
    throw invalid('Grants must not contain only the CreateGrant operation.');
  }
  return operations;
}

function readConstraints(given: NonNullable<Given['Constraints']>): Constraints {
  const { EncryptionContextEquals, EncryptionContextSubset, SourceArn } = given;
  if (EncryptionContextEquals && EncryptionContextSubset) {
    throw invalid('More than one constraint supplied');
  }
  return {
    ...(EncryptionContextEquals && { equals: readPairs(EncryptionContextEquals) }),
    ...(EncryptionContextSubset && { subset: readPairs(EncryptionContextSubset) }),
    ...(SourceArn !== undefined && { sourceArn: readArn(SourceArn) }),
  };
}

function readPairs(context: EncryptionContext): [string, string][] {
  const pairs = [...context];
  const { kms_grant_pairs_max: pairsMax, kms_grant_pair_max_chars: charsMax } = LIMITS;
  if (pairs.length > pairsMax) {
    throw invalid(`A grant constraint can have at most ${pairsMax} encryption context pairs.`);
  }
  if (pairs.some(([, value]) => value.length > charsMax)) {
    throw invalid(
      `An encryption context value in a grant constraint can have at most ${charsMax} characters.`,
    );
  }
  return pairs;
}

function readArn(arn: string): string {
  if (/^arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:\d{0,12}:.+$/.test(arn)) return arn;
  throw new KeyspanError('InvalidArnException', `${arn} is not a valid ARN.`);
}

/**
 * Whether a key can have such a grant.
 * @throws ValidationException
 */
export function requireGrantable(
  key: Pick<KeyFact, 'arn' | 'spec' | 'usage'>,
  { operations, constraints }: GrantTerms,
): void {
  const isSymmetric = key.spec === 'SYMMETRIC_DEFAULT';
  const possible = isSymmetric ? SYMMETRIC : BY_USAGE[key.usage];
  for (const operation of operations) {
    if (ALWAYS.includes(operation) || possible.includes(operation)) continue;
    const what = `key spec is ${key.spec} and key usage is ${key.usage}`;
    throw invalid(`${key.arn} ${what}, which is not valid for ${operation} in a grant.`);
  }
  if (isSymmetric || (!constraints.equals && !constraints.subset)) return;
  throw invalid(
    `${key.arn} key spec is ${key.spec}: its grants cannot have encryption context constraints.`,
  );
}

/** The context that a grant's constraints name, for conditions on making it. */
export function contextOfTerms({ constraints }: GrantTerms): EncryptionContext | undefined {
  const pairs = constraints.equals ?? constraints.subset;
  return pairs && new Map(pairs);
}

/** What conditions on making a grant ask about (AWS KMS condition keys). */
export function conditionKeys(terms: GrantTerms): readonly (readonly [string, string[]])[] {
  const { equals, subset, sourceArn } = terms.constraints;
  const grantee = terms.grantee ?? terms.granteeService;
  const retiring = terms.retiring ?? terms.retiringService;
  const types = [
    ...(equals ? ['EncryptionContextEquals'] : []),
    ...(subset ? ['EncryptionContextSubset'] : []),
    ...(sourceArn === undefined ? [] : ['SourceArn']),
  ];
  const keys: [string, string[]][] = [
    ['kms:GrantOperations', [...terms.operations]],
    ['kms:GranteePrincipal', grantee === undefined ? [] : [grantee]],
    ['kms:RetiringPrincipal', retiring === undefined ? [] : [retiring]],
    ['kms:GrantConstraintType', types],
  ];
  return keys.filter(([, values]) => values.length > 0);
}
