/**
 * Forms of what crosses a wire, stands on a token or in the store. A small set of our own, because
 * loading a schema library costs a process more time than all that it loads besides, at each start
 * of the daemon and of every HSM; and a store of thousands of keys is read in half the time.
 */

/** Checks a value and types it. @throws FormError that says where the value is wrong */
export type Form<T> = (value: unknown) => T;

/** The type that a form gives. */
export type FormOf<F> = F extends Form<infer T> ? T : never;

/** A value that has not the form it must have. */
export class FormError extends Error {
  override readonly name = 'FormError';
  /** the members on the way to the wrong one, outermost first */
  readonly path: readonly string[];

  constructor(what: string, path: readonly string[] = []) {
    super(path.length === 0 ? what : `${path.join('.')} ${what}`);
    this.path = path;
    this.what = what;
  }

  readonly what: string;

  within(member: string): FormError {
    return new FormError(this.what, [member, ...this.path]);
  }
}

/** A form that a value may also lack. */
export interface Optional<T> extends Form<T | undefined> {
  readonly optional: true;
}

export function optional<T>(form: Form<T>): Optional<T> {
  const check = (value: unknown): T | undefined => (value === undefined ? undefined : form(value));
  return Object.assign(check, { optional: true as const });
}

/** A form whose absent value reads as another. */
export interface Fallback<T> extends Form<T> {
  readonly fallback: T;
}

export function orElse<T>(form: Form<T>, fallback: T): Fallback<T> {
  return Object.assign((value: unknown): T => form(value), { fallback });
}

type OptionalKeys<M> = { [K in keyof M]: M[K] extends Optional<unknown> ? K : never }[keyof M];
type ObjectOf<M> = {
  readonly [K in Exclude<keyof M, OptionalKeys<M>>]: M[K] extends Form<infer T> ? T : never;
} & { readonly [K in OptionalKeys<M>]?: M[K] extends Form<infer T> ? T : never };

/** An object with these members and no others. */
export function object<M extends Record<string, Form<unknown>>>(members: M): Form<ObjectOf<M>> {
  const forms = Object.entries(members).map(([name, form]) => memberForm(name, form));
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new FormError('is not an object');
    }
    const given = value as Record<string, unknown>;
    let read = given;
    let count = 0;
    for (const one of forms) {
      const { name } = one;
      const member = given[name];
      if (member !== undefined || Object.hasOwn(given, name)) count += 1;
      const known = member === undefined ? absent(one) : inside(name, one.form, member);
      if (known === member) continue;
      // most members are what they were: only a changed one costs a copy
      if (read === given) read = { ...given };
      read[name] = known;
    }
    if (count !== countMembers(given)) throw new FormError('has a member of unknown name');
    return read as ObjectOf<M>;
  };
}

/** A member's form, with what its absence means worked out once. */
interface MemberForm {
  readonly name: string;
  readonly form: Form<unknown>;
  readonly mayLack: boolean;
  readonly fallback: unknown;
}

function memberForm(name: string, form: Form<unknown>): MemberForm {
  const fallback = 'fallback' in form ? form.fallback : undefined;
  return { name, form, mayLack: 'optional' in form || 'fallback' in form, fallback };
}

/** How many members of its own an object has. */
export function countMembers(given: object): number {
  let count = 0;
  for (const name in given) if (Object.hasOwn(given, name)) count += 1;
  return count;
}

function absent({ name, mayLack, fallback }: MemberForm): unknown {
  if (mayLack) return fallback;
  throw new FormError('is missing', [name]);
}

function inside(name: string, form: Form<unknown>, value: unknown): unknown {
  try {
    return form(value);
  } catch (error) {
    throw error instanceof FormError ? error.within(name) : error;
  }
}

/** A list of at most `max` items of one form. */
export function list<T>(form: Form<T>, range: { min?: number; max: number }): Form<readonly T[]> {
  return (value) => {
    const { min = 0, max } = range;
    if (!Array.isArray(value) || value.length < min || value.length > max) {
      throw new FormError(`is not a list of ${min} to ${max} items`);
    }
    return value.map((item, at) => inside(String(at), form as Form<unknown>, item) as T);
  };
}

type TupleOf<F> = { -readonly [K in keyof F]: F[K] extends Form<infer T> ? T : never };

/** A list of just these items. */
export function tuple<F extends readonly Form<unknown>[]>(...forms: F): Form<TupleOf<F>> {
  return (value) => {
    if (!Array.isArray(value) || value.length !== forms.length) {
      throw new FormError(`is not a list of ${forms.length} items`);
    }
    return forms.map((form, at) => inside(String(at), form, value[at])) as TupleOf<F>;
  };
}

/** Characters are UTF-16 code units. */
export function text(range: { min?: number; max: number; pattern?: RegExp }): Form<string> {
  const { min = 1, max, pattern } = range;
  return (value) => {
    if (typeof value !== 'string') throw new FormError('is not a text');
    if (value.length < min || value.length > max) {
      throw new FormError(`must have ${min} to ${max} characters`);
    }
    if (pattern && !pattern.test(value)) throw new FormError('has a character that is not allowed');
    return value;
  };
}

export function bytes(range: { min?: number; max: number }): Form<Uint8Array> {
  const { min = 0, max } = range;
  return (value) => {
    const fits = value instanceof Uint8Array && value.length >= min && value.length <= max;
    if (!fits) throw new FormError(`must be ${min} to ${max} bytes`);
    return value;
  };
}

/** A whole number. */
export function int(range: { min: number; max?: number }): Form<number> {
  const { min, max = Number.MAX_SAFE_INTEGER } = range;
  return (value) => {
    const fits =
      Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
    if (!fits) throw new FormError(`must be a whole number from ${min} to ${max}`);
    return value as number;
  };
}

/** A number that is finite. */
export const number: Form<number> = (value) => {
  if (!Number.isFinite(value)) throw new FormError('is not a number');
  return value as number;
};

/** A text that is itself checked elsewhere, or whose names have no form here. */
export const named =
  <T extends string>(max = 1_024): Form<T> =>
  (value) => {
    const fits = typeof value === 'string' && value.length > 0 && value.length <= max;
    if (!fits) throw new FormError(`must be a text of 1 to ${max} characters`);
    return value as T;
  };

/** An object of any members, all of one form. */
export function mapOf<T>(form: Form<T>): Form<Record<string, T>> {
  return (value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new FormError('is not an object');
    }
    for (const [name, member] of Object.entries(value)) inside(name, form, member);
    return value as Record<string, T>;
  };
}

/** What is checked where it is used. */
export const anything: Form<unknown> = (value) => value;

export const flag: Form<boolean> = (value) => {
  if (typeof value !== 'boolean') throw new FormError('is neither true nor false');
  return value;
};

/** One of these constants. */
export function oneOf<const T extends string | number | boolean | null>(
  ...choices: readonly T[]
): Form<T> {
  return (value) => {
    if (!choices.includes(value as T)) throw new FormError(`is none of ${choices.join(', ')}`);
    return value as T;
  };
}

/** A text that a check of core/ids accepts. */
export function id<T extends string>(check: (value: string) => value is T): Form<T> {
  return (value) => {
    if (typeof value !== 'string' || !check(value)) throw new FormError('is not an id of its kind');
    return value;
  };
}

/** `null` or a value of the form. */
export function nullable<T>(form: Form<T>): Form<T | null> {
  return (value) => (value === null ? null : form(value));
}

/** The value, or `undefined` when it has another form. */
export function accept<T>(form: Form<T>, value: unknown): T | undefined {
  try {
    return form(value);
  } catch (error) {
    if (error instanceof FormError) return undefined;
    throw error;
  }
}
