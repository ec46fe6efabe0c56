import type { CommitPart } from '../core/commit.js';
import { LIMITS } from '../core/limits.js';
import { putPrincipal, unchanged, type PrincipalFact } from '../iam/principal-records.js';
import { IAM_REQUESTS } from '../protocol/iam.js';
import type { AwsCaller } from './aws-service.js';
import {
  arnOf,
  checkPolicy,
  encodePolicy,
  exceeded,
  heldPolicy,
  mergeTags,
  nameIn,
  noSuchEntity,
  part,
  policyLength,
  principalOf,
  resourceConditions,
  shownTags,
  tagConditions,
  type IamParts,
  type Named,
  type PrincipalKind,
} from './iam-facts.js';
import { pageOf, sortedByName } from './iam-pages.js';
import { boundaryCondition } from './iam-users.js';
import { action, type Conditions, type QueryActions, type QueryResult } from './query-service.js';

/** What is the same for a user and a role. */
interface Subject {
  readonly kind: PrincipalKind;
  readonly fact: (params: Named, caller: AwsCaller) => PrincipalFact;
  readonly resource: (params: Named, caller: AwsCaller) => string;
  readonly conditions: (params: Named, caller: AwsCaller) => Conditions;
  /** changes it in one commit, decided anew where others were faster */
  readonly change: (
    params: Named,
    caller: AwsCaller,
    to: (fact: PrincipalFact) => CommitPart,
  ) => Promise<QueryResult>;
}

/** The actions on the policies, bounds and tags of users and roles. */
export function policyActions(parts: IamParts): QueryActions {
  const user = subjectOf(parts, 'user');
  const role = subjectOf(parts, 'role');
  return {
    ...inlineActions(user, 'User'),
    ...inlineActions(role, 'Role'),
    ...attachActions(parts, user, 'User'),
    ...attachActions(parts, role, 'Role'),
    ...boundaryActions(parts, user, 'User'),
    ...boundaryActions(parts, role, 'Role'),
    ...tagActions(user, 'User'),
    ...tagActions(role, 'Role'),
  };
}

function subjectOf(parts: IamParts, kind: PrincipalKind): Subject {
  const fact = (params: Named, { principal }: AwsCaller): PrincipalFact =>
    principalOf(parts, kind, principal.account, nameIn(params));
  return {
    kind,
    fact,
    resource: (params, { principal: { account } }) =>
      arnOf(parts, kind, { account, name: nameIn(params) }),
    conditions: (params, { principal: { account } }) => {
      const { directory } = parts;
      const name = nameIn(params);
      return resourceConditions(
        kind === 'user' ? directory.user(account, name) : directory.role(account, name),
      );
    },
    change: async (params, caller, to) => {
      await parts.directory.change(() => to(fact(params, caller)));
      return {};
    },
  };
}

/** Each answer says whose it is, as the request does. */
const ownerOf = ({ kind, name }: PrincipalFact): QueryResult =>
  kind === 'user' ? { UserName: name } : { RoleName: name };

function inlineActions(subject: Subject, title: 'User' | 'Role'): QueryActions {
  const { kind, fact, change } = subject;
  const missing = (name: string) =>
    noSuchEntity(`The ${kind} policy with name ${name} cannot be found.`);
  return {
    [`Put${title}Policy`]: action(IAM_REQUESTS[`Put${title}Policy`], {
      ...subject,
      run: (params, caller) => {
        const { PolicyName: name, PolicyDocument: text } = params;
        checkPolicy(text);
        return change(params, caller, (found) => {
          const others = found.policies.filter((one) => one.name !== name);
          const policies = sortedByName([...others, { name, text }], (one) => one.name);
          checkInlineSize(found, policies);
          return part([unchanged(found)], putPrincipal(found, { policies }));
        });
      },
    }),
    [`Get${title}Policy`]: action(IAM_REQUESTS[`Get${title}Policy`], {
      ...subject,
      run: (params, caller) => {
        const found = fact(params, caller);
        const policy = found.policies.find(({ name }) => name === params.PolicyName);
        if (!policy) throw missing(params.PolicyName);
        const { name, text } = policy;
        return { ...ownerOf(found), PolicyName: name, PolicyDocument: encodePolicy(text) };
      },
    }),
    [`List${title}Policies`]: action(IAM_REQUESTS[`List${title}Policies`], {
      ...subject,
      run: (params, caller) => {
        const { policies } = fact(params, caller);
        const { items, members } = pageOf(policies, params, ({ name }) => name);
        return { PolicyNames: items.map(({ name }) => name), ...members };
      },
    }),
    [`Delete${title}Policy`]: action(IAM_REQUESTS[`Delete${title}Policy`], {
      ...subject,
      run: (params, caller) =>
        change(params, caller, (found) => {
          const policies = found.policies.filter(({ name }) => name !== params.PolicyName);
          if (policies.length === found.policies.length) throw missing(params.PolicyName);
          return part([unchanged(found)], putPrincipal(found, { policies }));
        }),
    }),
  };
}

/** @throws LimitExceededException */
function checkInlineSize(
  { kind, name }: PrincipalFact,
  policies: readonly { readonly text: string }[],
): void {
  const max =
    kind === 'user' ? LIMITS.iam_user_policies_max_chars : LIMITS.iam_role_policies_max_chars;
  const size = policies.reduce((sum, { text }) => sum + policyLength(text), 0);
  if (size > max)
    throw exceeded(`Maximum policy size of ${max} bytes exceeded for ${kind} ${name}`);
}

function attachActions(parts: IamParts, subject: Subject, title: 'User' | 'Role'): QueryActions {
  const { fact, change, resource } = subject;
  const conditions = (params: Named & { PolicyArn: string }, caller: AwsCaller): Conditions => [
    ...subject.conditions(params, caller),
    ['iam:policyarn', [params.PolicyArn]],
  ];
  return {
    [`Attach${title}Policy`]: action(IAM_REQUESTS[`Attach${title}Policy`], {
      resource,
      conditions,
      run: (params, caller) =>
        change(params, caller, (found) => {
          const { PolicyArn: arn } = params;
          const held = heldPolicy(parts, found.account, arn);
          if (found.attached.includes(arn)) return part([]);
          const attached = [...found.attached, arn];
          const max = LIMITS.iam_attached_policies_max;
          if (attached.length > max) {
            throw exceeded(`Cannot exceed quota for PoliciesPer${title}: ${max}`);
          }
          return part(
            [...held.compares, unchanged(found)],
            ...held.writes,
            putPrincipal(found, { attached }),
          );
        }),
    }),
    [`Detach${title}Policy`]: action(IAM_REQUESTS[`Detach${title}Policy`], {
      resource,
      conditions,
      run: (params, caller) =>
        change(params, caller, (found) => {
          const { PolicyArn: arn } = params;
          const attached = found.attached.filter((one) => one !== arn);
          if (attached.length === found.attached.length) {
            throw noSuchEntity(`Policy ${arn} was not found.`);
          }
          return part([unchanged(found)], putPrincipal(found, { attached }));
        }),
    }),
    [`ListAttached${title}Policies`]: action(IAM_REQUESTS[`ListAttached${title}Policies`], {
      ...subject,
      run: (params, caller) => {
        const { PathPrefix = '/' } = params;
        const all = fact(params, caller).attached.map((arn) => {
          const [, path = '/', name = arn] = /:policy(\/(?:.*\/)?)([^/]+)$/.exec(arn) ?? [];
          return { arn, path, name };
        });
        const wanted = all.filter(({ path }) => path.startsWith(PathPrefix));
        const sorted = sortedByName(wanted, ({ arn }) => arn);
        const { items, members } = pageOf(sorted, params, ({ arn }) => arn);
        const AttachedPolicies = items.map(({ name, arn }) => ({
          PolicyName: name,
          PolicyArn: arn,
        }));
        return { AttachedPolicies, ...members };
      },
    }),
  };
}

function boundaryActions(parts: IamParts, subject: Subject, title: 'User' | 'Role'): QueryActions {
  const { change, resource } = subject;
  return {
    [`Put${title}PermissionsBoundary`]: action(IAM_REQUESTS[`Put${title}PermissionsBoundary`], {
      resource,
      conditions: (params, caller) => [
        ...subject.conditions(params, caller),
        ...boundaryCondition(params.PermissionsBoundary),
      ],
      run: (params, caller) =>
        change(params, caller, (found) => {
          const { PermissionsBoundary: boundary } = params;
          const held = heldPolicy(parts, found.account, boundary);
          return part(
            [...held.compares, unchanged(found)],
            ...held.writes,
            putPrincipal(found, { boundary }),
          );
        }),
    }),
    [`Delete${title}PermissionsBoundary`]: action(
      IAM_REQUESTS[`Delete${title}PermissionsBoundary`],
      {
        resource,
        conditions: (params, caller) => [
          ...subject.conditions(params, caller),
          ...boundaryCondition(subject.fact(params, caller).boundary),
        ],
        run: (params, caller) =>
          change(params, caller, (found) =>
            part([unchanged(found)], putPrincipal(found, { boundary: undefined })),
          ),
      },
    ),
  };
}

function tagActions(subject: Subject, title: 'User' | 'Role'): QueryActions {
  const { fact, change, resource } = subject;
  return {
    [`Tag${title}`]: action(IAM_REQUESTS[`Tag${title}`], {
      resource,
      conditions: (params, caller) => [
        ...subject.conditions(params, caller),
        ...tagConditions(params.Tags),
      ],
      run: (params, caller) =>
        change(params, caller, (found) => {
          const tags = mergeTags(found.tags, params.Tags);
          return part([unchanged(found)], putPrincipal(found, { tags }));
        }),
    }),
    [`Untag${title}`]: action(IAM_REQUESTS[`Untag${title}`], {
      resource,
      conditions: (params, caller) => [
        ...subject.conditions(params, caller),
        ['aws:tagkeys', params.TagKeys],
      ],
      run: (params, caller) =>
        change(params, caller, (found) => {
          const gone = new Set(params.TagKeys.map((key) => key.toLowerCase()));
          const tags = found.tags.filter(({ key }) => !gone.has(key.toLowerCase()));
          return part([unchanged(found)], putPrincipal(found, { tags }));
        }),
    }),
    [`List${title}Tags`]: action(IAM_REQUESTS[`List${title}Tags`], {
      ...subject,
      run: (params, caller) => {
        const sorted = sortedByName(fact(params, caller).tags, ({ key }) => key);
        const { items, members } = pageOf(sorted, params, ({ key }) => key);
        return { Tags: shownTags(items), ...members };
      },
    }),
  };
}
