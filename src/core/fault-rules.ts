/** What a fault does to the operation that it meets. */
export type FaultAction =
  | { readonly do: 'delay'; readonly ms: number }
  /** `ckr`: a PKCS#11 return value by name, as if the token had answered it */
  | { readonly do: 'error'; readonly ckr: string }
  /** no answer, ever */
  | { readonly do: 'drop' }
  /** kill -9 of the process */
  | { readonly do: 'crash' };

export interface FaultRule {
  /** the operation it waits for, or `*` for any */
  readonly operation: string;
  /** before the work, or after the token's work and before the reply */
  readonly when: 'before' | 'after';
  /** it begins with the n-th match, from 1 */
  readonly nth: number;
  /** and strikes this often */
  readonly times: number;
  readonly action: FaultAction;
}

interface Armed {
  readonly id: number;
  readonly rule: FaultRule;
  seen: number;
  struck: number;
}

export interface ListedFault extends FaultRule {
  readonly id: number;
  /** operations that it matched so far */
  readonly seen: number;
}

/** The faults that wait in one process. Pure: it says what is to happen, and counts. */
export class FaultRules {
  #armed: Armed[] = [];
  #nextId = 1;

  add(rule: FaultRule): number {
    const id = this.#nextId;
    this.#nextId += 1;
    this.#armed.push({ id, rule, seen: 0, struck: 0 });
    return id;
  }

  list(): ListedFault[] {
    return this.#armed.map(({ id, rule, seen }) => ({ ...rule, id, seen }));
  }

  clear(): void {
    this.#armed = [];
  }

  /** what strikes this operation now; a rule that has struck as often as it should is gone */
  take(operation: string, when: FaultRule['when']): FaultAction | undefined {
    let strikes: Armed | undefined;
    for (const armed of this.#armed) {
      const { rule } = armed;
      if (rule.when !== when || (rule.operation !== '*' && rule.operation !== operation)) continue;
      armed.seen += 1;
      if (armed.seen >= rule.nth) strikes ??= armed;
    }
    if (!strikes) return undefined;
    // one that another rule was before still strikes as often as it should
    strikes.struck += 1;
    const { rule, struck } = strikes;
    if (struck >= rule.times) this.#armed = this.#armed.filter((one) => one !== strikes);
    return rule.action;
  }
}
