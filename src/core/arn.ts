/** The parts of an Amazon Resource Name, `arn:partition:service:region:account:resource`. */
export interface Arn {
  readonly partition: string;
  readonly service: string;
  readonly region: string;
  readonly account: string;
  /** all that follows the fifth colon */
  readonly resource: string;
}

const ARN = /^arn:([a-z-]+):([a-z0-9-]+):([a-z0-9-]*):([0-9]{12}|aws)?:(.+)$/;
const ACCOUNT = /^[0-9]{12}$/;
/** An AWS region's name (KMS API, RegionType). */
export const REGION = /^([a-z]+-){2,3}\d+$/;

/** Reads an ARN; `undefined` when `text` is none. */
export function parseArn(text: string): Arn | undefined {
  const match = ARN.exec(text);
  if (!match) return undefined;
  const [, partition = '', service = '', region = '', account = '', resource = ''] = match;
  return { partition, service, region, account, resource };
}

export function formatArn(arn: Arn): string {
  return `arn:${arn.partition}:${arn.service}:${arn.region}:${arn.account}:${arn.resource}`;
}

/** An AWS account: twelve digits. */
export const isAccount = (text: string): boolean => ACCOUNT.test(text);
/** An AWS region's name (KMS API, RegionType). */
export const isRegion = (text: string): boolean => REGION.test(text);

/** `arn:aws:iam::ACCOUNT:root` */
export const rootArn = (account: string): string => `arn:aws:iam::${account}:root`;
/** `arn:aws:kms:REGION:ACCOUNT:key/ID` */
export const keyArn = (region: string, account: string, id: string): string =>
  `arn:aws:kms:${region}:${account}:key/${id}`;
/** `arn:aws:kms:REGION:ACCOUNT:alias/NAME`; `name` begins with `alias/` */
export const aliasArn = (region: string, account: string, name: string): string =>
  `arn:aws:kms:${region}:${account}:${name}`;
