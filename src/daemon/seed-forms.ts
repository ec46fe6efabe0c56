import { isKeyspanError } from '../core/errors.js';
import { LIMITS } from '../core/limits.js';
import { FormError, mapOf, object, text, type Form } from '../protocol/form.js';

/** Forms of what a seed has in several places. */

/** A text that passes a check. @param what it must be */
export const checked =
  <T extends string>(check: (value: string) => boolean, what: string): Form<T> =>
  (value) => {
    if (typeof value === 'string' && check(value)) return value as T;
    throw new FormError(`must be ${what}`);
  };

/** As `object`; a member of unknown name, mostly a slip of the pen, is named. */
export function members<M extends Record<string, Form<unknown>>>(
  forms: M,
): ReturnType<typeof object<M>> {
  const form = object(forms);
  return (value) => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const foreign = Object.keys(value).find((name) => !Object.hasOwn(forms, name));
      const known = Object.keys(forms).join(', ');
      if (foreign !== undefined) throw new FormError(`is none of ${known}`, [foreign]);
    }
    return form(value);
  };
}

/**
 * A policy as its JSON text, or as what that would be.
 * @param check throws what is wrong with it
 */
export const policy =
  (check: (json: string) => unknown): Form<string> =>
  (value) => {
    const json = typeof value === 'string' ? value : JSON.stringify(value);
    asForm(() => check(json));
    return json;
  };

/** What the service refuses is of a wrong form here. */
export function asForm<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isKeyspanError(error) ? new FormError(error.message) : error;
  }
}

const TAG_KEY = /^.{1,128}$/su;

/** Values by their keys. */
export const tags: Form<readonly { readonly key: string; readonly value: string }[]> = (value) => {
  const read = mapOf(text({ min: 0, max: 256 }))(value);
  const names = Object.keys(read);
  const wrong = names.find((name) => !TAG_KEY.test(name) || /^aws:/i.test(name));
  if (wrong !== undefined) throw new FormError('is no key of a tag', [wrong]);
  if (names.length > LIMITS.kms_tags_max) {
    throw new FormError(`has more than ${LIMITS.kms_tags_max} tags`);
  }
  return Object.entries(read).map(([key, tag]) => ({ key, value: tag }));
};
