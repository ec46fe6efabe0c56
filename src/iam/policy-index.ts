import { LIMITS } from '../core/limits.js';
import { includes, type Statement } from './statement.js';

/** The statements of one effect that an action could meet. */
export class Candidates {
  /** those that name principals, by the ARN of each; accounts by their root's */
  readonly #byName = new Map<string, Statement[]>();
  /** those that are about everybody, or about all but some */
  readonly #others: Statement[] = [];
  /** of the others, those that are about a resource: worked out once for each */
  readonly #byResource = new Map<string, readonly Statement[]>();

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
   * Goes through those that could be about one of the names and the resource, some perhaps twice.
   * @param visit false ends it
   */
  each(names: readonly string[], resource: string, visit: (one: Statement) => boolean): void {
    if (this.#byName.size > 0) {
      for (const name of names) {
        for (const statement of this.#byName.get(name) ?? NONE) if (!visit(statement)) return;
      }
    }
    if (this.#others.length === 0) return;
    for (const statement of this.#about(resource)) if (!visit(statement)) return;
  }

  #about(resource: string): readonly Statement[] {
    const known = this.#byResource.get(resource);
    if (known) return known;
    const found = this.#others.filter(
      ({ resources }) => resources.hasVariables || includes(resources, resource, noVariables),
    );
    if (this.#byResource.size >= LIMITS.policy_resources_max) this.#byResource.clear();
    this.#byResource.set(resource, found.length > 0 ? found : NONE);
    return found;
  }
}

const NONE: readonly Statement[] = [];

function namesOf({ principals }: Statement): readonly string[] | undefined {
  if (!principals || principals.negated || principals.everyone) return undefined;
  return [...principals.arns, ...principals.roots];
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

/** Nothing is known of a request where no variable asks for it. */
const noVariables = (): { get(): undefined } => NO_VARIABLES;
const NO_VARIABLES = { get: () => undefined };
