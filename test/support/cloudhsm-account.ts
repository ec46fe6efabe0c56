import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { callAdmin } from '../../src/cli/admin-client.js';
import type { DaemonOptions } from '../../src/cli/daemon-process.js';
import { DaemonFixture, eventually } from './daemon-fixture.js';
import { OpensslAuthorities } from './openssl-authorities.js';

export const REGION = 'us-west-2';
export const SUBNETS = ['subnet-fd54af9b', 'subnet-49a1bc00'];

/** An installation without a cluster of its own, as a client of CloudHSM sees it. */
export class CloudHsmAccount implements AsyncDisposable {
  readonly daemon: DaemonFixture;
  client: sdk.CloudHSMV2Client;
  url = '';

  private constructor(daemon: DaemonFixture) {
    this.daemon = daemon;
    this.client = new sdk.CloudHSMV2Client({});
  }

  static async open(options: DaemonOptions = {}): Promise<CloudHsmAccount> {
    const account = new CloudHsmAccount(DaemonFixture.prepare());
    await account.up(options);
    return account;
  }

  async up(options: DaemonOptions = {}): Promise<void> {
    const status = await this.daemon.up({ cluster: false, port: 0, region: REGION, ...options });
    this.url = status.endpoints.aws;
    this.client.destroy();
    this.client = this.in(REGION);
  }

  in(region: string): sdk.CloudHSMV2Client {
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
    return new sdk.CloudHSMV2Client({ endpoint: this.url, region, credentials, maxAttempts: 1 });
  }

  async create(input: Partial<sdk.CreateClusterCommandInput> = {}): Promise<sdk.Cluster> {
    const wanted = { HsmType: 'hsm2m.medium', SubnetIds: SUBNETS, ...input };
    return (await this.client.send(new sdk.CreateClusterCommand(wanted))).Cluster ?? {};
  }

  async createHsm(
    ClusterId: string | undefined,
    more: Partial<sdk.CreateHsmCommandInput> = {},
  ): Promise<sdk.Hsm> {
    const wanted = { ClusterId, AvailabilityZone: `${REGION}a`, ...more };
    return (await this.client.send(new sdk.CreateHsmCommand(wanted))).Hsm ?? { HsmId: undefined };
  }

  async deleteHsm(ClusterId: string | undefined, hsm: object): Promise<string | undefined> {
    const input = { ClusterId, ...hsm };
    return (await this.client.send(new sdk.DeleteHsmCommand(input))).HsmId;
  }

  async clusters(): Promise<sdk.Cluster[]> {
    return (await this.client.send(new sdk.DescribeClustersCommand({}))).Clusters ?? [];
  }

  async cluster(id: string | undefined): Promise<sdk.Cluster> {
    return (await this.clusters()).find(({ ClusterId }) => ClusterId === id) ?? {};
  }

  delete(ClusterId: string | undefined): Promise<sdk.DeleteClusterCommandOutput> {
    return this.client.send(new sdk.DeleteClusterCommand({ ClusterId }));
  }

  /** Until its first HSM is shown as active, with what is to be verified. */
  claimable(id: string | undefined): Promise<sdk.Cluster> {
    return eventually(async () => {
      const cluster = await this.cluster(id);
      return cluster.Hsms?.[0]?.State === 'ACTIVE' ? cluster : undefined;
    }, 'the first HSM is active');
  }

  /** Claims the cluster with a CA of its operator's. @returns that CA, PEM */
  async initialize(ClusterId: string | undefined): Promise<string> {
    const { Certificates } = await this.claimable(ClusterId);
    using authorities = new OpensslAuthorities();
    // a key of RSA takes a while to be found
    const TrustAnchor = authorities.certify('operator', { key: 'P-256' });
    const SignedCert = authorities.signRequest(Certificates?.ClusterCsr ?? '', 'operator');
    const input = { ClusterId, SignedCert, TrustAnchor };
    await this.client.send(new sdk.InitializeClusterCommand(input));
    return TrustAnchor;
  }

  async activate(cluster: string | undefined, password = 'changeme-please'): Promise<void> {
    await callAdmin(this.daemon.home, 'ClusterActivate', { cluster, password });
  }

  /** Until so many HSMs are there, and all are active. */
  active(id: string | undefined, count: number): Promise<sdk.Hsm[]> {
    return eventually(async () => {
      const { Hsms = [] } = await this.cluster(id);
      const isWhole = Hsms.length === count && Hsms.every(({ State }) => State === 'ACTIVE');
      return isWhole ? Hsms : undefined;
    }, `${count} HSMs are active`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.destroy();
    await this.daemon[Symbol.asyncDispose]();
  }
}
