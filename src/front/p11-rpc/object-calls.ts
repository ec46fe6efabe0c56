import type { RecordChange } from '../../protocol/hsm-key-frames.js';
import { CKA, CKR } from '../../core/pkcs11.js';
import type { Call } from '../../core/call.js';
import {
  attributeKind,
  attributeLength,
  type P11Attribute,
  type P11AttributeRoom,
  type P11Value,
} from '../../protocol/p11-attributes.js';
import { FLAGS, FLAG_NAMES, maySetFlag, type KeyType } from '../../protocol/objects.js';
import type { P11Version } from '../../protocol/p11-wire.js';
import { attributeOf, encodeExtra, isAttributeOf, sameValue } from './attribute-values.js';
import { fail, inTermsOf } from './failure.js';
import { needUser, writable, type Handlers } from './handlers.js';
import { HeldObject } from './held-object.js';
import { materialOf, secretsOf } from './key-material.js';
import {
  Template,
  classOf,
  flagNamed,
  flagTemplate,
  isExtra,
  isToken,
  namedBy,
  splitLabel,
} from './template.js';
import type { P11Session } from './session.js';
import type { TokenView } from './token-view.js';

/** How an HSM's refusals of an object that is made read. */
export const MAKING_TERMS = {
  HsmAttributeRefused: 'TEMPLATE_INCONSISTENT',
  HsmDataInvalid: 'ATTRIBUTE_VALUE_INVALID',
  HsmUsageRefused: 'TEMPLATE_INCONSISTENT',
  HsmRoleRefused: 'USER_NOT_LOGGED_IN',
} as const;

/** @throws P11Failure OBJECT_HANDLE_INVALID */
export function objectAt(view: TokenView, handle: number): HeldObject {
  const object = view.objectAt(handle);
  if (!object) throw fail('OBJECT_HANDLE_INVALID');
  return object;
}

/** Objects that were made get their handles. */
export async function handlesOf(
  session: P11Session,
  ids: readonly HeldObject['id'][],
  as: { readonly isToken: boolean },
  call: Call,
): Promise<number[]> {
  const { view } = session;
  if (as.isToken) {
    view.changed(...ids);
    await view.refresh(call);
  } else {
    for (const id of ids) {
      const { objects } = await view.objects({ ids: [id], limit: 1 }, call);
      const [facts] = objects;
      if (!facts) throw fail('DEVICE_ERROR');
      view.keep(new HeldObject(facts, session.handle));
    }
  }
  return ids.map((id) => view.handleOf(id));
}

/** Calls about objects. */
export const OBJECT_CALLS: Handlers = {
  C_CreateObject: async (application, [handle, attributes]) => {
    const session = application.session(handle);
    const { view } = session;
    const template = new Template(attributes);
    const kind = classOf(template);
    const onToken = isToken(template);
    writable(session, onToken);
    needUser(view);
    const { content, type, consumed } = materialOf(template, kind);
    const { profile } = application.options;
    const named = namedBy(template, { class: kind, type, consumed, profile });
    const call = application.call();
    const { objects } = view.cluster;
    const asked = { content, isSession: !onToken };
    const making = objects.createObject(view.session, named, asked, call);
    const id = await inTermsOf(MAKING_TERMS, making);
    return [(await handlesOf(session, [id], { isToken: onToken }, call))[0] as number];
  },
  C_CopyObject: async (application, [handle, at, attributes]) => {
    const session = application.session(handle);
    const { view } = session;
    const object = objectAt(view, at);
    if (attributeOf(object, CKA.COPYABLE) === false) throw fail('ACTION_PROHIBITED');
    const template = new Template(attributes);
    const onToken = template.flag(CKA.TOKEN) ?? object.has('token');
    writable(session, onToken);
    needUser(view);
    const named = copyNamed(object, template);
    const call = application.call();
    const asked = { fromId: object.id, isSession: !onToken, isKey: object.isKey };
    const making = view.cluster.objects.copyObject(view.session, named, asked, call);
    const id = await inTermsOf({ ...MAKING_TERMS, HsmRoleRefused: 'ACTION_PROHIBITED' }, making);
    return [(await handlesOf(session, [id], { isToken: onToken }, call))[0] as number];
  },
  C_DestroyObject: async (application, [handle, at]) => {
    const session = application.session(handle);
    const { view } = session;
    const object = objectAt(view, at);
    writable(session, object.has('token'));
    needUser(view);
    if (!object.has('destroyable')) throw fail('ACTION_PROHIBITED');
    const call = application.call();
    const ending = view.cluster.objects.delete(view.session, object.id, call);
    await inTermsOf({ HsmUsageRefused: 'ACTION_PROHIBITED' }, ending);
    view.forget(object.id);
    view.changed(object.id);
    return [];
  },
  C_GetObjectSize: (application, [handle, at]) => {
    const { facts } = objectAt(application.session(handle).view, at);
    return [facts.object.length + (facts.object.public?.length ?? 0) + facts.label.length + 512];
  },
  C_GetAttributeValue: (application, [handle, at, rooms]) => {
    const { view } = application.session(handle);
    const call = application.call();
    const look = (): [P11Attribute[], number] | Promise<[P11Attribute[], number]> => {
      const object = objectAt(view, at);
      // a plain answer to no question ends the application (p11-kit's client asserts)
      if (rooms.length === 0) throw fail('ARGUMENTS_BAD');
      const needsContent = rooms.some(({ type }) => attributeOf(object, type) === 'content');
      if (!needsContent) return answer(object, rooms, { version: application.version });
      return contentOf(view, object, call).then((content) =>
        answer(object, rooms, { version: application.version, content }),
      );
    };
    const refreshing = view.refresh(call);
    return refreshing ? refreshing.then(look) : look();
  },
  C_SetAttributeValue: async (application, [handle, at, attributes]) => {
    const session = application.session(handle);
    const { view } = session;
    const object = objectAt(view, at);
    writable(session, object.has('token'));
    needUser(view);
    if (!object.has('modifiable')) throw fail('ACTION_PROHIBITED');
    const changes = changesOf(object, new Template(attributes));
    const call = application.call();
    for (const change of changes) {
      const changing = view.cluster.objects.change(view.session, object.id, { change }, call);
      await inTermsOf({ HsmAttributeRefused: 'ATTRIBUTE_READ_ONLY' }, changing);
    }
    if (object.session === 0) view.changed(object.id);
    else await handlesOf(session, [object.id], { isToken: false }, call);
    return [];
  },
  C_FindObjectsInit: (application, [handle, attributes]) => {
    const session = application.session(handle);
    const { view, operations } = session;
    if (operations.find) throw fail('OPERATION_ACTIVE');
    const template = new Template(attributes);
    const values = new Map<number, P11Value>(
      [...template.types].map((one) => [one, template.value(one)]),
    );
    const call = application.call();
    const look = (): [] | Promise<[]> => {
      const { found, undecided } = view.find(values);
      const begin = (all: readonly HeldObject[]): [] => {
        operations.find = { handles: all.map(({ id }) => view.handleOf(id)), at: 0 };
        return [];
      };
      if (undecided.length === 0) return begin(found);
      return decide(view, undecided, values, call).then((more) => begin([...found, ...more]));
    };
    const refreshing = view.refresh(call);
    return refreshing ? refreshing.then(look) : look();
  },
  C_FindObjects: (application, [handle, room]) => {
    const session = application.session(handle);
    const find = session.begun('find');
    const handles = find.handles.slice(find.at, find.at + room);
    find.at += handles.length;
    return [handles];
  },
  C_FindObjectsFinal: (application, [handle]) => {
    const session = application.session(handle);
    session.begun('find');
    session.end('find');
    return [];
  },
};

/** The bytes of an object, taken apart into attributes. */
async function contentOf(
  view: TokenView,
  object: HeldObject,
  call: Call,
): Promise<ReadonlyMap<number, Uint8Array>> {
  const known = object.content;
  if (known) return known;
  const fields = { keyId: object.id };
  const asked = view.line.run('object-reveal', fields, call, object.id);
  const { value } = await inTermsOf({ HsmUsageRefused: 'ATTRIBUTE_SENSITIVE' }, asked);
  const { class: kind, type } = object.facts.object;
  const isKey = kind === 'private-key' || kind === 'secret-key';
  const content = isKey ? secretsOf(type as KeyType, value) : new Map([[CKA.VALUE, value]]);
  // what is no key is no secret, and never changes
  if (!isKey) object.content = content;
  return content;
}

/** The answer to C_GetAttributeValue, with the return value that it ends in. */
function answer(
  object: HeldObject,
  rooms: readonly P11AttributeRoom[],
  how: {
    readonly version: P11Version;
    readonly content?: ReadonlyMap<number, Uint8Array> | undefined;
  },
): [P11Attribute[], number] {
  const { version, content } = how;
  let rv: number = CKR.OK;
  const attributes = rooms.map(({ type, room }): P11Attribute => {
    // clients of the first version end when they get a template
    const isCarried = version > 0 || attributeKind(type) !== 'templates';
    const read = isCarried ? attributeOf(object, type) : 'absent';
    const value = read === 'content' ? (content?.get(type) ?? 'absent') : read;
    if (value === 'sensitive' || value === 'absent' || value === undefined) {
      rv = value === 'sensitive' ? CKR.ATTRIBUTE_SENSITIVE : CKR.ATTRIBUTE_TYPE_INVALID;
      return { type, value: undefined };
    }
    const filled = asWire(type, value);
    const length = attributeLength(filled);
    if (room === 0) return { type, value: null, length };
    if (room >= length) return { type, value: filled };
    rv = CKR.BUFFER_TOO_SMALL;
    return { type, value: undefined };
  });
  return [attributes, rv];
}

/** CKA_DESTROYABLE and others that this wire has no word for are bytes. */
function asWire(type: number, value: P11Value): P11Value {
  const isBytes = attributeKind(type) === 'bytes';
  return isBytes && !(value instanceof Uint8Array) ? encodeExtra(value) : value;
}

/** Those of which the content, too, is what is looked for. */
async function decide(
  view: TokenView,
  objects: readonly HeldObject[],
  values: ReadonlyMap<number, P11Value>,
  call: Call,
): Promise<HeldObject[]> {
  const verdicts = await Promise.all(
    objects.map(async (object) => {
      const content = await contentOf(view, object, call);
      return [...values].every(
        ([type, wanted]) =>
          attributeOf(object, type) !== 'content' || sameValue(content.get(type), wanted),
      );
    }),
  );
  return objects.filter((_, at) => verdicts[at]);
}

/** A copy is what its original is, but for what the template says. */
function copyNamed(object: HeldObject, template: Template): ReturnType<typeof namedBy> {
  const { class: kind, type, extra, id } = object.facts.object;
  for (const one of template.types) {
    if (!isAttributeOf(object, one)) throw fail('ATTRIBUTE_TYPE_INVALID');
    if (NOT_OF_A_COPY.has(one)) throw fail('ATTRIBUTE_READ_ONLY');
  }
  const as = { class: kind, type, consumed: new Set<number>(), profile: 'pkcs11' } as const;
  const asked = namedBy(template, as);
  const label = template.has(CKA.LABEL) ? asked.label : object.facts.label;
  // the others stay as they are
  const given: Record<string, boolean> = {};
  for (const flag of FLAGS_OF_A_COPY) {
    const said = template.flag(FLAGS[flag].cka);
    if (said !== undefined) given[flag] = said;
  }
  const kept = { ...extra, ...asked.extra };
  if (template.has(CKA.LABEL) && asked.extra?.[LABEL] === undefined) delete kept[LABEL];
  return { ...asked, label, given, id: asked.id ?? id, extra: kept };
}

const LABEL = String(CKA.LABEL);
const COMPUTED: ReadonlySet<string> = new Set([
  'token',
  'local',
  'always-sensitive',
  'never-extractable',
  'trusted',
]);
const FLAGS_OF_A_COPY = FLAG_NAMES.filter((name) => !COMPUTED.has(name));
/** What an object is, and cannot become by being copied. */
const NOT_OF_A_COPY: ReadonlySet<number> = new Set([CKA.CLASS, CKA.KEY_TYPE, CKA.VALUE]);

/** The changes that a template asks for. @throws P11Failure for what cannot be changed so */
function changesOf(object: HeldObject, template: Template): RecordChange[] {
  const changes: RecordChange[] = [];
  const extra: Record<string, Uint8Array> = {};
  for (const type of template.types) {
    const flag = flagNamed(type);
    if (!isAttributeOf(object, type) && type < 0x8000_0000) throw fail('ATTRIBUTE_TYPE_INVALID');
    if (flag !== undefined) {
      const value = template.flag(type) ?? false;
      if (value === object.has(flag)) continue;
      const { class: kind, flags } = object.facts.object;
      if (!maySetFlag({ class: kind, flags }, flag, value, 'owner')) {
        throw fail('ATTRIBUTE_READ_ONLY');
      }
      changes.push({ set: { name: flag, value } });
    } else if (type === CKA.LABEL) changes.push(...labelChange(template));
    else if (type === CKA.ID) changes.push({ id: template.bytes(type) ?? new Uint8Array(0) });
    else if (type === CKA.WRAP_TEMPLATE) {
      changes.push({ wrapTemplate: flagTemplate(template.value(type)) });
    } else if (type === CKA.UNWRAP_TEMPLATE) {
      changes.push({ unwrapTemplate: flagTemplate(template.value(type)) });
    } else if (isExtra(type)) extra[String(type)] = encodeExtra(template.value(type));
    else throw fail('ATTRIBUTE_READ_ONLY');
  }
  if (Object.keys(extra).length > 0) changes.push({ extra });
  return changes;
}

function labelChange(template: Template): RecordChange[] {
  const { label, raw } = splitLabel(template.bytes(CKA.LABEL) ?? new Uint8Array(0));
  return raw ? [{ label }, { extra: { [LABEL]: raw } }] : [{ label }];
}
