import type { ExplainedPart, ExplainedStatement } from '../protocol/policy-explanation.js';
import { holds } from './condition.js';
import {
  decide,
  documentsOf,
  POLICY_TYPES,
  type AccessRequest,
  type Decision,
  type Findings,
  type Policies,
  type PolicyType,
} from './evaluate.js';
import type { ConditionContext } from './policy-variables.js';
import {
  includes,
  NAMINGS,
  namingOf,
  type Naming,
  type Statement,
  type Subject,
} from './statement.js';

export interface ExplainedPolicy {
  readonly type: PolicyType;
  readonly statements: readonly ExplainedStatement[];
}

export interface Explanation {
  readonly policies: readonly ExplainedPolicy[];
  readonly decision: Decision;
}

/** A statement with what it says to the caller. */
interface Walked {
  readonly type: PolicyType;
  readonly effect: Statement['effect'];
  readonly naming: Naming;
  readonly explained: ExplainedStatement;
}

/**
 * Decides as `evaluate` does, from the same parts and in the same order, and tells of every
 * statement whether it applies and of each of its parts whether it matches. Pure.
 */
export function explain(request: AccessRequest, policies: Policies): Explanation {
  const subject = { principal: request.principal, isBounded: policies.boundary !== undefined };
  const context = request.context();
  const documents = POLICY_TYPES.flatMap((type) =>
    documentsOf(policies, type).map(({ statements }) => ({
      type,
      walked: statements.map((statement, at) => {
        const explained = explainStatement(statement, at + 1, { request, subject, context });
        const naming = namingOf(statement, subject);
        return { type, effect: statement.effect, naming, explained };
      }),
    })),
  );
  const findings = findingsOf(documents.flatMap(({ walked }) => walked));
  return {
    policies: documents.map(({ type, walked }) => ({
      type,
      statements: walked.map(({ explained }) => explained),
    })),
    decision: decide(request.principal, policies, findings),
  };
}

function findingsOf(walked: readonly Walked[]): Findings {
  const applying = walked.filter(({ explained }) => explained.applies);
  const allowing = applying.filter(({ effect }) => effect === 'Allow');
  return {
    denying: () => applying.find(({ effect }) => effect === 'Deny')?.type,
    naming: () =>
      NAMINGS.findLast((naming) =>
        allowing.some((one) => one.type === 'resource-based policy' && one.naming === naming),
      ) ?? 'none',
    allows: (type) => allowing.some((one) => one.type === type),
  };
}

function explainStatement(
  statement: Statement,
  number: number,
  asked: {
    readonly request: AccessRequest;
    readonly subject: Subject;
    readonly context: ConditionContext;
  },
): ExplainedStatement {
  const { request, subject, context } = asked;
  const { principals, actions, resources, conditions, sid = null, effect } = statement;
  const naming = namingOf(statement, subject);
  const element = (name: string, negated: boolean): string => (negated ? `Not${name}` : name);
  const parts: ExplainedPart[] = [];
  if (principals) {
    parts.push({
      part: element('Principal', principals.negated),
      matched: naming !== 'none',
      wanted: principals.texts,
      given: [...new Set([...subject.principal.names, subject.principal.root])],
    });
  }
  parts.push({
    part: element('Action', actions.negated),
    matched: includes(actions, request.action.toLowerCase(), () => context),
    wanted: actions.texts,
    given: [request.action],
  });
  parts.push({
    part: element('Resource', resources.negated),
    matched: includes(resources, request.resource, () => context),
    wanted: resources.texts,
    given: [request.resource],
  });
  for (const condition of conditions) {
    parts.push({
      part: `${condition.operator} ${condition.name}`,
      matched: holds(condition, context),
      wanted: condition.values,
      given: context.get(condition.key) ?? null,
    });
  }
  const applies = parts.every(({ matched }) => matched);
  return { number, sid, effect, applies, delegates: applies && naming === 'account', parts };
}
