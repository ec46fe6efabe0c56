import { describeError, print } from '../output.js';

/** What a command came to: the whole of `data`. */
export type Answer = { readonly data: unknown } | { readonly failure: string };

/** Sentences of CloudHSM's CLI for codes that have another sentence here. */
const SENTENCES: Readonly<Record<string, string>> = {
  HsmCredentialsRefused: 'Incorrect authentication credentials',
  HsmUserLocked: 'User is locked out. An admin must change its password to unlock it',
  HsmNotLoggedIn: 'You are not logged in, or the login has ended',
  VaultUnavailable: 'No HSM of the cluster is active',
  VaultNotDurable:
    'Cannot perform the requested key operation as the key must be available on at least 2 HSMs. ' +
    'Either increase the number of HSMs in the cluster, or disable the key availability check.',
  HsmKeyNotFound: 'Key not found',
};

/** The sentence for anything that was thrown. */
export function sentenceOf(error: unknown): string {
  const { code, message } = describeError(error).error;
  return SENTENCES[code] ?? message;
}

/** Prints it as CloudHSM's CLI does. @returns the exit code */
export function printAnswer(answer: Answer): 0 | 1 {
  const failed = 'failure' in answer;
  const document = failed
    ? { error_code: 1, data: answer.failure }
    : { error_code: 0, data: answer.data };
  print(JSON.stringify(document, null, 2));
  return failed ? 1 : 0;
}
