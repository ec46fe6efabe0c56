import { KeyspanError } from '../core/errors.js';
import { cachedPolicy, type PolicyDocument } from './policy-document.js';

/**
 * Reads a role's trust policy: it stands on the role itself, so its statements name principals
 * and no resource.
 * @throws MalformedPolicyDocumentException
 */
export function trustPolicy(text: string): PolicyDocument {
  return cachedPolicy(withResource(text), 'key');
}

function withResource(text: string): string {
  const document = parse(text);
  if (typeof document !== 'object' || document === null || Array.isArray(document)) return text;
  const { Statement: given } = document as { Statement?: unknown };
  const Statement = (Array.isArray(given) ? given : [given]).map((statement: unknown) => {
    const isStatement =
      typeof statement === 'object' && statement !== null && !Array.isArray(statement);
    if (!isStatement) return statement;
    if ('Resource' in statement || 'NotResource' in statement) {
      throw new KeyspanError('MalformedPolicyDocumentException', 'Has prohibited field Resource');
    }
    return { ...statement, Resource: '*' };
  });
  return JSON.stringify({ ...document, Statement });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new KeyspanError('MalformedPolicyDocumentException', 'Syntax errors in policy.');
  }
}
