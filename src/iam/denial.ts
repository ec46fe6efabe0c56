import type { DenyReason } from './evaluate.js';

/** A request that was refused. */
export interface Denial {
  readonly principal: { readonly arn: string };
  readonly action: string;
  readonly resource: string;
}

/** AWS's sentence of who may not do what, and why (IAM user guide, "Access denied errors"). */
export function denialSentence(
  { principal, action, resource }: Denial,
  reason: DenyReason,
): string {
  const who = `User: ${principal.arn} is not authorized to perform: ${action}`;
  return `${who} on resource: ${resource} ${because(reason, action)}`;
}

const because = (reason: DenyReason, action: string): string =>
  reason.startsWith('no ') ? `because ${reason} allows the ${action} action` : `with an ${reason}`;
