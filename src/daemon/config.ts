import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { isAccount, isRegion } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { findHome, type Home } from '../core/home.js';
import { isAccessKeyId, isSecretAccessKey } from '../iam/credentials.js';
import { LIMITS } from '../core/limits.js';
import type { KmsSettings } from '../kms/request.js';
import { areQuotas, type QuotaSettings } from '../kms/request-quotas.js';
import {
  FormError,
  flag,
  int,
  mapOf,
  number,
  object,
  oneOf,
  optional,
  orElse,
  text,
  type Form,
  type FormOf,
} from '../protocol/form.js';
import type { AccessKeyPair } from '../iam/access-keys.js';

/**
 * What one daemon is started with. The command line wins over the home's `keyspan.yaml`, that
 * over the defaults.
 */
export interface DaemonConfig {
  readonly home: Home;
  /** of a cluster that is to be made; one that exists keeps its own */
  readonly hsms: number;
  readonly hsmsGiven: boolean;
  readonly ephemeral: boolean;
  /** between rounds in which HSMs are compared with one another (CloudHSM: unpublished) */
  readonly syncMs: number;
  /** faults on demand are allowed */
  readonly faults: boolean;
  readonly region: string;
  readonly account: string;
  /** false: the installation makes no cluster of its own; one that exists stays */
  readonly ownCluster: boolean;
  /** of the times that steps of CloudHSM take at AWS: 0 to 1 */
  readonly timeScale: number;
  /** of each account in each region (CloudHSM's quotas) */
  readonly clustersPerRegion: number;
  readonly hsmsPerRegion: number;
  /** new clusters of hsm1.medium, which AWS refuses */
  readonly allowHsm1: boolean;
  readonly eniMode: 'addresses' | 'ports';
  readonly bind: string;
  readonly startTimeoutMs: number;
  /** of the AWS door, 0 for any; undefined: 4599, or any other when that is taken */
  readonly port?: number | undefined;
  /** the access key that the account's root shall have; undefined: the one that it has */
  readonly accessKey?: AccessKeyPair | undefined;
  /**
   * `any`: an access key that is not known speaks for the root of the account that it names, or of
   * this one, and its signature is not checked
   */
  readonly auth: 'verify' | 'any';
  /** of http://127.0.0.1/metrics, 0 for any; undefined: the admin socket alone serves metrics */
  readonly metricsPort?: number | undefined;
  /** a header of AWS requests says through which service they come (kms:ViaService) */
  readonly trustServiceHeader: boolean;
  /** off unless given: what AWS's KMS does that slows tests down or makes them fail */
  readonly kms: KmsSettings;
  /** what PKCS #11 applications get: the standard, or what AWS's client SDK 5 has of it */
  readonly pkcs11Profile: 'pkcs11' | 'cloudhsm';
  /**
   * The crypto-user of a PIN that names none (KEYSPAN_P11_USER wins over the setting); undefined:
   * the one that `up` makes, on the installation's own cluster
   */
  readonly pkcs11User?: string | undefined;
  /** the file that says what is to be there from the start: absolute */
  readonly seed?: string | undefined;
  /** until a grant of KMS is good for use without its token, and until its end shows */
  readonly grantDelayMs: number;
}

/** A whole number, also as it is written on a command line. */
function count(range: { min: number; max: number }): Form<number> {
  const form = int(range);
  return (value) => form(typeof value === 'string' && value !== '' ? Number(value) : value);
}

function factor(value: unknown): number {
  const number = typeof value === 'string' && value !== '' ? Number(value) : value;
  if (typeof number === 'number' && number >= 0 && number <= 1) return number;
  throw new FormError('is not a number from 0 to 1');
}

/** @param what it is not, where the check fails */
const checked =
  (check: (value: string) => boolean, what: string): Form<string> =>
  (value) => {
    if (typeof value === 'string' && check(value)) return value;
    throw new FormError(what);
  };

const quotas = mapOf(number);

function requestQuotas(value: unknown): QuotaSettings {
  if (typeof value === 'boolean') return value;
  const read = quotas(value);
  if (areQuotas(read)) return read;
  throw new FormError('must be true, or name actions of KMS with their requests for each second');
}

const KMS_SETTINGS = {
  consistencyDelayMs: optional(int({ min: 0, max: LIMITS.kms_consistency_delay_max_ms })),
  requestQuotas: optional(requestQuotas),
};

const SETTINGS = {
  hsms: optional(count({ min: 1, max: LIMITS.hsms_per_cluster_max })),
  region: orElse(checked(isRegion, 'is not a region'), 'us-east-1'),
  account: orElse(checked(isAccount, 'is not twelve digits, in quotes'), '123456789012'),
  timeScale: orElse(factor, 0),
  keySyncSeconds: orElse(count({ min: 1, max: 86_400 }), LIMITS.repair_interval_ms / 1_000),
  clustersPerRegion: orElse(count({ min: 0, max: 1_000 }), 4),
  hsmsPerRegion: orElse(count({ min: 0, max: 1_000 }), 6),
  allowHsm1: orElse(flag, false),
  trustServiceHeader: orElse(flag, false),
  eniMode: orElse(oneOf('addresses', 'ports'), defaultEniMode()),
  bind: orElse(text({ max: 256 }), '127.0.0.1'),
  port: optional(count({ min: 0, max: 65_535 })),
  accessKeyId: optional(checked(isAccessKeyId, 'is not 3 to 128 letters and digits')),
  secretAccessKey: optional(checked(isSecretAccessKey, 'is not 1 to 128 visible characters')),
  auth: orElse(oneOf('verify', 'any'), 'verify'),
  metricsPort: optional(count({ min: 0, max: 65_535 })),
  startTimeoutSeconds: orElse(count({ min: 1, max: 3_600 }), 60),
  kms: orElse(object(KMS_SETTINGS), {}),
  pkcs11Profile: orElse(oneOf('pkcs11', 'cloudhsm'), 'pkcs11'),
  pkcs11User: optional(text({ max: LIMITS.hsm_user_name_max_chars })),
  seed: optional(text({ max: 4_096 })),
  grantDelayMs: orElse(count({ min: 0, max: LIMITS.kms_grant_delay_max_ms }), 0),
};
const settingsForm = object(SETTINGS);

/** Only Linux lets a program listen anywhere in 127/8. */
function defaultEniMode(): 'addresses' | 'ports' {
  return process.platform === 'linux' ? 'addresses' : 'ports';
}

const OPTIONS = {
  home: { type: 'string' },
  hsms: { type: 'string' },
  ephemeral: { type: 'boolean' },
  faults: { type: 'boolean' },
  'no-cluster': { type: 'boolean' },
  'time-scale': { type: 'string' },
  region: { type: 'string' },
  account: { type: 'string' },
  'eni-mode': { type: 'string' },
  bind: { type: 'string' },
  port: { type: 'string' },
  auth: { type: 'string' },
  metrics: { type: 'string' },
  seed: { type: 'string' },
  'ready-fd': { type: 'string' },
  'start-timeout': { type: 'string' },
} as const;

/** @throws KeyspanError KeyspanConfig with a sentence that names the setting */
export async function readConfig(argv: readonly string[]): Promise<DaemonConfig> {
  const { values } = parse(argv);
  const home = findHome(values.home);
  const given = Object.fromEntries(
    Object.entries({
      hsms: values.hsms,
      region: values.region,
      account: values.account,
      timeScale: values['time-scale'],
      eniMode: values['eni-mode'],
      bind: values.bind,
      port: values.port,
      auth: values.auth,
      metricsPort: values.metrics,
      seed: values.seed,
      startTimeoutSeconds: values['start-timeout'],
      pkcs11User: process.env['KEYSPAN_P11_USER'],
    }).filter(([, value]) => value !== undefined),
  );
  const read = readSettings({ ...(await readFile(home.config)), ...given });
  const { hsms, startTimeoutSeconds, keySyncSeconds, accessKeyId, ...others } = read;
  const { secretAccessKey, seed, ...settings } = others;
  const accessKey = accessKeyOf(accessKeyId, secretAccessKey);
  return {
    ...settings,
    home,
    ...(accessKey && { accessKey }),
    // the home's own file names it from there
    ...(seed !== undefined && { seed: resolve(home.root, seed) }),
    hsms: hsms ?? 3,
    hsmsGiven: hsms !== undefined,
    ephemeral: values.ephemeral ?? false,
    faults: values.faults ?? false,
    ownCluster: !(values['no-cluster'] ?? false),
    startTimeoutMs: startTimeoutSeconds * 1_000,
    syncMs: keySyncSeconds * 1_000,
  };
}

/** An id without a secret is no access key. */
function accessKeyOf(accessKeyId?: string, secretAccessKey?: string): AccessKeyPair | undefined {
  if (accessKeyId === undefined && secretAccessKey === undefined) return undefined;
  if (accessKeyId !== undefined && secretAccessKey !== undefined) {
    return { accessKeyId, secretAccessKey };
  }
  const sentence = 'The settings accessKeyId and secretAccessKey belong together.';
  throw new KeyspanError('KeyspanConfig', sentence);
}

function readSettings(given: object): FormOf<typeof settingsForm> {
  const foreign = Object.keys(given).filter((name) => !Object.hasOwn(SETTINGS, name));
  if (foreign.length > 0) {
    throw new KeyspanError('KeyspanConfig', `There is no setting ${foreign.join(', ')}.`);
  }
  try {
    return settingsForm(given);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new KeyspanError('KeyspanConfig', `The setting ${error.message}.`);
  }
}

function parse(argv: readonly string[]): { values: Parsed } {
  try {
    return parseArgs({ args: [...argv], options: OPTIONS, strict: true });
  } catch (cause) {
    throw new KeyspanError('KeyspanUsage', (cause as Error).message, { cause });
  }
}

type Parsed = ReturnType<typeof parseArgs<{ options: typeof OPTIONS }>>['values'];

/** The home's own settings; the YAML reader is loaded only when there is such a file. */
async function readFile(path: string): Promise<object> {
  let value: unknown;
  try {
    const text = readFileSync(path, 'utf8');
    value = (await import('yaml')).parse(text);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return {};
    throw new KeyspanError('KeyspanConfig', `${path} cannot be read: ${message}`, { cause });
  }
  if (value === null || value === undefined) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value;
  throw new KeyspanError('KeyspanConfig', `${path} is not a list of settings.`);
}
