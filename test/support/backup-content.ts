import { randomBytes } from 'node:crypto';
import type { BackupContent, BackupHead } from '../../src/cluster/backup-file.js';
import type { BackupRecord } from '../../src/cluster/backup-record.js';
import {
  newBackupId,
  newClusterId,
  newHsmId,
  newHsmKeyId,
  newMaskingKeyId,
} from '../../src/core/ids.js';

/** An automatic backup that is whole. */
export const backupRecord = (changes: Partial<BackupRecord> = {}): BackupRecord => ({
  id: newBackupId(),
  account: '123456789012',
  region: 'us-west-2',
  cluster: newClusterId(),
  createdMs: 0,
  readyMs: 0,
  source: null,
  copiedMs: null,
  neverExpires: false,
  deleteMs: null,
  retentionDays: 90,
  hsmType: 'hsm2m.medium',
  mode: 'FIPS',
  policy: null,
  ...changes,
});

/** What no HSM has seen, in the right form. */
export function backupContent(count: number, changes: Partial<BackupHead> = {}): BackupContent {
  const cluster = newClusterId();
  const secret = randomBytes(256);
  const head: BackupHead = {
    cluster,
    family: cluster,
    hsmType: 'hsm2m.medium',
    mode: 'FIPS',
    networkType: 'IPV4',
    retentionDays: 90,
    createdMs: 7,
    founder: newHsmId(),
    epoch: 3,
    maskingKeyId: newMaskingKeyId(),
    wrapped: { wrap: secret, seal: secret, auth: secret },
    users: randomBytes(64),
    appliancePassword: 'appliance',
    clusterKey: newHsmKeyId(),
    certificate: 'certificate',
    trustAnchor: 'anchor',
    store: 'store',
    stamp: 11,
    ...changes,
  };
  const entry = { state: 'live', epoch: 1, purpose: 'kms', revision: 1, record: null } as const;
  const keys = Array.from({ length: count }, () => {
    const id = newHsmKeyId();
    return { id, entry: { ...entry, proof: randomBytes(16) }, masked: randomBytes(200) };
  });
  return { head, keys: new Map(keys.map((key) => [key.id, key])) };
}
