import type { Identity } from './identities.js';
import type { Principal } from './principal.js';
import type { RequestOrigin } from './request-origin.js';

export interface ContextOptions {
  readonly principal: Principal;
  readonly identity: Identity;
  readonly region: string;
  readonly origin: RequestOrigin;
  /** civil time in milliseconds since 1970 */
  readonly civilMs: number;
}

/**
 * What every request says of its caller and its way here, by global condition key in lower case
 * (IAM User Guide, "AWS global condition context keys").
 */
export function callerContext(options: ContextOptions): Map<string, readonly string[]> {
  const { principal, identity, region, origin, civilMs } = options;
  const context = new Map<string, readonly string[]>([
    ['aws:principalaccount', [principal.account]],
    ['aws:principalarn', [principal.names.at(-1) ?? principal.arn]],
    ['aws:principaltype', [principal.type]],
    ['aws:requestedregion', [region]],
    ['aws:currenttime', [new Date(civilMs).toISOString()]],
    ['aws:epochtime', [String(Math.floor(civilMs / 1_000))]],
  ]);
  const set = (name: string, value: string | undefined): void => {
    if (value !== undefined) context.set(name, [value]);
  };
  if (principal.type === 'User') set('aws:username', principal.arn.split('/').at(-1));
  const { session } = principal;
  if (session) set('aws:tokenissuetime', new Date(session.issuedAtMs).toISOString());
  set('aws:userid', identity.userId);
  set('aws:sourceip', origin.sourceIp);
  set('aws:securetransport', origin.isSecure?.toString());
  set('aws:useragent', origin.userAgent);
  set('aws:sourcevpc', origin.sourceVpc);
  for (const [tag, value] of identity.tags) set(`aws:principaltag/${tag.toLowerCase()}`, value);
  return context;
}
