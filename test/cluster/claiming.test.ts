import { beforeAll, describe, expect, test } from 'vitest';
import { generateKeyPairSync, createPrivateKey } from 'node:crypto';
import { claim, prepareClaim } from '../../src/cluster/claiming.js';
import { certifyCluster, makeAuthority } from '../../src/cluster/certificates.js';
import type { ClusterRecord } from '../../src/cluster/cluster.js';
import type { RunningCluster } from '../../src/cluster/running-cluster.js';
import type { Secrets } from '../../src/cluster/secrets.js';
import { newHsmKeyId, type HsmKeyId } from '../../src/core/ids.js';
import { clusterRecord } from '../support/cluster-record.js';

const INVALID = { code: 'CloudHsmInvalidRequestException' };
let secrets: Secrets;
beforeAll(async () => {
  const [aws, manufacturer] = await Promise.all([
    makeAuthority('Emulated AWS root'),
    makeAuthority('Emulated manufacturer root'),
  ]);
  const hardware = await makeAuthority('Emulated hardware', manufacturer);
  const authorities = { aws, manufacturer, hardware };
  const authority = async (name: keyof typeof authorities): Promise<unknown> => authorities[name];
  secrets = { authority } as unknown as Secrets;
});

/** A cluster whose HSM makes keys; its record changes as the store's would. */
class Claimable {
  record: ClusterRecord;
  readonly keys = new Map<HsmKeyId, Uint8Array>();
  /** what happens between the reading of the record and its change */
  meanwhile = (): void => undefined;

  constructor(record: Partial<ClusterRecord> = {}) {
    this.record = clusterRecord({ state: 'UNINITIALIZED', ...record });
  }

  async makeClusterKey(): Promise<HsmKeyId> {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const id = newHsmKeyId();
    this.keys.set(id, privateKey.export({ format: 'der', type: 'pkcs8' }));
    return id;
  }

  /** a copy: who asks wipes it */
  async clusterKey(id: HsmKeyId): Promise<Uint8Array> {
    return Uint8Array.from(this.keys.get(id) ?? []);
  }

  async changeRecord(change: (record: ClusterRecord) => ClusterRecord): Promise<ClusterRecord> {
    this.meanwhile();
    return (this.record = change(this.record));
  }

  get cluster(): RunningCluster {
    return this as unknown as RunningCluster;
  }

  /** As the operator's CA signs it. */
  async signed(): Promise<{ signedCert: string; trustAnchor: string }> {
    const operator = await makeAuthority('Operator');
    const [privateKey = new Uint8Array()] = this.keys.values();
    const subject = { operator, cluster: this.record.id, privateKey, addresses: [] };
    return { signedCert: await certifyCluster(subject), trustAnchor: operator.certificate };
  }
}

const claimed = (record: ClusterRecord): ClusterRecord => ({ ...record, state: 'INITIALIZED' });

describe('what is to be signed', () => {
  test('is made once, of a key of the cluster', async () => {
    const made = new Claimable();
    await prepareClaim(made.cluster, secrets);
    const { ceremony, clusterKey } = made.record;
    expect(ceremony?.csr).toMatch(/^-----BEGIN CERTIFICATE REQUEST-----/);
    expect([...made.keys.keys()]).toEqual([clusterKey]);
    await prepareClaim(made.cluster, secrets);
    expect(made.record.ceremony).toBe(ceremony);
    // the copy that was asked for is wiped, the key is not
    const [key = new Uint8Array()] = made.keys.values();
    expect(() =>
      createPrivateKey({ key: Buffer.from(key), format: 'der', type: 'pkcs8' }),
    ).not.toThrow();
  });

  test('goes on where a crash left it', async () => {
    const made = new Claimable();
    made.record = { ...made.record, clusterKey: await made.makeClusterKey() };
    await prepareClaim(made.cluster, secrets);
    expect(made.keys.size).toBe(1);
    expect(made.record.ceremony).not.toBeNull();
  });

  test('is not noted when its HSM is gone while it makes the key', async () => {
    const made = new Claimable();
    made.meanwhile = () => void (made.record = { ...made.record, founder: null });
    await expect(prepareClaim(made.cluster, secrets)).rejects.toMatchObject({
      code: 'KeyspanRefused',
    });
    expect(made.record).toMatchObject({ clusterKey: null, ceremony: null });
  });

  test('is not kept when its HSM is gone meanwhile', async () => {
    const made = new Claimable();
    made.record = { ...made.record, clusterKey: await made.makeClusterKey() };
    made.meanwhile = () => void (made.record = { ...made.record, clusterKey: null, founder: null });
    await prepareClaim(made.cluster, secrets);
    expect(made.record.ceremony).toBeNull();
    made.meanwhile = () => undefined;
    await expect(prepareClaim(made.cluster, secrets)).rejects.toMatchObject({
      code: 'KeyspanRefused',
    });
  });
});

describe('a claim', () => {
  test('is taken once', async () => {
    const made = new Claimable();
    await prepareClaim(made.cluster, secrets);
    const signed = await made.signed();
    await claim(made.cluster, signed, claimed, Date.now());
    expect(made.record).toMatchObject({ state: 'INITIALIZED', ceremony: null });
    expect(made.record.certificate?.trim()).toBe(signed.signedCert.trim());
    await expect(claim(made.cluster, signed, claimed, Date.now())).rejects.toMatchObject(INVALID);
  });

  test('that comes second at the same time is refused', async () => {
    const made = new Claimable();
    await prepareClaim(made.cluster, secrets);
    const signed = await made.signed();
    made.meanwhile = () => void (made.record = { ...made.record, ceremony: null });
    const late = claim(made.cluster, signed, claimed, Date.now());
    await expect(late).rejects.toMatchObject({
      ...INVALID,
      message: `Cluster '${made.record.id}' was initialized already, or has another HSM now.`,
    });
    expect(made.record.certificate).toBeNull();
  });

  test('of a cluster without an HSM, or with the certificate of another, is refused', async () => {
    const [made, other] = [new Claimable(), new Claimable()];
    await prepareClaim(other.cluster, secrets);
    const signed = await other.signed();
    await expect(claim(made.cluster, signed, claimed, Date.now())).rejects.toMatchObject({
      ...INVALID,
      message: `Cluster '${made.record.id}' has no HSM yet whose certificate could be signed.`,
    });
    await prepareClaim(made.cluster, secrets);
    await expect(claim(made.cluster, signed, claimed, Date.now())).rejects.toMatchObject(INVALID);
    expect(made.record.certificate).toBeNull();
  });
});
