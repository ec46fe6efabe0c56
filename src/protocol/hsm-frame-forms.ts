import { isHsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { bytes, id, int, list, optional, text } from './form.js';
import { LABEL_MAX_CHARS } from './objects.js';

/** Forms of members that many operations of an HSM have (hsm-frames). */
export const keyId = id(isHsmKeyId);
export const username = text({ max: LIMITS.hsm_user_name_max_chars, pattern: /^[A-Za-z0-9_]+$/ });
export const userNames = list(username, { min: 1, max: LIMITS.hsm_users_max });
export const data = bytes({ min: 1, max: LIMITS.hsm_data_max_bytes });
export const masked = bytes({ min: 64, max: LIMITS.masked_max_bytes });
export const label = text({ min: 0, max: LABEL_MAX_CHARS });
/** how far the store had come */
export const stamp = optional(int({ min: 0 }));
