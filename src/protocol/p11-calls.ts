import type { P11Attribute, P11AttributeRoom } from './p11-attributes.js';
import type { P11Mechanism } from './p11-mechanism.js';
import type { P11Version } from './p11-wire.js';

/**
 * What C_Initialize brings, in ASCII: who does not say this speaks another protocol.
 */
export const P11_HANDSHAKE = 'PRIVATE-GNOME-KEYRING-PKCS11-PROTOCOL-V-1';

/** CK_VERSION. */
export interface P11CkVersion {
  readonly major: number;
  readonly minor: number;
}

/**
 * Room for bytes that a caller waits for, in bytes. `none`: its pointer is NULL, it asks for the
 * length alone. Callers before version 1 say `none` too when they have a buffer of no bytes.
 */
export type P11Room = number | 'none';

/** By the tokens of a signature: what the values of a request are. */
interface RequestValues {
  /** CK_BYTE */
  y: number;
  /** CK_ULONG: -1 is all ones, -2 a value beyond 2^53 */
  u: number;
  /** text of a fixed length, without the blanks at its end */
  s: string;
  z: string;
  /** `null`: the pointer is NULL, its length 0 */
  ay: Uint8Array | null;
  fy: P11Room;
  /** how many numbers there is room for; 0 asks for their count alone */
  fu: number;
  aA: readonly P11Attribute[];
  fA: readonly P11AttributeRoom[];
  /** `null`: the pointer is NULL, which ends the operation under way */
  M: P11Mechanism | null;
}

/** By the tokens of a signature: what the values of a reply are. */
interface ReplyValues {
  u: number;
  v: P11CkVersion;
  /** text, which is filled with blanks to its fixed length, or cut to it */
  s: string;
  /** the bytes; or their length alone, where that was asked for or where there is no room */
  ay: Uint8Array | number;
  /** the numbers; or their count alone, where that was asked for or where there is no room */
  au: readonly number[] | number;
  aA: readonly P11Attribute[];
  /** see `updatedParameter` */
  P: boolean | null;
}

export type P11Arg = RequestValues[keyof RequestValues];
export type P11ReplyValue = ReplyValues[keyof ReplyValues];
export type P11Token = keyof RequestValues | keyof ReplyValues;

/** One value's place in a signature. */
export interface P11Field {
  readonly token: P11Token;
  /** bytes of a text of fixed length, else 0 */
  readonly size: number;
}

type TokensOf<S extends string> = S extends `${infer A extends 'a' | 'f'}${infer B}${infer R}`
  ? [`${A}${B}`, ...TokensOf<R>]
  : S extends `${infer A}${infer R}`
    ? [A, ...TokensOf<R>]
    : [];

type ValuesOf<T, V> = { -readonly [I in keyof T]: T[I] extends keyof V ? V[T[I]] : never };

/** What a call's request and reply consist of: tokens of the protocol in a row. */
interface Signature<Q extends string, R extends string> {
  readonly id: number;
  readonly request: Q;
  readonly response: R;
  /** the version that brought it */
  readonly since: P11Version;
  /** bytes of the texts of fixed length (`s`), in their order */
  readonly sizes: readonly number[];
}

const SINCE_1 = 66;
const SINCE_2 = 89;

function call<const Q extends string, const R extends string>(
  id: number,
  request: Q,
  response: R,
  sizes: readonly number[] = [],
): Signature<Q, R> {
  const since = id >= SINCE_2 ? 2 : id >= SINCE_1 ? 1 : 0;
  return { id, request, response, since, sizes };
}

/** Every call of the protocol. */
export const P11_CALLS = {
  C_Initialize: call(1, 'ayyay', ''),
  C_Finalize: call(2, '', ''),
  C_GetInfo: call(3, '', 'vsusv', [32, 32]),
  C_GetSlotList: call(4, 'yfu', 'au'),
  C_GetSlotInfo: call(5, 'u', 'ssuvv', [64, 32]),
  C_GetTokenInfo: call(6, 'u', 'ssssuuuuuuuuuuuvvs', [32, 32, 16, 16, 16]),
  C_GetMechanismList: call(7, 'ufu', 'au'),
  C_GetMechanismInfo: call(8, 'uu', 'uuu'),
  C_InitToken: call(9, 'uayz', ''),
  C_OpenSession: call(10, 'uu', 'u'),
  C_CloseSession: call(11, 'u', ''),
  C_CloseAllSessions: call(12, 'u', ''),
  C_GetSessionInfo: call(13, 'u', 'uuuu'),
  C_InitPIN: call(14, 'uay', ''),
  C_SetPIN: call(15, 'uayay', ''),
  C_GetOperationState: call(16, 'ufy', 'ay'),
  C_SetOperationState: call(17, 'uayuu', ''),
  C_Login: call(18, 'uuay', ''),
  C_Logout: call(19, 'u', ''),
  C_CreateObject: call(20, 'uaA', 'u'),
  C_CopyObject: call(21, 'uuaA', 'u'),
  C_DestroyObject: call(22, 'uu', ''),
  C_GetObjectSize: call(23, 'uu', 'u'),
  C_GetAttributeValue: call(24, 'uufA', 'aAu'),
  C_SetAttributeValue: call(25, 'uuaA', ''),
  C_FindObjectsInit: call(26, 'uaA', ''),
  C_FindObjects: call(27, 'ufu', 'au'),
  C_FindObjectsFinal: call(28, 'u', ''),
  C_EncryptInit: call(29, 'uMu', ''),
  C_Encrypt: call(30, 'uayfy', 'ay'),
  C_EncryptUpdate: call(31, 'uayfy', 'ay'),
  C_EncryptFinal: call(32, 'ufy', 'ay'),
  C_DecryptInit: call(33, 'uMu', ''),
  C_Decrypt: call(34, 'uayfy', 'ay'),
  C_DecryptUpdate: call(35, 'uayfy', 'ay'),
  C_DecryptFinal: call(36, 'ufy', 'ay'),
  C_DigestInit: call(37, 'uM', ''),
  C_Digest: call(38, 'uayfy', 'ay'),
  C_DigestUpdate: call(39, 'uay', ''),
  C_DigestKey: call(40, 'uu', ''),
  C_DigestFinal: call(41, 'ufy', 'ay'),
  C_SignInit: call(42, 'uMu', ''),
  C_Sign: call(43, 'uayfy', 'ay'),
  C_SignUpdate: call(44, 'uay', ''),
  C_SignFinal: call(45, 'ufy', 'ay'),
  C_SignRecoverInit: call(46, 'uMu', ''),
  C_SignRecover: call(47, 'uayfy', 'ay'),
  C_VerifyInit: call(48, 'uMu', ''),
  C_Verify: call(49, 'uayay', ''),
  C_VerifyUpdate: call(50, 'uay', ''),
  C_VerifyFinal: call(51, 'uay', ''),
  C_VerifyRecoverInit: call(52, 'uMu', ''),
  C_VerifyRecover: call(53, 'uayfy', 'ay'),
  C_DigestEncryptUpdate: call(54, 'uayfy', 'ay'),
  C_DecryptDigestUpdate: call(55, 'uayfy', 'ay'),
  C_SignEncryptUpdate: call(56, 'uayfy', 'ay'),
  C_DecryptVerifyUpdate: call(57, 'uayfy', 'ay'),
  C_GenerateKey: call(58, 'uMaA', 'u'),
  C_GenerateKeyPair: call(59, 'uMaAaA', 'uu'),
  C_WrapKey: call(60, 'uMuufy', 'ay'),
  C_UnwrapKey: call(61, 'uMuayaA', 'u'),
  C_DeriveKey: call(62, 'uMuaA', 'u'),
  C_SeedRandom: call(63, 'uay', ''),
  C_GenerateRandom: call(64, 'ufy', 'ay'),
  C_WaitForSlotEvent: call(65, 'u', 'u'),
  C_LoginUser: call(66, 'uuayay', ''),
  C_SessionCancel: call(67, 'uu', ''),
  C_MessageEncryptInit: call(68, 'uMu', ''),
  C_EncryptMessage: call(69, 'uayayayfy', 'ay'),
  C_EncryptMessageBegin: call(70, 'uayay', ''),
  C_EncryptMessageNext: call(71, 'uayayfyu', 'ay'),
  C_MessageEncryptFinal: call(72, 'u', ''),
  C_MessageDecryptInit: call(73, 'uMu', ''),
  C_DecryptMessage: call(74, 'uayayayfy', 'ay'),
  C_DecryptMessageBegin: call(75, 'uayay', ''),
  C_DecryptMessageNext: call(76, 'uayayfyu', 'ay'),
  C_MessageDecryptFinal: call(77, 'u', ''),
  C_MessageSignInit: call(78, 'uMu', ''),
  C_SignMessage: call(79, 'uayayfy', 'ay'),
  C_SignMessageBegin: call(80, 'uay', ''),
  C_SignMessageNext: call(81, 'uayayyfy', 'ay'),
  C_MessageSignFinal: call(82, 'u', ''),
  C_MessageVerifyInit: call(83, 'uMu', ''),
  C_VerifyMessage: call(84, 'uayayay', ''),
  C_VerifyMessageBegin: call(85, 'uay', ''),
  C_VerifyMessageNext: call(86, 'uayayay', ''),
  C_MessageVerifyFinal: call(87, 'u', ''),
  C_InitToken2: call(88, 'uays', '', [32]),
  C_DeriveKey2: call(89, 'uMuaA', 'uPu'),
} as const;

export type P11CallName = keyof typeof P11_CALLS;

/** The values of a call's request, in the order of its signature. */
export type P11Args<N extends P11CallName> = ValuesOf<
  TokensOf<(typeof P11_CALLS)[N]['request']>,
  RequestValues
>;

/** The values of a call's reply, in the order of its signature. */
export type P11Values<N extends P11CallName> = ValuesOf<
  TokensOf<(typeof P11_CALLS)[N]['response']>,
  ReplyValues
>;

/** A call with its signatures taken apart, once. */
export interface P11Call {
  readonly name: P11CallName;
  readonly id: number;
  readonly request: string;
  readonly response: string;
  readonly since: P11Version;
  readonly requestFields: readonly P11Field[];
  readonly responseFields: readonly P11Field[];
}

/** The tokens of a signature: two letters where the first is `a` (array) or `f` (to be filled). */
function fieldsOf(signature: string, sizes: readonly number[]): P11Field[] {
  const tokens = (signature.match(/[af]?./g) ?? []) as P11Token[];
  let texts = 0;
  return tokens.map((token) => {
    if (token !== 's') return { token, size: 0 };
    texts += 1;
    return { token, size: sizes[texts - 1] ?? 0 };
  });
}

const BY_ID: P11Call[] = [];
const BY_NAME = new Map<P11CallName, P11Call>();

for (const name of Object.keys(P11_CALLS) as P11CallName[]) {
  const { id, request, response, since, sizes } = P11_CALLS[name];
  const requestFields = fieldsOf(request, sizes);
  const responseFields = fieldsOf(response, sizes);
  const known = { name, id, request, response, since, requestFields, responseFields };
  BY_ID[id] = known;
  BY_NAME.set(name, known);
}

export function callNamed(name: P11CallName): P11Call {
  return BY_NAME.get(name) as P11Call;
}

/** The call with this number; undefined for one that the protocol does not know. */
export function callOfId(id: number): P11Call | undefined {
  return BY_ID[id];
}
