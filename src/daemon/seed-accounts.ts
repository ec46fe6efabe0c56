import { isAccount } from '../core/arn.js';
import { LIMITS } from '../core/limits.js';
import { isAccessKeyId, isSecretAccessKey } from '../iam/credentials.js';
import { parsePolicy } from '../iam/policy-document.js';
import {
  FormError,
  int,
  list,
  mapOf,
  optional,
  orElse,
  text,
  type Form,
  type FormOf,
} from '../protocol/form.js';
import { checked, members, policy, tags } from './seed-forms.js';

/** What accounts have of principals, as it is made: one list for each kind. */
export interface SeededAccounts {
  readonly roots: readonly { readonly account: string; readonly accessKeys: AccessKeys }[];
  readonly policies: readonly (InAccount<Omit<FormOf<typeof managedForm>, 'policy'>> & {
    readonly text: string;
  })[];
  readonly users: readonly InAccount<FormOf<typeof userForm>>[];
  readonly roles: readonly InAccount<FormOf<typeof roleForm>>[];
}

type InAccount<T> = T & { readonly account: string };
type AccessKeys = FormOf<typeof accessKeys>;

const NAME = /^[\w+=,.@-]{1,128}$/;
const PATH = /^\/(?:[!-.0-~]+\/)*$/;

const identityPolicy = policy((json) => parsePolicy(json, 'identity'));
const name = checked((value) => NAME.test(value), 'letters, digits and + = , . @ - _');
const path = optional(
  checked((value) => PATH.test(value) && value.length <= 512, 'a path that begins and ends with /'),
);
const arn = text({ max: 2_048 });
const accessKeys = list(
  members({
    id: checked(isAccessKeyId, '3 to 128 letters and digits, in quotes'),
    secret: checked(isSecretAccessKey, '1 to 128 visible characters, in quotes'),
  }),
  { max: LIMITS.seed_access_keys_max },
);

/** Inline policies by their names. */
const inline: Form<readonly { readonly name: string; readonly text: string }[]> = (value) =>
  Object.entries(mapOf(identityPolicy)(value)).map(([called, document]) => {
    if (!NAME.test(called)) throw new FormError('is no name of a policy', [called]);
    // a form that answers another value than it was given is asked once more
    return { name: called, text: identityPolicy(document) };
  });

const withPolicies = {
  name,
  path,
  tags: optional(tags),
  policies: optional(inline),
  attached: optional(list(arn, { max: LIMITS.seed_attached_policies_max })),
  boundary: optional(arn),
};
const userForm = members({ ...withPolicies, accessKeys: optional(accessKeys) });
const roleForm = members({
  ...withPolicies,
  trust: policy((json) => parsePolicy(json, 'trust')),
  description: optional(text({ min: 0, max: 1_000 })),
  maxSessionSeconds: optional(int({ min: 3_600, max: 43_200 })),
});
const managedForm = members({ name, path, tags: optional(tags), policy: identityPolicy });

const LISTED_MAX = LIMITS.seed_principals_max;
const accountForm = members({
  /** of its root */
  accessKeys: orElse(accessKeys, []),
  policies: orElse(list(managedForm, { max: LISTED_MAX }), []),
  users: orElse(list(userForm, { max: LISTED_MAX }), []),
  roles: orElse(list(roleForm, { max: LISTED_MAX }), []),
});

/** What the member `accounts` says, by their numbers. @throws FormError */
export function readAccounts(value: unknown): SeededAccounts {
  const given = mapOf((one) => one)(value);
  const accounts = Object.entries(given).map(([account, one]) => {
    if (!isAccount(account)) throw new FormError('must be twelve digits, in quotes', [account]);
    try {
      return { account, ...accountForm(one) };
    } catch (error) {
      throw error instanceof FormError ? error.within(account) : error;
    }
  });
  refuseSharedIds(accounts);
  return {
    roots: accounts.filter((one) => one.accessKeys.length > 0).map(rootOf),
    policies: accounts.flatMap(({ account, policies }) => policies.map(managedIn(account))),
    users: accounts.flatMap(({ account, users }) => users.map((one) => ({ account, ...one }))),
    roles: accounts.flatMap(({ account, roles }) => roles.map((one) => ({ account, ...one }))),
  };
}

type Account = { readonly account: string } & FormOf<typeof accountForm>;

const rootOf = ({ account, accessKeys: keys }: Account): SeededAccounts['roots'][number] => ({
  account,
  accessKeys: keys,
});

const managedIn =
  (account: string) =>
  ({ policy: json, ...rest }: FormOf<typeof managedForm>): SeededAccounts['policies'][number] => ({
    account,
    text: json,
    ...rest,
  });

/** An access key is one principal's, and a name one of its kind's, whatever its case. */
function refuseSharedIds(accounts: readonly Account[]): void {
  const seen = new Set<string>();
  const take = (id: string, where: readonly string[], what: string): void => {
    if (seen.has(id)) throw new FormError(what, where);
    seen.add(id);
  };
  for (const one of accounts) {
    const { account } = one;
    const keys = (given: FormOf<typeof accessKeys>, ...at: string[]): void =>
      given.forEach(({ id }, nth) => {
        take(`key ${id}`, [account, ...at, 'accessKeys', `${nth}`, 'id'], 'is the id of two keys');
      });
    keys(one.accessKeys);
    one.users.forEach((user, at) => keys(user.accessKeys ?? [], 'users', `${at}`));
    for (const kind of ['policies', 'users', 'roles'] as const) {
      one[kind].forEach(({ name: called }, at) => {
        const id = `${account}/${kind}/${called.toLowerCase()}`;
        take(id, [account, kind, `${at}`, 'name'], 'is the name of two');
      });
    }
  }
}
