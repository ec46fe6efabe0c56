import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Member, Members, Shape } from '../../src/protocol/aws-shapes.js';
import {
  BACKUP_STATES,
  CLOUDHSM_REQUESTS,
  CLOUDHSM_RESPONSES,
  CLUSTER_STATES,
  HSM_STATES,
  isCloudHsmAction,
  parseCloudHsmRequest,
  type CloudHsmAction,
} from '../../src/protocol/cloudhsm.js';
import { serviceModel, type ModelShape } from '../support/botocore-model.js';

const ACTIONS = Object.keys(CLOUDHSM_REQUESTS) as CloudHsmAction[];
const model = serviceModel('cloudhsmv2', '2017-04-28');

/** Actions that came after the models that can be installed. */
const NEWER_ACTIONS = ['DeleteResourcePolicy', 'GetResourcePolicy', 'PutResourcePolicy'];

/** Members that came after them, by the structure that has them. */
const NEWER_MEMBERS: Readonly<Record<string, readonly string[]>> = {
  CreateClusterRequest: ['Mode', 'NetworkType'],
  DescribeBackupsRequest: ['Shared'],
  ModifyClusterRequest: ['HsmType'],
  Cluster: ['HsmTypeRollbackExpiration', 'Mode', 'NetworkType'],
  Hsm: ['EniIpV6', 'HsmType'],
  Backup: ['BackupArn', 'HsmType', 'Mode'],
};

/** What else changed since: the path of a shape, with what the old models say of it. */
const CHANGED: Readonly<Record<string, string>> = {
  'Cluster.HsmType': 'string (hsm1\\.medium)',
  'CreateClusterRequest.HsmType': 'string (hsm1\\.medium) required',
  'CreateClusterRequest.SourceBackupId': 'string backup-[2-7a-zA-Z]{11,16}',
  'DescribeBackupsRequest.Filters': 'map',
  'DescribeClustersRequest.Filters': 'map',
  'ModifyClusterRequest.BackupRetentionPolicy': 'structure required',
  ...Object.fromEntries(
    [
      'InitializeClusterRequest.SignedCert',
      'InitializeClusterRequest.TrustAnchor',
      'Certificates.ClusterCsr',
      'Certificates.HsmCertificate',
      'Certificates.AwsHardwareCertificate',
      'Certificates.ManufacturerHardwareCertificate',
      'Certificates.ClusterCertificate',
    ].map((path) => {
      const required = path.startsWith('Init') ? ' required' : '';
      return [path, `string ..5000 [a-zA-Z0-9+-/=\\s]*${required}`];
    }),
  ),
  'Cluster.State': `string enum ${oldClusterStates()}`,
  'InitializeClusterResponse.State': `string enum ${oldClusterStates()}`,
  // an answer's list of tags is empty where there are none, whatever the model says
  'ListTagsResponse.TagList': 'list 1..50 required',
  'Cluster.TagList': 'list 1..50',
  'Backup.TagList': 'list 1..50',
};

function oldClusterStates(): string {
  const newer = ['MODIFY_IN_PROGRESS', 'PENDING_ROLLBACK', 'ROLLBACK_IN_PROGRESS'];
  return CLUSTER_STATES.filter((state) => !newer.includes(state))
    .toSorted()
    .join('|');
}

const bounds = (min: number | undefined, max: number | undefined): string =>
  min === undefined && max === undefined ? '' : `${min ?? ''}..${max ?? ''}`;

const described = (parts: readonly (string | undefined)[]): string =>
  parts.filter((part) => part !== undefined && part !== '').join(' ');

function describeOurs(shape: Member): string {
  const all = shape as Member & { min?: number; max?: number };
  const values = shape.kind === 'string' ? shape.values : undefined;
  return described([
    shape.kind,
    bounds(all.min, all.max),
    shape.kind === 'string' ? shape.pattern?.text : undefined,
    values && `enum ${values.toSorted().join('|')}`,
    shape.required && 'required',
  ]);
}

function describeTheirs(shape: ModelShape, required: boolean): string {
  return described([
    shape.type,
    bounds(shape.min, shape.max),
    shape.pattern,
    shape.enum && `enum ${shape.enum.toSorted().join('|')}`,
    required ? 'required' : undefined,
  ]);
}

/** Every difference between our shape and the model's, by its path; structures by their name. */
function differences(members: Members, name: string): [string, string][] {
  const theirs = model.shapes[name];
  if (!theirs?.members) throw new Error(`the model has no structure ${name}`);
  const newer = NEWER_MEMBERS[name] ?? [];
  const expected = [...Object.keys(theirs.members), ...newer].toSorted();
  expect(Object.keys(members).toSorted(), name).toEqual(expected);
  return Object.entries(theirs.members).flatMap(([member, { shape }]) => {
    const ours = members[member];
    const required = theirs.required?.includes(member) ?? false;
    return ours ? compare(ours, { name: shape, path: `${name}.${member}`, required }) : [];
  });
}

function compare(
  ours: Member,
  theirs: { name: string; path: string; required: boolean },
): [string, string][] {
  const { name, path, required } = theirs;
  const shape = model.shapes[name];
  if (!shape) throw new Error(`the model has no shape ${name}`);
  const said = describeTheirs(shape, required);
  const found: [string, string][] = describeOurs(ours) === said ? [] : [[path, said]];
  if (ours.kind === 'structure') return [...found, ...differences(ours.members, name)];
  const inner = (one: Shape | undefined, other: { shape: string } | undefined, end: string) =>
    one && other ? compare(one, { name: other.shape, path: path + end, required: false }) : [];
  if (ours.kind === 'list') return [...found, ...inner(ours.of, shape.member, '[]')];
  if (ours.kind !== 'map') return found;
  const values = inner(ours.of, shape.value, '{}');
  return [...found, ...inner(ours.key, shape.key, ' key'), ...values];
}

describe("the tables agree with AWS's model, but for what is newer than it", () => {
  test('has every action', () => {
    const known = Object.keys(model.operations);
    expect(ACTIONS.toSorted()).toEqual([...known, ...NEWER_ACTIONS].toSorted());
    expect(ACTIONS).toHaveLength(18);
    const commands = Object.keys(sdk).filter((one) => /^[A-Z]\w+Command$/.test(one));
    const names = commands.map((one) => one.slice(0, -'Command'.length));
    expect([...names, ...NEWER_ACTIONS].toSorted()).toEqual(ACTIONS.toSorted());
  });

  test('has every member, with its bounds and its pattern', () => {
    const found = new Map<string, string>();
    for (const [action, { input, output }] of Object.entries(model.operations)) {
      if (!isCloudHsmAction(action)) throw new Error(action);
      for (const [path, said] of [
        ...differences(CLOUDHSM_REQUESTS[action], input.shape),
        ...differences(CLOUDHSM_RESPONSES[action], output.shape),
      ]) {
        found.set(path, said);
      }
    }
    expect(Object.fromEntries(found)).toEqual(CHANGED);
  });
});

/** The members of the SDK's interfaces, from its declarations: it has no model at run time. */
function sdkMembers(name: string): string[] {
  const main = createRequire(import.meta.url).resolve('@aws-sdk/client-cloudhsm-v2');
  const path = join(dirname(main), '../dist-types/models/models_0.d.ts');
  const text = readFileSync(path, 'utf8');
  const body = new RegExp(`export interface ${name} \\{([\\s\\S]*?)\\n\\}`).exec(text)?.[1];
  expect(body, name).toBeDefined();
  return [...(body ?? '').matchAll(/^ {4}(\w+)\??:/gm)].map(([, member = '']) => member);
}

describe('the tables agree with the SDK, but for what is newer than it', () => {
  test.each(ACTIONS.filter((action) => !NEWER_ACTIONS.includes(action)))('%s', (action) => {
    const sides: [string, Members][] = [
      [`${action}Request`, CLOUDHSM_REQUESTS[action]],
      [`${action}Response`, CLOUDHSM_RESPONSES[action]],
    ];
    for (const [name, members] of sides) {
      const expected = [...sdkMembers(name), ...(NEWER_MEMBERS[name] ?? [])];
      expect(Object.keys(members).toSorted(), name).toEqual(expected.toSorted());
    }
  });

  test('the states', () => {
    expect(oldClusterStates().split('|')).toEqual(Object.values(sdk.ClusterState).toSorted());
    expect(HSM_STATES.toSorted()).toEqual(Object.values(sdk.HsmState).toSorted());
    expect(BACKUP_STATES.toSorted()).toEqual(Object.values(sdk.BackupState).toSorted());
  });
});

/** The code and the sentence that a request is refused with. */
function refusal(action: string, params: unknown): string {
  try {
    parseCloudHsmRequest(action, params);
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
  return 'none';
}

const CLUSTER = 'cluster-igklspoyj5v';
const CREATE = { HsmType: 'hsm2m.medium', SubnetIds: ['subnet-49a1bc00'] };

describe('a good request', () => {
  test.each<[CloudHsmAction, object]>([
    ['CreateCluster', { ...CREATE, Mode: 'NON_FIPS', NetworkType: 'DUALSTACK' }],
    ['CreateCluster', { ...CREATE, SourceBackupId: 'backup-ro5c4er4aac' }],
    [
      'CreateCluster',
      {
        ...CREATE,
        SourceBackupId: 'arn:aws:cloudhsm:us-west-2:123456789012:backup/backup-ro5c4er4aac',
      },
    ],
    [
      'CreateHsm',
      { ClusterId: CLUSTER, AvailabilityZone: 'us-gov-west-1a', IpAddress: '10.0.1.2' },
    ],
    ['InitializeCluster', { ClusterId: CLUSTER, SignedCert: '-----BEGIN', TrustAnchor: 'a,b.c\n' }],
    ['TagResource', { ResourceId: CLUSTER, TagList: [{ Key: 'Größe: 1/2', Value: '' }] }],
    ['GetResourcePolicy', {}],
  ])('%s %j', (action, params) => {
    expect(refusal(action, params)).toBe('none');
  });

  test('has filters by name', () => {
    const { params } = parseCloudHsmRequest('DescribeClusters', {
      Filters: { clusterIds: [CLUSTER], states: ['ACTIVE', 'INITIALIZED'] },
    });
    expect(params).toEqual({
      Filters: new Map([
        ['clusterIds', [CLUSTER]],
        ['states', ['ACTIVE', 'INITIALIZED']],
      ]),
    });
  });
});

const one = (problem: string): string =>
  `ValidationException: 1 validation error detected: ${problem}`;
const broken = (value: string, path: string, constraint: string): string =>
  one(`Value '${value}' at '${path}' failed to satisfy constraint: Member must ${constraint}`);
const form = (text: string): string => `satisfy regular expression pattern: ${text}`;

describe('each pattern, violated once', () => {
  test.each<[CloudHsmAction, object, string]>([
    [
      'DeleteCluster',
      { ClusterId: 'cluster-1' },
      broken('cluster-1', 'clusterId', form('cluster-[2-7a-zA-Z]{11,16}')),
    ],
    [
      'DeleteHsm',
      { ClusterId: CLUSTER, HsmId: 'hsm-ted36yp5b2x0' },
      broken('hsm-ted36yp5b2x0', 'hsmId', form('hsm-[2-7a-zA-Z]{11,16}')),
    ],
    [
      'DeleteHsm',
      { ClusterId: CLUSTER, EniId: 'eni-5d7' },
      broken('eni-5d7', 'eniId', form('eni-[0-9a-fA-F]{8,17}')),
    ],
    [
      'DeleteHsm',
      { ClusterId: CLUSTER, EniIp: '::1' },
      broken('::1', 'eniIp', form('\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}')),
    ],
    [
      'DeleteBackup',
      { BackupId: 'backup-' },
      broken('backup-', 'backupId', form('backup-[2-7a-zA-Z]{11,16}')),
    ],
    [
      'ListTags',
      { ResourceId: 'hsm-ted36yp5b2x' },
      broken('hsm-ted36yp5b2x', 'resourceId', form('(?:cluster|backup)-[2-7a-zA-Z]{11,16}')),
    ],
    [
      'CreateCluster',
      { ...CREATE, HsmType: 'hsm-large' },
      broken('hsm-large', 'hsmType', form('((p|)hsm[0-9][a-z.]*\\.[a-zA-Z]+)')),
    ],
    [
      'CreateCluster',
      { ...CREATE, Mode: 'fips' },
      broken('fips', 'mode', 'satisfy enum value set: [FIPS, NON_FIPS]'),
    ],
    [
      'CreateCluster',
      { ...CREATE, NetworkType: 'IPV6' },
      broken('IPV6', 'networkType', 'satisfy enum value set: [IPV4, DUALSTACK]'),
    ],
    [
      'CreateCluster',
      { ...CREATE, SubnetIds: [] },
      broken('[]', 'subnetIds', 'have length greater than or equal to 1'),
    ],
    [
      'CreateCluster',
      { ...CREATE, SubnetIds: ['subnet-x'] },
      broken(
        '[subnet-x]',
        'subnetIds',
        `satisfy constraint: [Member must ${form('subnet-[0-9a-fA-F]{8,17}')}]`,
      ),
    ],
    [
      'CreateCluster',
      { ...CREATE, BackupRetentionPolicy: { Type: 'DAYS', Value: '1234' } },
      broken('1234', 'backupRetentionPolicy.value', 'have length less than or equal to 3'),
    ],
    [
      'CopyBackupToRegion',
      { BackupId: 'backup-ro5c4er4aac', DestinationRegion: 'mars' },
      broken(
        'mars',
        'destinationRegion',
        form('[a-z]{2}(-(gov))?-(east|west|north|south|central){1,2}-\\d'),
      ),
    ],
    [
      'CreateHsm',
      { ClusterId: CLUSTER, AvailabilityZone: 'us-west-2' },
      broken(
        'us-west-2',
        'availabilityZone',
        form('[a-z]{2}(-(gov))?-(east|west|north|south|central){1,2}-\\d[a-z]'),
      ),
    ],
    [
      'InitializeCluster',
      { ClusterId: CLUSTER, SignedCert: 'a_b', TrustAnchor: '' },
      broken('a_b', 'signedCert', form('[a-zA-Z0-9+-/=\\s]*')),
    ],
    [
      'TagResource',
      { ResourceId: CLUSTER, TagList: [{ Key: 'a', Value: '<b>' }] },
      broken('<b>', 'tagList.1.member.value', form('^([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)$')),
    ],
    [
      'DescribeClusters',
      { MaxResults: 26 },
      broken('26', 'maxResults', 'have value less than or equal to 25'),
    ],
    [
      'DescribeBackups',
      { MaxResults: 0 },
      broken('0', 'maxResults', 'have value greater than or equal to 1'),
    ],
    [
      'DescribeClusters',
      { NextToken: 'x'.repeat(257) },
      broken('x'.repeat(257), 'nextToken', 'have length less than or equal to 256'),
    ],
    [
      'DescribeClusters',
      { Filters: { 'a b': ['x', 'y'], c: [] } },
      one(
        "Value '{a b=[x, y], c=[]}' at 'filters' failed to satisfy constraint: " +
          'Map keys must satisfy constraint: ' +
          '[Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+]',
      ),
    ],
    [
      'GetResourcePolicy',
      { ResourceArn: 'arn:aws:cloudhsm:us-west-2:1:backup/backup-ro5c4er4aac' },
      expect.stringContaining("at 'resourceArn' failed to satisfy constraint") as string,
    ],
    [
      'CreateHsm',
      { ClusterId: CLUSTER },
      one("Value null at 'availabilityZone' failed to satisfy constraint: Member must not be null"),
    ],
  ])('%s %j', (action, params, sentence) => {
    expect(refusal(action, params)).toEqual(sentence);
  });

  test('too many filters', () => {
    const names = Array.from({ length: 31 }, (_, at) => [`f${at}`, ['x']]);
    expect(refusal('DescribeClusters', { Filters: Object.fromEntries(names) as object })).toMatch(
      /at 'filters' failed to satisfy constraint: Member must have length less than or equal to 3/,
    );
  });
});

describe('what is not well-formed', () => {
  test.each<[CloudHsmAction, unknown]>([
    ['DescribeClusters', []],
    ['DescribeClusters', { Filters: [] }],
    ['DescribeClusters', { Filters: { clusterIds: 'x' } }],
    ['DescribeClusters', { Filters: { clusterIds: [7] } }],
    ['DeleteCluster', { ClusterId: 7 }],
    ['ModifyBackupAttributes', { BackupId: 'backup-ro5c4er4aac', NeverExpires: 'yes' }],
  ])('%s %j', (action, params) => {
    expect(refusal(action, params)).toMatch(/^SerializationException: ./);
  });

  test('an action that AWS does not have', () => {
    for (const action of ['', 'describeClusters', '__proto__', 'ListKeys']) {
      expect(refusal(action, {})).toMatch(/^UnknownOperationException/);
    }
  });
});
