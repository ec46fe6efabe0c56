import { existsSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

/** One shape of a service's model, as far as it is looked at. */
export interface ModelShape {
  readonly type: string;
  readonly required?: readonly string[];
  readonly members?: Readonly<Record<string, { readonly shape: string }>>;
  readonly member?: { readonly shape: string };
  readonly key?: { readonly shape: string };
  readonly value?: { readonly shape: string };
  readonly enum?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  readonly pattern?: string;
}

export interface ServiceModel {
  readonly operations: Readonly<
    Record<string, { readonly input: { shape: string }; readonly output: { shape: string } }>
  >;
  readonly shapes: Readonly<Record<string, ModelShape>>;
}

/** Where Debian's awscli keeps its models: with it, or in python3-botocore of older releases. */
const PLACES = ['awscli/botocore', 'botocore'].flatMap((folder) =>
  ['', '.gz'].map((end) => ({ root: `/usr/lib/python3/dist-packages/${folder}/data`, end })),
);

/** AWS's model of a service. @throws Error when awscli is not installed (scripts/test does it) */
export function serviceModel(service: string, version: string): ServiceModel {
  const paths = PLACES.map(({ root, end }) => `${root}/${service}/${version}/service-2.json${end}`);
  const path = paths.find((one) => existsSync(one));
  if (path === undefined) throw new Error('install awscli: apt-get install awscli');
  const bytes = readFileSync(path);
  const text = path.endsWith('.gz') ? gunzipSync(bytes) : bytes;
  return JSON.parse(text.toString('utf8')) as ServiceModel;
}
