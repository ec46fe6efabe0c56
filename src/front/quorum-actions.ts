import { KeyspanError } from '../core/errors.js';
import type { HsmSessionHandlers, UserContext } from './user-context.js';

type QuorumActions = Pick<
  HsmSessionHandlers,
  | 'QuorumList'
  | 'QuorumListValues'
  | 'QuorumGenerate'
  | 'QuorumSetValue'
  | 'QuorumDelete'
  | 'UserMfaTokens'
  | 'UserChangeMfa'
  | 'UserChangeQuorum'
  | 'UserReplicate'
>;

const unbuilt = (): Promise<never> => Promise.reject(new KeyspanError('KeyspanRefused'));

/** Second factors, and the approval of what users do by M of N of them. */
export function quorumActions(_options: UserContext): QuorumActions {
  return {
    QuorumList: unbuilt,
    QuorumListValues: unbuilt,
    QuorumGenerate: unbuilt,
    QuorumSetValue: unbuilt,
    QuorumDelete: unbuilt,
    UserMfaTokens: unbuilt,
    UserChangeMfa: unbuilt,
    UserChangeQuorum: unbuilt,
    UserReplicate: unbuilt,
  };
}
