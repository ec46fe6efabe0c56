import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { isAccount, isRegion } from '../core/arn.js';
import { KeyspanError } from '../core/errors.js';
import { findHome, type Home } from '../core/home.js';
import { isAccessKeyId, isSecretAccessKey } from '../iam/credentials.js';
import { LIMITS } from '../core/limits.js';
import type { AccessKeyPair } from './access-keys.js';

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
  /** faults on demand are allowed */
  readonly faults: boolean;
  readonly region: string;
  readonly account: string;
  readonly eniMode: 'addresses' | 'ports';
  readonly bind: string;
  readonly startTimeoutMs: number;
  /** of the AWS door, 0 for any; undefined: 4599, or any other when that is taken */
  readonly port?: number | undefined;
  /** the access key that the account's root shall have; undefined: the one that it has */
  readonly accessKey?: AccessKeyPair | undefined;
  /** of http://127.0.0.1/metrics, 0 for any; undefined: the admin socket alone serves metrics */
  readonly metricsPort?: number | undefined;
}

const schema = z.strictObject({
  hsms: z.coerce.number().int().min(1).max(LIMITS.hsms_per_cluster_max).optional(),
  region: z.string().refine(isRegion, 'it is not a region').default('us-east-1'),
  account: z.string().refine(isAccount, 'it is twelve digits, in quotes').default('123456789012'),
  eniMode: z.enum(['addresses', 'ports']).default(defaultEniMode()),
  bind: z.string().default('127.0.0.1'),
  port: z.coerce.number().int().min(0).max(65_535).optional(),
  accessKeyId: z.string().refine(isAccessKeyId, 'it is 3 to 128 letters and digits').optional(),
  secretAccessKey: z
    .string()
    .refine(isSecretAccessKey, 'it is 1 to 128 visible characters')
    .optional(),
  metricsPort: z.coerce.number().int().min(0).max(65_535).optional(),
  startTimeoutSeconds: z.coerce.number().min(1).max(3_600).default(60),
});

/** Only Linux lets a program listen anywhere in 127/8. */
function defaultEniMode(): 'addresses' | 'ports' {
  return process.platform === 'linux' ? 'addresses' : 'ports';
}

const OPTIONS = {
  home: { type: 'string' },
  hsms: { type: 'string' },
  ephemeral: { type: 'boolean' },
  faults: { type: 'boolean' },
  region: { type: 'string' },
  account: { type: 'string' },
  'eni-mode': { type: 'string' },
  bind: { type: 'string' },
  port: { type: 'string' },
  metrics: { type: 'string' },
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
      eniMode: values['eni-mode'],
      bind: values.bind,
      port: values.port,
      metricsPort: values.metrics,
      startTimeoutSeconds: values['start-timeout'],
    }).filter(([, value]) => value !== undefined),
  );
  const result = schema.safeParse({ ...(await readFile(home.config)), ...given });
  if (!result.success) {
    throw new KeyspanError('KeyspanConfig', sentenceOf(result.error.issues[0]));
  }
  const { hsms, startTimeoutSeconds, accessKeyId, secretAccessKey, ...settings } = result.data;
  const accessKey = accessKeyOf(accessKeyId, secretAccessKey);
  return {
    ...settings,
    home,
    ...(accessKey && { accessKey }),
    hsms: hsms ?? 3,
    hsmsGiven: hsms !== undefined,
    ephemeral: values.ephemeral ?? false,
    faults: values.faults ?? false,
    startTimeoutMs: startTimeoutSeconds * 1_000,
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

function sentenceOf(issue: z.core.$ZodIssue | undefined): string {
  if (issue?.code === 'unrecognized_keys') {
    return `There is no setting ${issue.keys.join(', ')}.`;
  }
  return `The setting ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is wrong'}.`;
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
