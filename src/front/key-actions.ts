import { KeyspanError } from '../core/errors.js';
import type { HsmSessionHandlers, UserContext } from './user-context.js';

type KeyActions = Pick<
  HsmSessionHandlers,
  | 'KeyFind'
  | 'KeyGenerate'
  | 'KeyGeneratePair'
  | 'KeyImport'
  | 'KeyPublic'
  | 'KeyDelete'
  | 'KeySetAttribute'
  | 'KeyShare'
  | 'KeyUnshare'
  | 'KeyWrap'
  | 'KeyUnwrap'
  | 'KeyReplicate'
  | 'KeySign'
  | 'KeyVerify'
>;

const unbuilt = (): Promise<never> => Promise.reject(new KeyspanError('KeyspanRefused'));

/** What a crypto-user does with keys. */
export function keyActions(_options: UserContext): KeyActions {
  return {
    KeyFind: unbuilt,
    KeyGenerate: unbuilt,
    KeyGeneratePair: unbuilt,
    KeyImport: unbuilt,
    KeyPublic: unbuilt,
    KeyDelete: unbuilt,
    KeySetAttribute: unbuilt,
    KeyShare: unbuilt,
    KeyUnshare: unbuilt,
    KeyWrap: unbuilt,
    KeyUnwrap: unbuilt,
    KeyReplicate: unbuilt,
    KeySign: unbuilt,
    KeyVerify: unbuilt,
  };
}
