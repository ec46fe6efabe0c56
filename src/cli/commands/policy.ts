import { findHome } from '../../core/home.js';
import type {
  ExplainedPart,
  ExplainedStatement,
  PolicyExplanation,
} from '../../protocol/policy-explanation.js';
import { callAdmin } from '../admin-client.js';
import type { SharedOptions } from '../global-options.js';
import { EXIT, print, printJson } from '../output.js';

export interface ExplainOptions extends SharedOptions {
  readonly principal: string;
  readonly action: string;
  readonly key?: string;
  readonly context?: Readonly<Record<string, string>>;
  readonly condition?: Readonly<Record<string, readonly string[]>>;
}

/** @returns 0 when it is allowed, 1 when it is denied */
export async function explainPolicy(options: ExplainOptions): Promise<number> {
  const { principal, action, key, context = {}, condition = {} } = options;
  const question = { principal, action, key, encryptionContext: context, conditions: condition };
  const told = await callAdmin(findHome(options.home), 'PolicyExplain', question);
  if (options.json) printJson(told);
  else print(formatExplanation(told));
  return told.allowed ? EXIT.ok : EXIT.failed;
}

/** The walk: each policy with its statements, and what did not match; then the decision. */
export function formatExplanation(told: PolicyExplanation): string {
  const walk = told.policies.map(({ type, statements }) =>
    [type, ...statements.flatMap(formatStatement)].join('\n'),
  );
  const hasOwn = told.policies.some(({ type }) => type === 'identity-based policy');
  const none = hasOwn ? [] : ['identity-based policy\n  none'];
  const verdict = `${told.allowed ? 'ALLOWED' : 'DENIED'}: ${told.reason}`;
  return [...walk, ...none, verdict].join('\n\n');
}

function formatStatement(statement: ExplainedStatement): string[] {
  const { number, sid, effect, applies, delegates, parts } = statement;
  const name = sid === null ? '' : ` "${sid}"`;
  const verdict = delegates
    ? "applies, and leaves it to the account's own policies"
    : applies
      ? 'applies'
      : 'does not apply';
  const unmet = parts.filter(({ matched }) => !matched).map(formatPart);
  return [`  ${number} ${effect}${name}: ${verdict}`, ...unmet];
}

function formatPart({ part, wanted, given }: ExplainedPart): string {
  const has = given === null ? 'no such key' : given.join(', ');
  return `      ${part}: wanted ${wanted.join(', ')}; the request has ${has}`;
}
