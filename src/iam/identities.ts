import type { PolicyDocument } from './policy-document.js';
import type { Principal } from './principal.js';

/** What a principal's own account says about it. */
export interface Identity {
  /** attached to it, and to the role whose session it is */
  readonly policies: readonly PolicyDocument[];
  /** the permissions boundary: what it does not allow, no identity policy does */
  readonly boundary?: PolicyDocument | undefined;
  /** what the session was narrowed to when it began */
  readonly session?: readonly PolicyDocument[] | undefined;
  /** its tags, for aws:PrincipalTag */
  readonly tags: ReadonlyMap<string, string>;
  /** aws:userid: its unique id; of a session its role's, a colon and the session's name */
  readonly userId?: string | undefined;
}

/** Where principals are looked up: for each request, so it must cost no I/O. */
export interface Identities {
  /** who is not known has no policies */
  of(principal: Principal): Identity;
}
