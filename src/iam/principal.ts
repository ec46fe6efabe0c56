import { parseArn, rootArn } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';

declare const brand: unique symbol;
/** The ARN of a caller that `parsePrincipal` accepted. */
export type PrincipalArn = string & { readonly [brand]: 'PrincipalArn' };

/** Who asks. An account's root, a user, a role, or a session of a role. */
export interface Principal {
  readonly arn: PrincipalArn;
  readonly type: 'Account' | 'User' | 'Role' | 'AssumedRole';
  readonly partition: string;
  /** twelve digits */
  readonly account: string;
  /**
   * Every ARN that names this principal in a policy. A role's session is also named by its role,
   * whose ARN is written here without a path: a session does not know it.
   */
  readonly names: readonly string[];
  /** the account's root, which stands for all of the account */
  readonly root: string;
  /** of temporary credentials */
  readonly session?: Session | undefined;
}

/** What was settled when temporary credentials were given out. */
export interface Session {
  /** the id of the user or role that it is a session of; the account of a root's */
  readonly of: string;
  /** session policies as they were written: what they do not allow, nothing does */
  readonly policies: readonly string[];
  /** managed policies that narrow it in the same way */
  readonly policyArns: readonly string[];
  /** added to those of the role */
  readonly tags: ReadonlyMap<string, string>;
  /** wire time in milliseconds since 1970 */
  readonly issuedAtMs: number;
}

const NAME = '[\\w+=,.@-]{1,128}';
const PATH = '(?:[!-~]*/)?';
const IAM_RESOURCE = new RegExp(`^(user|role)/${PATH}(${NAME})$`);
const SESSION = new RegExp(`^assumed-role/(${NAME})/(${NAME})$`);
/** IAM's own bound for an ARN */
const ARN_MAX_CHARS = 2048;

/** Reads a principal's ARN; `undefined` when `text` names none. */
export function readPrincipal(text: string): Principal | undefined {
  if (text.length > ARN_MAX_CHARS) return undefined;
  const arn = parseArn(text);
  if (!arn || arn.account === 'aws' || arn.account === '' || arn.region !== '') return undefined;
  const { partition, account, resource } = arn;
  const root = partition === 'aws' ? rootArn(account) : `arn:${partition}:iam::${account}:root`;
  const common = { arn: text as PrincipalArn, partition, account, root };
  if (arn.service === 'iam') {
    if (resource === 'root') return { ...common, type: 'Account', names: [text] };
    const match = IAM_RESOURCE.exec(resource);
    if (!match) return undefined;
    const type = match[1] === 'user' ? 'User' : 'Role';
    return { ...common, type, names: [text] };
  }
  if (arn.service !== 'sts') return undefined;
  const session = SESSION.exec(resource);
  if (!session) return undefined;
  const role = `arn:${partition}:iam::${account}:role/${session[1]}`;
  return { ...common, type: 'AssumedRole', names: [text, role] };
}

/**
 * The principal that an ARN names: `arn:aws:iam::ACCOUNT:root`, `…:user/NAME`, `…:role/NAME` or
 * `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`.
 * @throws ValidationException when it names none
 */
export function parsePrincipal(arn: string): Principal {
  const principal = readPrincipal(arn);
  if (principal) return principal;
  const sentence = 'A principal is the ARN of an account root, a user, a role or a role session.';
  throw new KeyspanError('ValidationException', sentence);
}

/** A role's ARN as a session of it would write it: without the path. */
export function withoutPath(arn: string): string {
  return arn.replace(/^(arn:[a-z-]+:iam::\d{12}:role\/).*\/([^/]+)$/, '$1$2');
}
