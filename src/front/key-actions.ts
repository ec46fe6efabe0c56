import { createPublicKey } from 'node:crypto';
import { replicateKey } from '../cluster/key-travel.js';
import type { SeenKey } from '../cluster/key-views.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import type { Named } from '../cluster/user-keys.js';
import { asBuffer, parseHex } from '../core/bytes.js';
import { answeredBy, type Call } from '../core/call.js';
import { deadlineIn } from '../core/deadline.js';
import { KeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import type { HsmResults } from '../protocol/hsm-frames.js';
import type { FlagTemplate, RecordChange } from '../protocol/hsm-key-frames.js';
import type { GivenAttributes, KeyQuorum } from '../protocol/hsm-session.js';
import { isAttributeName, isFlagName, mayNotSet, withFlag } from '../protocol/objects.js';
import { audited, type Login } from './user-change.js';
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

const DEFAULT_PAGE = 10;

/** RSA keys take up to seconds. */
async function longer<T>(call: Call, work: (call: Call) => Promise<T>): Promise<T> {
  const own: Call = { ...call, deadline: deadlineIn(LIMITS.key_making_timeout_ms) };
  try {
    return await work(own);
  } finally {
    answeredBy(call, own);
  }
}

/** Attributes as they are given: true and false, and the words for them. */
function flagValue(name: string, value: boolean | string): boolean {
  if (typeof value === 'boolean') return value;
  if (value === 'true' || value === 'false') return value === 'true';
  throw new KeyspanError('HsmAttributeRefused', mayNotSet(name, value));
}

/** `id`: hex digits behind 0x, or text. */
const idBytes = (value: string): Uint8Array =>
  /^0x(?:[0-9a-fA-F]{2})*$/.test(value) ? parseHex(value.slice(2)) : Buffer.from(value, 'utf8');

/** `{"name": true, ...}` @throws KeyspanError HsmAttributeRefused for anything else */
function readTemplate(name: string, value: boolean | string): FlagTemplate {
  const refused = new KeyspanError('HsmAttributeRefused', mayNotSet(name, value));
  let mask = 0;
  let flags = 0;
  for (const [flag, is] of Object.entries(parseMembers(value, refused))) {
    if (!isFlagName(flag) || typeof is !== 'boolean') throw refused;
    mask = withFlag(mask, flag, true);
    flags = withFlag(flags, flag, is);
  }
  return { mask, flags };
}

function parseMembers(value: boolean | string, refused: KeyspanError): object {
  try {
    const read: unknown = JSON.parse(String(value));
    if (typeof read === 'object' && read !== null && !Array.isArray(read)) return read;
  } catch {
    // said below
  }
  throw refused;
}

/** What a new key is to be. @throws KeyspanError HsmAttributeRefused */
function namedOf(key: { label: string; attributes?: GivenAttributes | undefined }): Named {
  const given: Record<string, boolean> = {};
  const named: { -readonly [K in keyof Named]: Named[K] } = { label: key.label, given };
  for (const [name, value] of Object.entries(key.attributes ?? {})) {
    if (isFlagName(name)) given[name] = flagValue(name, value);
    else if (name === 'id') named.id = idBytes(String(value));
    else if (name === 'wrap-template') named.wrapTemplate = readTemplate(name, value);
    else if (name === 'unwrap-template') named.unwrapTemplate = readTemplate(name, value);
    else throw new KeyspanError('HsmAttributeRefused', refusalOf(name, value));
  }
  return named;
}

const refusalOf = (name: string, value: unknown): string =>
  isAttributeName(name) ? mayNotSet(name, value) : `There is no attribute ${name}`;

/** One attribute with its new value. */
function changeOf(name: string, value: boolean | string): RecordChange {
  if (isFlagName(name)) return { set: { name, value: flagValue(name, value) } };
  if (name === 'label') return { label: String(value) };
  if (name === 'id') return { id: idBytes(String(value)) };
  if (name === 'wrap-template') return { wrapTemplate: readTemplate(name, value) };
  if (name === 'unwrap-template') return { unwrapTemplate: readTemplate(name, value) };
  throw new KeyspanError('HsmAttributeRefused', refusalOf(name, value));
}

/** What a crypto-user does with keys. */
export function keyActions(context: UserContext): KeyActions {
  return {
    ...lookups(context),
    ...makings(context),
    ...changes(context),
    ...lives(context),
    ...uses(context),
  };
}

function lookups({ sessions }: UserContext): Pick<KeyActions, 'KeyFind' | 'KeyPublic'> {
  return {
    KeyFind: async ({ session: token, filter, after, limit = DEFAULT_PAGE, ...how }, call) => {
      const { cluster, session } = sessions.use(token);
      if (how.availabilityCheck !== false) await cluster.keys.available(call);
      const asked = { attributes: filter?.attributes ?? {}, reference: filter?.reference };
      const page = { filter: asked, after, limit };
      if (how.verbose) {
        const { keys, total, more } = await cluster.keys.compare(session, page);
        if (keys.length > 0 || total === 0) {
          return { keys: keys.map(({ described }) => described), total, more };
        }
      }
      const { keys, total, more } = await cluster.keys.find(session, page, call);
      for (const key of keys) if ('reference' in key) session.name(key.reference, key.id);
      const brief = keys.flatMap((key) =>
        'reference' in key
          ? [{ 'key-reference': key.reference, attributes: { label: key.label } }]
          : [],
      );
      return { keys: brief, total, more };
    },
    KeyPublic: async ({ session: token, key }) => {
      const { cluster, session } = sessions.use(token);
      const { spki } = await cluster.keys.describe(session, key);
      if (!spki) throw new KeyspanError('HsmUsageRefused', 'the key has no public half');
      const open = createPublicKey({ key: asBuffer(spki), format: 'der', type: 'spki' });
      return { pem: open.export({ format: 'pem', type: 'spki' }) as string };
    },
  };
}

/** What is said of every key that is made. */
function saidOf(params: {
  readonly sessionKey?: boolean | undefined;
  readonly availabilityCheck?: boolean | undefined;
  readonly share?: readonly string[] | undefined;
  readonly quorum?: KeyQuorum | undefined;
}): Said {
  const { sessionKey: isSession, share, quorum, availabilityCheck } = params;
  return { isSession, share, quorum, isUnchecked: availabilityCheck === false };
}

interface Said {
  readonly isSession: boolean | undefined;
  readonly share: readonly string[] | undefined;
  readonly quorum: KeyQuorum | undefined;
  readonly isUnchecked: boolean;
}

type Makings = Pick<KeyActions, 'KeyGenerate' | 'KeyGeneratePair' | 'KeyImport' | 'KeyUnwrap'>;

function makings(context: UserContext): Makings {
  const { sessions } = context;
  /** A key has no name yet when it is asked for: the line says what it was to be called. */
  const make = async <T>(
    action: string,
    params: { readonly session: string },
    label: string,
    work: (login: Login) => Promise<T>,
  ): Promise<T> => {
    const login = sessions.use(params.session);
    const named = { login, key: JSON.stringify(label) };
    return await told(context, action, named, () => work(login));
  };
  return {
    KeyGenerate: (params, call) =>
      make('key generate', params, params.key.label, async ({ cluster, session }) => {
        const { spec, key } = params;
        const asked = { spec, ...saidOf(params) };
        const work = (own: Call): Promise<SeenKey> =>
          cluster.keys.generate(session, namedOf(key), asked, own);
        return { key: (await longer(call, work)).described };
      }),
    KeyGeneratePair: (params, call) =>
      make('key generate', params, params.privateKey.label, async ({ cluster, session }) => {
        const { spec, publicKey, privateKey } = params;
        const halves = { publicKey: namedOf(publicKey), privateKey: namedOf(privateKey) };
        const asked = { spec, ...saidOf(params) };
        const made = await longer(call, (own) =>
          cluster.keys.generatePair(session, halves, asked, own),
        );
        return { publicKey: made.publicKey.described, privateKey: made.privateKey.described };
      }),
    KeyImport: (params, call) =>
      make('key import', params, params.key.label, async ({ cluster, session }) => {
        const { pem, type, key } = params;
        const asked = { der: derOf(pem), type, ...saidOf(params) };
        const work = (own: Call): Promise<SeenKey> =>
          cluster.keys.importPublic(session, namedOf(key), asked, own);
        return { key: (await longer(call, work)).described };
      }),
    KeyUnwrap: (params, call) =>
      make('key unwrap', params, params.key.label, async ({ cluster, session }) => {
        const { mechanism, data, kind, key, approval } = params;
        const wrappingId = await cluster.keys.resolve(session, params.wrapping, call);
        const asked = { wrappingId, mechanism, data, kind, approval, ...saidOf(params) };
        const work = (own: Call): Promise<SeenKey> =>
          cluster.keys.unwrap(session, namedOf(key), asked, own);
        return { key: (await longer(call, work)).described };
      }),
  };
}

/** @throws KeyspanError HsmDataInvalid */
function derOf(pem: string): Uint8Array {
  try {
    return createPublicKey({ key: pem, format: 'pem' }).export({ format: 'der', type: 'spki' });
  } catch (cause) {
    throw new KeyspanError('HsmDataInvalid', 'The file holds no public key in PEM', { cause });
  }
}

/** What a crypto-user does to a key leaves a line in the audit log. */
function told<T>(
  { events }: UserContext,
  action: string,
  of: { readonly login: Login; readonly key: string },
  work: () => Promise<T>,
): Promise<T> {
  const { cluster, session } = of.login;
  const target = `${cluster.id} ${session.username} ${of.key}`;
  return audited({ events }, { action, target }, work);
}

type Changes = Pick<KeyActions, 'KeySetAttribute' | 'KeyShare' | 'KeyUnshare'>;

function changes(context: UserContext): Changes {
  const { sessions } = context;
  const change = async (
    action: string,
    params: { session: string; key: string },
    asked: Parameters<RunningCluster['keys']['change']>[2],
    call: Call,
  ): Promise<Record<string, never>> => {
    const { key } = params;
    const login = sessions.use(params.session);
    const { cluster, session } = login;
    const work = (): Promise<void> => cluster.keys.change(session, key, asked, call);
    await told(context, action, { login, key }, work);
    return {};
  };
  return {
    KeySetAttribute: async (params, call) => {
      const { name, value, approval, key } = params;
      const { cluster, session } = sessions.use(params.session);
      if (name !== 'token') {
        const asked = { change: changeOf(name, value), approval };
        return await change('key set-attribute', params, asked, call);
      }
      if (!flagValue(name, value)) {
        throw new KeyspanError('HsmAttributeRefused', mayNotSet(name, value));
      }
      await longer(call, (own) => cluster.keys.keep(session, key, own));
      return {};
    },
    KeyShare: async (params, call) => {
      const { username, approval } = params;
      const asked = { change: { share: [username] }, approval };
      return await change('key share', params, asked, call);
    },
    KeyUnshare: async (params, call) => {
      const { username, approval } = params;
      const asked = { change: { unshare: [username] }, approval };
      return await change('key unshare', params, asked, call);
    },
  };
}

function lives(context: UserContext): Pick<KeyActions, 'KeyDelete' | 'KeyReplicate'> {
  const { sessions } = context;
  return {
    KeyDelete: async ({ session: token, key }, call) => {
      const login = sessions.use(token);
      const { cluster, session } = login;
      const work = (): Promise<void> => cluster.keys.delete(session, key, call);
      await told(context, 'key delete', { login, key }, work);
      return {};
    },
    KeyReplicate: async ({ session: token, destination, key }, call) => {
      const from = sessions.use(token);
      const to = sessions.use(destination);
      const work = (own: Call): Promise<SeenKey> => replicateKey(from, to, key, own);
      const { described } = await told(context, 'key replicate', { login: from, key }, () =>
        longer(call, work),
      );
      return { key: described };
    },
  };
}

function uses(context: UserContext): Pick<KeyActions, 'KeyWrap' | 'KeySign' | 'KeyVerify'> {
  const { sessions } = context;
  return {
    KeyWrap: async ({ session: token, payload, wrapping, ...rest }, call) => {
      const login = sessions.use(token);
      const { cluster, session } = login;
      const names = [payload, wrapping] as const;
      const wrap = (): Promise<HsmResults['key-wrap']> =>
        cluster.keys.use(session, 'key-wrap', names, call, ([payloadId, wrappingId]) => ({
          ...rest,
          payloadId,
          wrappingId: wrappingId ?? payloadId,
        }));
      const { data, iv } = await told(context, 'key wrap', { login, key: payload }, wrap);
      return iv ? { data, iv } : { data };
    },
    // these two are not async: a signature is asked for thousands of times a second
    KeySign: (params, call) => {
      const { session: token, key, mechanism, data, digested = false, approval } = params;
      const { cluster, session } = sessions.use(token);
      return cluster.keys.use(session, 'key-sign', [key], call, ([keyId]) => ({
        keyId,
        mechanism,
        data,
        digested,
        approval,
      }));
    },
    KeyVerify: (params, call) => {
      const { session: token, key, mechanism, data, digested = false, signature } = params;
      const { cluster, session } = sessions.use(token);
      return cluster.keys.use(session, 'key-verify', [key], call, ([keyId]) => ({
        keyId,
        mechanism,
        data,
        digested,
        signature,
      }));
    },
  };
}
