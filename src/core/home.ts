import { createHash } from 'node:crypto';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import type { HsmId } from './ids.js';

/** The places of one installation. */
export interface Home {
  readonly root: string;
  readonly config: string;
  /** 0700: the installation key and client keys */
  readonly secrets: string;
  readonly installationKey: string;
  readonly clientKey: string;
  /** what anybody may read: certificates */
  readonly public: string;
  readonly customerCa: string;
  readonly clientCertificate: string;
  /** the emulated roots that a cluster's certificates lead to before it is initialized */
  readonly awsRoot: string;
  readonly manufacturerRoot: string;
  readonly store: string;
  /** one directory for each HSM: its token and its configuration */
  readonly hsms: string;
  /** one sealed file for each backup */
  readonly backups: string;
  readonly logs: string;
  readonly daemonLog: string;
  /** the daemon's audit log, and one of each HSM that ever was */
  readonly audit: string;
  /** there while the installation is one that `down` deletes */
  readonly ephemeralMark: string;
  /**
   * 0700, short, outside the home: sockets live here, because their paths may not exceed 107
   * bytes
   */
  readonly runtime: string;
  readonly adminSocket: string;
  /** where PKCS #11 applications come in */
  readonly pkcs11Socket: string;
}

/** The home that is meant: the option, else KEYSPAN_HOME, else `~/.keyspan`. */
export function findHome(option?: string): Home {
  const root = resolve(option ?? process.env['KEYSPAN_HOME'] ?? join(homedir(), '.keyspan'));
  const name = createHash('sha256').update(root).digest('hex').slice(0, 12);
  const base = process.env['XDG_RUNTIME_DIR'] ?? tmpdir();
  const short = base.length <= 40 ? base : '/tmp';
  const runtime = join(short, `keyspan-${userInfo().uid}-${name}`);
  const secrets = join(root, 'secrets');
  const shared = join(root, 'public');
  const logs = join(root, 'logs');
  return {
    root,
    config: join(root, 'keyspan.yaml'),
    secrets,
    installationKey: join(secrets, 'installation.key'),
    clientKey: join(secrets, 'root.key'),
    public: shared,
    customerCa: join(shared, 'customerCA.crt'),
    clientCertificate: join(shared, 'root.crt'),
    awsRoot: join(shared, 'AWS_CloudHSM_Root-G1.crt'),
    manufacturerRoot: join(shared, 'liquid_security_certificate.crt'),
    store: join(root, 'store'),
    hsms: join(root, 'hsms'),
    backups: join(root, 'backups'),
    logs,
    daemonLog: join(logs, 'daemon.log'),
    audit: join(root, 'audit'),
    ephemeralMark: join(root, 'ephemeral'),
    runtime,
    adminSocket: join(runtime, 'admin.sock'),
    pkcs11Socket: join(runtime, 'pkcs11.sock'),
  };
}

/** The file that an HSM writes its audit log to, and the operator reads it from. */
export const hsmAuditPath = (home: Home, hsm: HsmId): string => join(home.audit, `${hsm}.jsonl`);
