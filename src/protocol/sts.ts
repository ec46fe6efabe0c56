import {
  integer,
  list,
  pattern,
  required,
  string,
  structure,
  type Members,
  type ParamsOf,
} from './aws-shapes.js';
import { TAG_KEYS, TAGS } from './iam.js';

/** The members of STS's requests (AWS STS API, 2011-06-15), of the actions that are built. */

/** AWS's pattern, whose last range stands for all planes beyond the first. */
const ARN = string({
  min: 20,
  max: 2_048,
  pattern: pattern('[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u0085\\u00A0-\\uD7FF\\uE000-\\uFFFD]+'),
});
const device = {
  SerialNumber: string({ min: 9, max: 256, pattern: pattern('[\\w+=/:,.@-]*') }),
  TokenCode: string({ min: 6, max: 6, pattern: pattern('[\\d]*') }),
};
const NAME = pattern('[\\w+=,.@-]*');

export const STS_REQUESTS = {
  AssumeRole: {
    RoleArn: required(ARN),
    RoleSessionName: required(string({ min: 2, max: 64, pattern: NAME })),
    PolicyArns: list(structure({ arn: ARN })),
    Policy: string({
      min: 1,
      max: 2_048,
      pattern: pattern('[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+'),
    }),
    DurationSeconds: integer({ min: 900, max: 43_200 }),
    Tags: TAGS,
    TransitiveTagKeys: TAG_KEYS,
    ExternalId: string({ min: 2, max: 1_224, pattern: pattern('[\\w+=,.@:\\/-]*') }),
    ...device,
    SourceIdentity: string({ min: 2, max: 64, pattern: NAME }),
  },
  GetAccessKeyInfo: {
    AccessKeyId: required(string({ min: 16, max: 128, pattern: pattern('[\\w]*') })),
  },
  GetCallerIdentity: {},
  GetSessionToken: { DurationSeconds: integer({ min: 900, max: 129_600 }), ...device },
} as const satisfies Record<string, Members>;

export type StsParams<A extends keyof typeof STS_REQUESTS> = ParamsOf<(typeof STS_REQUESTS)[A]>;
