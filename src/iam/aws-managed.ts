import { parsePolicy, type PolicyDocument } from './policy-document.js';

/**
 * The policies of AWS's own (`arn:aws:iam::aws:policy/…`) that concern what is here, with their
 * actions as AWS's reference of managed policies lists them, without those of other services.
 */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  AdministratorAccess: ['*'],
  IAMFullAccess: ['iam:*'],
  IAMReadOnlyAccess: ['iam:Get*', 'iam:List*'],
  AWSCloudHSMFullAccess: ['cloudhsm:*'],
  AWSCloudHSMReadOnlyAccess: ['cloudhsm:Describe*', 'cloudhsm:Get*', 'cloudhsm:List*'],
  AWSKeyManagementServicePowerUser: [
    'kms:CreateAlias',
    'kms:CreateKey',
    'kms:DeleteAlias',
    'kms:Describe*',
    'kms:GenerateRandom',
    'kms:Get*',
    'kms:List*',
    'kms:TagResource',
    'kms:UntagResource',
    'iam:ListGroups',
    'iam:ListRoles',
    'iam:ListUsers',
  ],
};

const PREFIX = 'arn:aws:iam::aws:policy/';
const documents = new Map<string, PolicyDocument>();

/** The text of AWS's own policy of this ARN. */
export function awsManagedPolicy(arn: string): string | undefined {
  const name = arn.startsWith(PREFIX) ? arn.slice(PREFIX.length) : '';
  const actions = Object.hasOwn(ALLOWED, name) ? ALLOWED[name] : undefined;
  if (!actions) return undefined;
  const Statement = [{ Effect: 'Allow', Action: actions, Resource: '*' }];
  return JSON.stringify({ Version: '2012-10-17', Statement });
}

/** What it says; compiled once. */
export function awsManagedDocument(arn: string): PolicyDocument | undefined {
  const known = documents.get(arn);
  if (known) return known;
  const text = awsManagedPolicy(arn);
  if (text === undefined) return undefined;
  const document = parsePolicy(text, 'identity');
  documents.set(arn, document);
  return document;
}
