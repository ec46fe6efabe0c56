// From CreateCluster to an active cluster of three HSMs, beside the start of three bare processes.
// What the operator does with openssl is not counted.
import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { callAdmin } from '../../dist/cli/admin-client.js';
import { findHome } from '../../dist/core/home.js';

const HSMS = 3;
const ROUNDS = 3;
const LOOK_MS = 5;
const REGION = 'us-east-1';

const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];

/** The operator's CA, and the cluster's certificate signed by it. */
function sign(folder, csr) {
  const openssl = (...args) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  writeFileSync(join(folder, 'cluster.csr'), csr);
  const subject = ['-subj', '/CN=The operator', '-nodes', '-newkey', 'rsa:2048'];
  openssl('req', '-x509', ...subject, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '9');
  const ca = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial'];
  openssl('x509', '-req', '-in', 'cluster.csr', ...ca, '-out', 'cluster.crt', '-days', '9');
  const read = (name) => readFileSync(join(folder, name), 'utf8');
  return { SignedCert: read('cluster.crt'), TrustAnchor: read('ca.crt') };
}

/** Until the cluster's backup was taken, which is work of its own. */
async function backedUp(client, ClusterId) {
  const Filters = { clusterIds: [ClusterId], states: ['READY'] };
  for (;;) {
    const { Backups } = await client.send(new sdk.DescribeBackupsCommand({ Filters }));
    if (Backups.length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** @returns the milliseconds that were not the operator's, and whose cluster it is */
async function ceremony({ client, home, folder }) {
  const begin = performance.now();
  const wanted = {
    HsmType: 'hsm2m.medium',
    SubnetIds: ['subnet-0000000a', 'subnet-0000000b', 'subnet-0000000c'],
  };
  const { Cluster } = await client.send(new sdk.CreateClusterCommand(wanted));
  const { ClusterId } = Cluster;
  const create = (letter) => {
    const AvailabilityZone = `${REGION}${letter}`;
    return client.send(new sdk.CreateHsmCommand({ ClusterId, AvailabilityZone }));
  };
  const until = async (active) => {
    for (;;) {
      const Filters = { clusterIds: [ClusterId] };
      const { Clusters } = await client.send(new sdk.DescribeClustersCommand({ Filters }));
      const [now] = Clusters;
      if (now.Hsms.filter(({ State }) => State === 'ACTIVE').length === active) return now;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  };
  await create('a');
  const { Certificates } = await until(1);
  const paused = performance.now();
  const signed = sign(folder, Certificates.ClusterCsr);
  const operatorMs = performance.now() - paused;
  await client.send(new sdk.InitializeClusterCommand({ ClusterId, ...signed }));
  await callAdmin(home, 'ClusterActivate', { cluster: ClusterId, password: 'changeme-please' });
  await create('b');
  await create('c');
  const { State } = await until(HSMS);
  if (State !== 'ACTIVE') throw new Error(`the cluster is ${State}`);
  return { value: performance.now() - begin - operatorMs, ClusterId };
}

/** @param context `root`; `cli(home, …words)`; `bareLogins(count)`, the milliseconds they take */
export async function ceremonies({ root, cli, bareLogins }) {
  const at = join(root, 'ceremony');
  mkdirSync(at);
  writeFileSync(join(at, 'keyspan.yaml'), 'hsmsPerRegion: 28\n');
  try {
    cli(at, 'up', '--no-cluster', '--detach');
    const endpoint = JSON.parse(cli(at, 'status', '--json')).endpoints.aws;
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
    const client = new sdk.CloudHSMV2Client({ endpoint, region: REGION, credentials });
    const rounds = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const reference = await bareLogins(HSMS);
      const { value, ClusterId } = await ceremony({ client, home: findHome(at), folder: root });
      rounds.push({ value, reference, ratio: value / reference });
      await backedUp(client, ClusterId);
    }
    client.destroy();
    const ratio = median(rounds.map((round) => round.ratio));
    return { name: 'ceremony', unit: 'ms', ...rounds.find((one) => one.ratio === ratio) };
  } finally {
    cli(at, 'down', '--delete', '--yes');
  }
}
