/** A broken invariant: a mistake of ours, never of a caller's input. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/**
 * States what must hold at this point. In a door a failed assertion ends that connection, in an
 * HSM the process.
 * @throws AssertionError when `condition` is false
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Marks a branch that the type system says cannot be reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`);
}
