import { evaluate, type DenyReason } from '../../src/iam/evaluate.js';
import { parsePolicy, type PolicyDocument } from '../../src/iam/policy-document.js';
import { parsePrincipal } from '../../src/iam/principal.js';

export const OWN = '111122223333';
export const OTHER = '444455556666';
export const KEY = `arn:aws:kms:eu-central-1:${OWN}:key/1234abcd-12ab-34cd-56ef-1234567890ab`;
export const root = (account: string): string => `arn:aws:iam::${account}:root`;
export const user = (account: string, name = 'alice'): string =>
  `arn:aws:iam::${account}:user/${name}`;
export const session = `arn:aws:sts::${OWN}:assumed-role/Deploy/one`;

export const allow = (AWS: string | string[], rest: object = {}): object => ({
  Effect: 'Allow',
  Principal: { AWS },
  Action: 'kms:*',
  Resource: '*',
  ...rest,
});
export const deny = (AWS: string | string[], rest: object = {}): object => ({
  ...allow(AWS, rest),
  Effect: 'Deny',
});
export const identityAllow = { Effect: 'Allow', Action: 'kms:Encrypt', Resource: '*' };
export const identityDeny = { ...identityAllow, Effect: 'Deny' };

export type Expected = 'allow' | DenyReason;
/** A request with the policies about it, and what AWS says of it. */
export interface Row {
  readonly name: string;
  readonly principal: string;
  readonly key?: object[];
  readonly identity?: object[];
  readonly boundary?: object[];
  readonly session?: object[];
  readonly action?: string;
  readonly resource?: string;
  readonly context?: Record<string, string[]>;
  readonly expected: Expected;
}

export const DELEGATING = [allow(root(OWN))];
export const role = `arn:aws:iam::${OWN}:role/Deploy`;
export const denyAllBut = (...AWS: string[]): object =>
  deny('*', { Principal: undefined, NotPrincipal: { AWS } });
export const decrypt = { Effect: 'Allow', Action: 'kms:Decrypt', Resource: '*' };

/** What is decided about a row. */
export function decide(row: Row, version = '2012-10-17'): Expected {
  const text = (Statement: object[]): string => JSON.stringify({ Version: version, Statement });
  const read = (statements: object[]): PolicyDocument => parsePolicy(text(statements), 'identity');
  const decision = evaluate(
    {
      principal: parsePrincipal(row.principal),
      action: row.action ?? 'kms:Encrypt',
      resource: row.resource ?? KEY,
      context: () => new Map(Object.entries(row.context ?? {})),
    },
    {
      ...(row.key && { resource: { document: parsePolicy(text(row.key), 'key'), account: OWN } }),
      identity: row.identity ? [read(row.identity)] : [],
      boundary: row.boundary && read(row.boundary),
      session: row.session && [read(row.session)],
    },
  );
  return decision.allowed ? 'allow' : decision.reason;
}
