// Twelve clusters of one HSM each: how long they take to start again, beside as many bare processes
// that load the module and log in.
import { CloudHSMV2Client, paginateDescribeClusters } from '@aws-sdk/client-cloudhsm-v2';
import * as sdk from '@aws-sdk/client-cloudhsm-v2';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const CLUSTERS = 12;
const ROUNDS = 3;
const LOOK_MS = 50;

const median = (samples) => [...samples].sort((a, b) => a - b)[samples.length >> 1];

async function makeClusters(endpoint) {
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new CloudHSMV2Client({ endpoint, region: 'us-east-1', credentials });
  for (let made = 0; made < CLUSTERS; made += 1) {
    const SubnetIds = [`subnet-000000${made.toString().padStart(2, '0')}`];
    const wanted = { HsmType: 'hsm2m.medium', SubnetIds };
    const { Cluster } = await client.send(new sdk.CreateClusterCommand(wanted));
    const [AvailabilityZone] = Object.keys(Cluster.SubnetMapping);
    const { ClusterId } = Cluster;
    await client.send(new sdk.CreateHsmCommand({ ClusterId, AvailabilityZone }));
  }
  for (;;) {
    let active = 0;
    for await (const { Clusters } of paginateDescribeClusters({ client }, {})) {
      active += Clusters.filter(({ Hsms }) => Hsms[0]?.State === 'ACTIVE').length;
    }
    if (active === CLUSTERS) break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  client.destroy();
}

/** @param context `root`; `cli(home, …words)`; `bareLogins(count)`, the milliseconds they take */
export async function clusters({ root, cli, bareLogins }) {
  const home = join(root, 'clusters');
  mkdirSync(home);
  writeFileSync(join(home, 'keyspan.yaml'), `clustersPerRegion: ${CLUSTERS}\nhsmsPerRegion: 28\n`);
  const up = () => cli(home, 'up', '--no-cluster', '--detach');
  try {
    up();
    await makeClusters(JSON.parse(cli(home, 'status', '--json')).endpoints.aws);
    const rounds = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const reference = await bareLogins(CLUSTERS);
      cli(home, 'down');
      const begin = performance.now();
      up();
      const value = performance.now() - begin;
      const { clusters: shown } = JSON.parse(cli(home, 'status', '--json'));
      const active = shown.filter(({ hsms }) => hsms[0]?.state === 'ACTIVE').length;
      if (active < CLUSTERS) throw new Error(`${active} of ${CLUSTERS} clusters serve`);
      rounds.push({ value, reference, ratio: value / reference });
    }
    const ratio = median(rounds.map((round) => round.ratio));
    const round = rounds.find((one) => one.ratio === ratio);
    return { name: `${CLUSTERS} clusters`, unit: 'ms', ...round };
  } finally {
    cli(home, 'down', '--delete', '--yes');
  }
}
