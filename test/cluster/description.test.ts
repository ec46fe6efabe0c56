import { describe, expect, test } from 'vitest';
import type { HsmRecord } from '../../src/cluster/cluster.js';
import { describeCluster, type MemberView } from '../../src/cluster/description.js';
import type { ClusterId, HsmId, MaskingKeyId } from '../../src/core/ids.js';
import { parseStructure, planOf } from '../../src/protocol/aws-parser.js';
import { CLOUDHSM_RESPONSES } from '../../src/protocol/cloudhsm.js';
import { clusterRecord, hsmRecord } from '../support/cluster-record.js';

const RECORD = clusterRecord({
  id: 'cluster-igklspoyj5v' as ClusterId,
  createdMs: 1_502_423_370_069,
  subnets: { 'us-west-2a': 'subnet-fd54af9b', 'us-west-2b': 'subnet-49a1bc00' },
  maskingKeyId: '0'.repeat(32) as MaskingKeyId,
  founder: 'hsm-ted36yp5b2x' as HsmId,
  certificate: '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n',
});

const HSM = hsmRecord({ id: 'hsm-ted36yp5b2x' as HsmId, eniId: 'eni-5d7ade72' });

/** a moment at which nothing is under way */
const NOW = Date.UTC(2026, 0);

const member = (
  changes: Partial<MemberView> = {},
  record: Partial<HsmRecord> = {},
): MemberView => ({
  state: 'ACTIVE',
  isLeaving: false,
  isNew: false,
  ...changes,
  record: { ...HSM, ...record },
});

describe('a cluster', () => {
  test('is what the API shows, each member of the form that it has there', () => {
    const members = [member()];
    const cluster = describeCluster(
      { record: RECORD, members },
      [{ key: 'team', value: 'x' }],
      NOW,
    );
    expect(cluster).toEqual({
      BackupPolicy: 'DEFAULT',
      BackupRetentionPolicy: { Type: 'DAYS', Value: '90' },
      Certificates: { ClusterCertificate: RECORD.certificate },
      ClusterId: 'cluster-igklspoyj5v',
      CreateTimestamp: 1_502_423_370.069,
      Hsms: [
        {
          AvailabilityZone: 'us-west-2a',
          ClusterId: 'cluster-igklspoyj5v',
          SubnetId: 'subnet-fd54af9b',
          EniId: 'eni-5d7ade72',
          EniIp: '127.0.0.12',
          HsmId: 'hsm-ted36yp5b2x',
          HsmType: 'hsm2m.medium',
          State: 'ACTIVE',
          StateMessage: 'HSM created.',
        },
      ],
      HsmType: 'hsm2m.medium',
      Mode: 'FIPS',
      NetworkType: 'IPV4',
      SecurityGroup: expect.stringMatching(/^sg-[0-9a-f]{17}$/) as string,
      State: 'ACTIVE',
      SubnetMapping: { 'us-west-2a': 'subnet-fd54af9b', 'us-west-2b': 'subnet-49a1bc00' },
      TagList: [{ Key: 'team', Value: 'x' }],
      VpcId: 'vpc-50ae0636',
    });
    const plan = planOf(CLOUDHSM_RESPONSES.DescribeClusters);
    expect(() => parseStructure(plan, { Clusters: [cluster] }, 'json')).not.toThrow();
  });

  test('has one security group for ever, and no other has it', () => {
    const groupOf = (id: string): string | undefined =>
      describeCluster({ record: { ...RECORD, id: id as ClusterId }, members: [] }, [], NOW)
        .SecurityGroup;
    expect(groupOf('cluster-aaaaaaaaaaa')).toBe(groupOf('cluster-aaaaaaaaaaa'));
    expect(groupOf('cluster-aaaaaaaaaaa')).not.toBe(groupOf('cluster-bbbbbbbbbbb'));
  });

  test('shows neither what it does not have nor when it was not written down', () => {
    const record = { ...RECORD, certificate: null, createdMs: null };
    const cluster = describeCluster({ record, members: [] }, [], NOW);
    expect(cluster).toMatchObject({ Certificates: {}, Hsms: [], TagList: [] });
    expect(cluster).not.toHaveProperty('CreateTimestamp');
  });
});

describe('an HSM is', () => {
  const stateOf = (one: MemberView): string | undefined =>
    describeCluster({ record: RECORD, members: [one] }, [], NOW).Hsms?.[0]?.State;

  test.each<[MemberView, string]>([
    [member(), 'ACTIVE'],
    [member({ isLeaving: true }), 'DELETE_IN_PROGRESS'],
    [member({ state: 'STARTING' }, { joined: false }), 'CREATE_IN_PROGRESS'],
    [member({ state: 'JOINING' }, { joined: false }), 'CREATE_IN_PROGRESS'],
    [member({ state: 'CATCHING_UP' }), 'DEGRADED'],
    [member({ state: 'CATCHING_UP', isNew: true }), 'CREATE_IN_PROGRESS'],
    [member({ state: 'KILLED' }), 'DEGRADED'],
  ])('%#: %s', (one, state) => expect(stateOf(one)).toBe(state));

  test('degraded, and says how', () => {
    const { Hsms } = describeCluster(
      { record: RECORD, members: [member({ state: 'HUNG' })] },
      [],
      NOW,
    );
    expect(Hsms?.[0]?.StateMessage).toBe('The HSM is HUNG.');
  });
});
