import { LIMITS } from '../../core/limits.js';
import type { HsmKeyId } from '../../core/ids.js';
import { CKA, CKK, CKM } from '../../core/pkcs11.js';
import type { HsmFields } from '../../protocol/hsm-frames.js';
import type { P11Mechanism } from '../../protocol/p11-mechanism.js';
import { updatedParameter } from '../../protocol/p11-mechanism.js';
import { AES_LENGTHS, RSA_BITS, SECRET_LENGTH_MAX, type KeyType } from '../../protocol/objects.js';
import { encodeExtra } from './attribute-values.js';
import type { Application } from './application.js';
import { fail, inTermsOf } from './failure.js';
import { needUser, writable, type Handlers } from './handlers.js';
import { keyFor } from './key-use.js';
import { CKF_MECHANISM, type MechanismFacts } from './mechanism-table.js';
import { handlesOf, MAKING_TERMS } from './object-calls.js';
import { factsOf, frameMechanism, hashNamed } from './parameters.js';
import type { P11Session } from './session.js';
import { CLASS_NUMBERS, Template, curveOf, isToken, namedBy, secretTypeOf } from './template.js';
import type { ObjectClass } from './template.js';

type Named = ReturnType<typeof namedBy>;

/** A mechanism that makes keys. @throws P11Failure MECHANISM_INVALID, ARGUMENTS_BAD */
function making(mechanism: P11Mechanism | null, flag: number): MechanismFacts {
  if (!mechanism) throw fail('ARGUMENTS_BAD');
  const facts = factsOf(mechanism);
  if ((facts.flags & flag) === 0) throw fail('MECHANISM_INVALID');
  if (facts.parameter === 'none') frameMechanism(mechanism, facts);
  return facts;
}

/** The mechanism that made a key stands in its record. */
const madeBy = (named: Named, type: number): Named => ({
  ...named,
  extra: { ...named.extra, [String(CKA.KEY_GEN_MECHANISM)]: encodeExtra(type) },
});

/** Whoever makes keys must have logged in, and may write where they are to be. */
function maker(application: Application, handle: number, onToken: boolean): P11Session {
  const session = application.session(handle);
  writable(session, onToken);
  needUser(session.view);
  return session;
}

const isToMake = (template: Template, kind: ObjectClass, keyType: number): void => {
  template.agree(CKA.CLASS, CLASS_NUMBERS[kind]);
  template.agree(CKA.KEY_TYPE, keyType);
};

/** Calls that make keys. */
export const KEY_CALLS: Handlers = {
  C_GenerateKey: async (application, [handle, mechanism, attributes]) => {
    const facts = making(mechanism, CKF_MECHANISM.GENERATE);
    const template = new Template(attributes);
    const onToken = isToken(template);
    const session = maker(application, handle, onToken);
    const type = facts.type === CKM.AES_KEY_GEN ? 'aes' : 'generic-secret';
    isToMake(template, 'secret-key', type === 'aes' ? CKK.AES : CKK.GENERIC_SECRET);
    const length = template.number(CKA.VALUE_LEN);
    if (length === undefined) throw fail('TEMPLATE_INCOMPLETE');
    const fits = type === 'aes' ? isAesLength(length) : length >= 1 && length <= SECRET_LENGTH_MAX;
    if (!fits) throw fail('KEY_SIZE_RANGE');
    const consumed = new Set<number>([CKA.VALUE_LEN]);
    const { profile } = application.options;
    const named = namedBy(template, { class: 'secret-key', type, consumed, profile });
    const call = application.call();
    const { session: line, cluster } = session.view;
    const asked = { spec: { type, length }, isSession: !onToken } as const;
    const made = cluster.objects.generate(line, madeBy(named, facts.type), asked, call);
    const id = await inTermsOf(MAKING_TERMS, made);
    return [(await handlesOf(session, [id], { isToken: onToken }, call))[0] as number];
  },
  C_GenerateKeyPair: async (application, [handle, mechanism, open, secret]) => {
    const facts = making(mechanism, CKF_MECHANISM.GENERATE_KEY_PAIR);
    const halves = { publicKey: new Template(open), privateKey: new Template(secret) };
    return await generatePair(application, handle, facts, halves);
  },
  C_WrapKey: async (application, [handle, mechanism, wrapping, at, room]) => {
    if (!mechanism) throw fail('ARGUMENTS_BAD');
    const session = application.session(handle);
    const { view } = session;
    needUser(view);
    const facts = factsOf(mechanism);
    const by = keyFor(view, wrapping, facts, 'wrap');
    const payload = view.objectAt(at);
    if (!payload?.isKey) throw fail('KEY_HANDLE_INVALID');
    if (payload.facts.object.class === 'public-key') throw fail('KEY_NOT_WRAPPABLE');
    if (!payload.has('extractable')) throw fail('KEY_UNEXTRACTABLE');
    const call = application.call();
    const fields = {
      payloadId: payload.id,
      wrappingId: by.id,
      mechanism: wrapMechanism(mechanism, facts),
    };
    const leaving = view.line.run('key-wrap', fields, call, payload.id, by.id);
    const { data } = await inTermsOf(WRAP_TERMS, leaving);
    const fits = room !== 'none' && room >= data.length;
    return [fits ? data : data.length];
  },
  C_UnwrapKey: async (application, [handle, mechanism, unwrapping, wrapped, attributes]) => {
    if (!mechanism || !wrapped) throw fail('ARGUMENTS_BAD');
    const template = new Template(attributes);
    const onToken = isToken(template);
    const session = maker(application, handle, onToken);
    const facts = factsOf(mechanism);
    const by = keyFor(session.view, unwrapping, facts, 'unwrap');
    const { kind, as } = unwrapKind(template);
    const consumed = new Set<number>([CKA.VALUE_LEN]);
    const { profile } = application.options;
    const named = namedBy(template, { ...as, consumed, profile });
    const call = application.call();
    const { session: line, cluster } = session.view;
    const asked = {
      wrappingId: by.id,
      mechanism: wrapMechanism(mechanism, facts),
      data: wrapped,
      kind,
      isSession: !onToken,
    };
    const made = cluster.objects.unwrap(line, named, asked, call);
    const id = await inTermsOf({ ...MAKING_TERMS, HsmDataInvalid: 'WRAPPED_KEY_INVALID' }, made);
    return [(await handlesOf(session, [id], { isToken: onToken }, call))[0] as number];
  },
  C_DeriveKey: async (application, [handle, mechanism, base, attributes]) => [
    await derive(application, handle, { mechanism, base, template: new Template(attributes) }),
  ],
  C_DeriveKey2: async (application, [handle, mechanism, base, attributes]) => {
    const template = new Template(attributes);
    const key = await derive(application, handle, { mechanism, base, template });
    return [0, mechanism && updatedParameter(mechanism), key];
  },
};

const isAesLength = (length: number): boolean =>
  (AES_LENGTHS as readonly number[]).includes(length);

interface Halves {
  readonly publicKey: Template;
  readonly privateKey: Template;
}

const PAIR_TYPES: Readonly<Record<number, { type: KeyType; number: number }>> = {
  [CKM.RSA_PKCS_KEY_PAIR_GEN]: { type: 'rsa', number: CKK.RSA },
  [CKM.EC_KEY_PAIR_GEN]: { type: 'ec', number: CKK.EC },
  [CKM.EC_EDWARDS_KEY_PAIR_GEN]: { type: 'ec', number: CKK.EC_EDWARDS },
};
const PUBLIC_PARTS = new Set<number>([CKA.MODULUS_BITS, CKA.PUBLIC_EXPONENT, CKA.EC_PARAMS]);

async function generatePair(
  application: Application,
  handle: number,
  facts: MechanismFacts,
  halves: Halves,
): Promise<[number, number]> {
  const { publicKey: open, privateKey: secret } = halves;
  const onToken = { open: isToken(open), secret: isToken(secret) };
  const session = maker(application, handle, onToken.open || onToken.secret);
  const { type, number } = PAIR_TYPES[facts.type] as { type: KeyType; number: number };
  isToMake(open, 'public-key', number);
  isToMake(secret, 'private-key', number);
  const spec = facts.family === 'rsa' ? rsaSpec(open) : ecSpec(open, facts);
  const as = { type, consumed: PUBLIC_PARTS, profile: application.options.profile };
  const publicKey = namedBy(open, { ...as, class: 'public-key' });
  const privateKey = namedBy(secret, { ...as, class: 'private-key' });
  const call = application.call(LIMITS.key_making_timeout_ms);
  const { session: line, cluster } = session.view;
  const named = {
    publicKey: madeBy(publicKey, facts.type),
    privateKey: madeBy(privateKey, facts.type),
  };
  // the two may be in different places: then both are made in memory, and one is copied
  const isSession = !(onToken.open && onToken.secret);
  const made = cluster.objects.generatePair(line, named, { spec, isSession }, call);
  const ids = await inTermsOf(MAKING_TERMS, made);
  const place = async (id: HsmKeyId, half: Named, token: boolean): Promise<number> => {
    const asked = { fromId: id, isSession: false, isKey: true };
    const isElsewhere = token && isSession;
    const there = isElsewhere ? await cluster.objects.copyObject(line, half, asked, call) : id;
    if (isElsewhere) await cluster.objects.delete(line, id, call);
    return (await handlesOf(session, [there], { isToken: token }, call))[0] as number;
  };
  const first = await place(ids.publicKey, named.publicKey, onToken.open);
  return [first, await place(ids.privateKey, named.privateKey, onToken.secret)];
}

type PairSpec = HsmFields<'key-pair-generate'>['spec'];

function rsaSpec(template: Template): PairSpec {
  const bits = template.number(CKA.MODULUS_BITS);
  if (bits === undefined) throw fail('TEMPLATE_INCOMPLETE');
  if (bits < RSA_BITS.min || bits > RSA_BITS.max || bits % RSA_BITS.step !== 0) {
    throw fail('KEY_SIZE_RANGE');
  }
  const given = template.bytes(CKA.PUBLIC_EXPONENT);
  if (given === undefined || given.length === 0) return { type: 'rsa', bits };
  const exponent = Number(`0x${Buffer.from(given).toString('hex')}`);
  const fits = exponent >= 65_537 && exponent < 2 ** 32 && exponent % 2 === 1;
  if (!fits) throw fail('ATTRIBUTE_VALUE_INVALID');
  return { type: 'rsa', bits, exponent };
}

function ecSpec(template: Template, facts: MechanismFacts): PairSpec {
  const curve = curveOf(template.need(CKA.EC_PARAMS));
  if ((curve === 'ed25519') !== (facts.family === 'edwards')) throw fail('CURVE_NOT_SUPPORTED');
  return { type: 'ec', curve };
}

const WRAP_TERMS = {
  HsmUsageRefused: 'KEY_NOT_WRAPPABLE',
  HsmRoleRefused: 'KEY_NOT_WRAPPABLE',
  HsmDataInvalid: 'KEY_SIZE_RANGE',
  HsmKeyNotFound: 'KEY_HANDLE_INVALID',
} as const;

type WrapMechanism = HsmFields<'key-wrap'>['mechanism'];

/** CloudHSM's name of what wraps. */
function wrapMechanism(mechanism: P11Mechanism, facts: MechanismFacts): WrapMechanism {
  const { hash, mgf, iv, aad, tagBits, label } = frameMechanism(mechanism, facts, true);
  switch (facts.type) {
    case CKM.RSA_PKCS:
      return { name: 'rsa-pkcs' };
    case CKM.AES_KEY_WRAP:
      return { name: 'aes-no-pad' };
    case CKM.AES_KEY_WRAP_PAD:
      return { name: 'aes-zero-pad' };
    case CKM.RSA_PKCS_OAEP: {
      const names = { hash: hashNamed(hash ?? 0), mgf: hashNamed(MGF_HASH[mgf ?? 0] ?? 0) };
      if (label || !names.hash || !names.mgf) throw fail('MECHANISM_PARAM_INVALID');
      return { name: 'rsa-oaep', hash: names.hash, mgf: names.mgf };
    }
    case CKM.AES_GCM:
      return {
        name: 'aes-gcm',
        ...(iv && { iv }),
        ...(aad && { aad }),
        ...(tagBits && { tagBits }),
      };
    default:
      throw fail('MECHANISM_INVALID');
  }
}

/** The hash of each CKG_MGF1_ function. */
const MGF_HASH: Readonly<Record<number, number>> = {
  1: CKM.SHA_1,
  2: CKM.SHA256,
  3: CKM.SHA384,
  4: CKM.SHA512,
  5: CKM.SHA224,
};

type UnwrapKind = HsmFields<'key-unwrap'>['kind'];

function unwrapKind(template: Template): {
  readonly kind: UnwrapKind;
  readonly as: { readonly class: ObjectClass; readonly type: KeyType };
} {
  const given = template.number(CKA.CLASS);
  if (given === CLASS_NUMBERS['private-key']) {
    const type = template.number(CKA.KEY_TYPE);
    if (type === undefined) throw fail('TEMPLATE_INCOMPLETE');
    if (type === CKK.RSA) return { kind: 'rsa-private', as: { class: 'private-key', type: 'rsa' } };
    if (type !== CKK.EC && type !== CKK.EC_EDWARDS) throw fail('ATTRIBUTE_VALUE_INVALID');
    return { kind: 'ec-private', as: { class: 'private-key', type: 'ec' } };
  }
  if (given === undefined) throw fail('TEMPLATE_INCOMPLETE');
  if (given !== CLASS_NUMBERS['secret-key']) throw fail('TEMPLATE_INCONSISTENT');
  const type = secretTypeOf(template);
  return { kind: type, as: { class: 'secret-key', type } };
}

async function derive(
  application: Application,
  handle: number,
  asked: { mechanism: P11Mechanism | null; base: number; template: Template },
): Promise<number> {
  const { mechanism, base, template } = asked;
  if (!mechanism) throw fail('ARGUMENTS_BAD');
  const facts = factsOf(mechanism);
  const onToken = isToken(template);
  const session = maker(application, handle, onToken);
  const { view } = session;
  const key = keyFor(view, base, facts, 'derive');
  const { parameter } = mechanism;
  if (parameter?.kind !== 'ecdh' || !parameter.publicData) throw fail('MECHANISM_PARAM_INVALID');
  template.agree(CKA.CLASS, CLASS_NUMBERS['secret-key']);
  const type = secretTypeOf(template);
  const length = template.number(CKA.VALUE_LEN);
  if (type === 'aes' && length !== undefined && !isAesLength(length)) throw fail('KEY_SIZE_RANGE');
  const consumed = new Set<number>([CKA.VALUE_LEN]);
  const { profile } = application.options;
  const named = namedBy(template, { class: 'secret-key', type, consumed, profile });
  const call = application.call();
  const { kdf, sharedData, publicData } = parameter;
  const fields = {
    baseId: key.id,
    type,
    ...(length !== undefined && length > 0 && { length }),
    kdf,
    ...(sharedData && sharedData.length > 0 && { sharedData }),
    publicData,
    isSession: !onToken,
  };
  const made = view.cluster.objects.derive(view.session, named, fields, call);
  const terms = { ...MAKING_TERMS, HsmDataInvalid: 'MECHANISM_PARAM_INVALID' } as const;
  const id = await inTermsOf(terms, made);
  return (await handlesOf(session, [id], { isToken: onToken }, call))[0] as number;
}
