import { LIMITS } from '../core/limits.js';
import { includes, type Statement } from './statement.js';

/** The statements of one effect that an action could meet. */
export class Candidates {
  /** those that name whom or what they are about, by each name */
  readonly #byName = new Map<string, Statement[]>();
  /** those that may be about anything */
  readonly #others: Statement[] = [];

  constructor(statements: readonly Statement[]) {
    for (const statement of statements) {
      const names = namesOf(statement);
      if (!names) this.#others.push(statement);
      for (const name of names ?? []) {
        const known = this.#byName.get(name);
        if (known) known.push(statement);
        else this.#byName.set(name, [statement]);
      }
    }
  }

  /**
   * Goes through those that could be about one of the names, some perhaps twice.
   * @param visit false ends it
   */
  each(names: readonly string[], visit: (statement: Statement) => boolean): void {
    if (this.#byName.size > 0) {
      for (const name of names) {
        for (const statement of this.#byName.get(name) ?? NONE) if (!visit(statement)) return;
      }
    }
    for (const statement of this.#others) if (!visit(statement)) return;
  }
}

const NONE: readonly Statement[] = [];

/** What a statement with principals says is theirs, by ARN; of others, the resources. */
function namesOf({ principals, resources }: Statement): readonly string[] | undefined {
  if (principals) {
    if (principals.negated || principals.everyone) return undefined;
    return [...principals.arns, ...principals.roots];
  }
  const isListed = !resources.negated && !resources.everything && resources.patterns.length === 0;
  return isListed ? [...resources.exact] : undefined;
}

/** The statements of a policy that an action could meet, by their effect. */
export interface Selection {
  readonly Allow: Candidates;
  readonly Deny: Candidates;
}

/** Finds a policy's statements by action: worked out once for each that is asked for. */
export class PolicyIndex {
  readonly #statements: readonly Statement[];
  readonly #selections = new Map<string, Selection>();

  constructor(statements: readonly Statement[]) {
    this.#statements = statements;
  }

  /** @param action in lower case */
  of(action: string): Selection {
    const known = this.#selections.get(action);
    if (known) return known;
    const met = this.#statements.filter(({ actions }) => includes(actions, action, noVariables));
    const of = (effect: Statement['effect']): Candidates =>
      new Candidates(met.filter((statement) => statement.effect === effect));
    const selection = { Allow: of('Allow'), Deny: of('Deny') };
    if (this.#selections.size >= LIMITS.policy_actions_max) this.#selections.clear();
    this.#selections.set(action, selection);
    return selection;
  }
}

/** Actions are written without variables. */
export const noVariables = (): { get(): undefined } => NO_VARIABLES;
const NO_VARIABLES = { get: () => undefined };
