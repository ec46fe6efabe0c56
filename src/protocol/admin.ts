import { anything, flag, id, int, list, object, optional, orElse, text } from './form.js';
import type { ChainHead } from '../core/audit-seal.js';
import type { ListedFault } from '../core/fault-rules.js';
import { REGION } from '../core/arn.js';
import { isHsmKeyId } from '../core/ids.js';
import { LIMITS } from '../core/limits.js';
import { HSM_SESSION_ACTIONS, type HsmSessionResults } from './hsm-session.js';
import { POLICY_QUESTION, type PolicyExplanation } from './policy-explanation.js';

/**
 * The operator's own interface: `POST /v1/<Action>` with a JSON body on the daemon's unix
 * socket. An answer is 200 with the
 * result, or 4xx/5xx with `{"error":{"code","message"}}`. Who can open the socket is the
 * operator: it is 0600 in a 0700 directory.
 */
export const HSM_STATES = [
  'STARTING',
  'JOINING',
  'CATCHING_UP',
  'ACTIVE',
  'DEGRADED',
  'HUNG',
  'PAUSED',
  'KILLED',
  'STOPPED',
  'FAILED',
] as const;
export type HsmState = (typeof HSM_STATES)[number];

export interface HsmStatus {
  readonly id: string;
  readonly az: string;
  readonly state: HsmState;
  readonly eniIp: string;
  readonly pid: number | null;
  /** HSM keys on the token; null while the HSM does not answer */
  readonly keys: number | null;
  /** why it does not serve, when it failed to */
  readonly reason?: string;
}

/** A cluster with its HSMs. */
export interface ClusterStatus {
  readonly id: string;
  /** as CloudHSM's API shows it */
  readonly state: string;
  readonly region: string;
  readonly account: string;
  readonly hsms: readonly HsmStatus[];
}

/** An installation with a cluster of its own. */
export interface StatusDocument {
  readonly state: 'STARTING' | 'READY' | 'DEGRADED' | 'UNAVAILABLE' | 'STOPPING';
  readonly version: string;
  readonly home: string;
  readonly pid: number;
  readonly ephemeral: boolean;
  /** where clients are told to be */
  readonly region: string;
  readonly account: string;
  /** the cluster that backs KMS */
  readonly cluster: ClusterStatus & {
    /** false: a create is acknowledged by one HSM (the default of one-HSM clusters) */
    readonly keyAvailabilityCheck: boolean;
    /** the store is an old copy: nothing is repaired or destroyed until `keyspan store adopt` */
    readonly storeBehind?: boolean;
  };
  /** those that callers of CreateCluster made */
  readonly clusters: readonly ClusterStatus[];
  readonly endpoints: {
    readonly websocket: readonly string[];
    /** of all AWS services */
    readonly aws: string;
    /** the path of the unix socket for p11-kit-client.so */
    readonly pkcs11: string;
    /** where Prometheus can scrape, if that was asked for */
    readonly metrics?: string;
  };
}

/** Any installation: `up --no-cluster` makes one without a cluster of its own. */
export type InstallationStatus = Omit<StatusDocument, 'cluster'> &
  Partial<Pick<StatusDocument, 'cluster'>>;

/**
 * A fault and where it waits: an HSM's id, `next` (the next HSM process that starts), or
 * `daemon`.
 */
export interface PlacedFault extends ListedFault {
  readonly hsm: string;
}

/**
 * What one HSM holds, against the ledger. All but `held` are numbers of keys that are not as
 * they should be.
 */
export interface HsmCheck {
  readonly id: string;
  readonly state: string;
  /** false: it does not serve, and nothing is known of it */
  readonly answered: boolean;
  readonly held: number;
  readonly missing: number;
  /** failing every proof: replaced by a repair */
  readonly damaged: number;
  /** an older record than the commit names: replaced by a repair, not served until then */
  readonly superseded: number;
  /** a newer record than the commit names: a repair makes it the one that counts */
  readonly ahead: number;
  /** another proof or record than the commit names: kept, never served */
  readonly conflicting: number;
  /** no entry of the ledger explains them: kept, never served */
  readonly unknown: number;
  /** the ledger says that they are to go */
  readonly toDiscard: number;
  /** the ids of those that are unknown, as many as an answer holds */
  readonly unknownKeys: readonly string[];
}

export interface ClusterCheck {
  /** nothing is to be repaired on the HSMs that answered */
  readonly clean: boolean;
  readonly live: number;
  /** attempts that are neither live nor given up */
  readonly intents: number;
  /** destroyed, and perhaps not yet everywhere */
  readonly buried: number;
  /** live keys on fewer HSMs than the key-availability rule asks for */
  readonly scarce: number;
  /** live keys on no HSM that answered */
  readonly lost: number;
  readonly hsms: readonly HsmCheck[];
}

/** What went from the tokens by the operator's word. */
export interface DiscardedCopies {
  readonly discarded: readonly { readonly hsm: string; readonly key: string }[];
  /** HSMs that do not serve: copies may be on them still */
  readonly unasked: readonly string[];
}

export interface CredentialsDocument {
  /** of the cluster that `up` made, where there is one */
  readonly admin?: { readonly username: string; readonly password: string };
  readonly cryptoUser?: { readonly username: string; readonly password: string };
  /** signs requests to the AWS door in the name of the account's root */
  readonly rootAccessKey: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

export interface CertificateDocument {
  readonly certificate: string;
  readonly privateKey: string;
  readonly serverCa: string;
}

/** What became of a seed: keys that were made, and that were there and stayed as they are. */
export interface SownSeed {
  readonly made: number;
  readonly present: number;
}

/** A backup as the operator sees it. */
export interface BackupStatus {
  readonly id: string;
  /** the cluster that it was taken of, which may be another installation's */
  readonly cluster: string;
  readonly account: string;
  readonly region: string;
  readonly state: string;
  /** ISO 8601, UTC */
  readonly created: string;
}

/** Civil time, which the operator moves. */
export interface ClockStatus {
  /** ISO 8601, UTC */
  readonly civil: string;
  /** the machine's own */
  readonly real: string;
  /** what civil time is ahead of the machine's, in milliseconds */
  readonly offsetMs: number;
}

const hsm = object({ id: text({ max: 64 }) });
const empty = object({});
/** the daemon reads or writes it: absolute */
const path = text({ max: 4_096 });
const passphrase = text({
  min: LIMITS.backup_passphrase_min_chars,
  max: LIMITS.backup_passphrase_max_chars,
});

const offset = int({ min: -LIMITS.civil_offset_max_ms, max: LIMITS.civil_offset_max_ms });

/** The actions with the form of their requests. */
export const ADMIN_ACTIONS = {
  Status: empty,
  Credentials: empty,
  AuditHead: empty,
  Shutdown: empty,
  /** makes what a seed says and is not there */
  Seed: object({ path }),
  HsmStart: hsm,
  HsmStop: hsm,
  HsmKill: hsm,
  HsmCrash: hsm,
  HsmPause: hsm,
  HsmResume: hsm,
  HsmAdd: object({ az: optional(text({ min: 2, max: 32 })) }),
  HsmRemove: hsm,
  HsmReplace: hsm,
  HsmWipe: hsm,
  FaultAdd: object({ hsm: text({ max: 64 }), rule: anything }),
  FaultList: empty,
  FaultClear: empty,
  StoreAdopt: empty,
  ClusterCheck: object({ repair: orElse(flag, false) }),
  /** without keys: every copy that the ledger does not know */
  ClusterDiscardUnknown: object({
    keys: optional(list(id(isHsmKeyId), { min: 1, max: LIMITS.discard_keys_max })),
  }),
  BackupList: empty,
  BackupExport: object({ id: text({ max: 64 }), path, passphrase }),
  BackupImport: object({
    path,
    passphrase,
    region: optional(text({ max: 32, pattern: REGION })),
  }),
  PolicyExplain: POLICY_QUESTION,
  ClockShow: empty,
  ClockAdvance: object({ byMs: offset, force: orElse(flag, false) }),
  ClockReset: object({ force: orElse(flag, false) }),
  // CloudHSM's CLI
  ...HSM_SESSION_ACTIONS,
  IssueCertificate: object({
    principal: text({ max: 2_048 }),
    /** how long it is valid */
    days: orElse(int({ min: 1, max: 3_650 }), 365),
  }),
} as const;

export type AdminAction = keyof typeof ADMIN_ACTIONS;

/** What each action answers. */
export interface AdminResults extends HsmSessionResults {
  Status: InstallationStatus;
  Credentials: CredentialsDocument;
  /** the audit log's newest seal that is in its file */
  AuditHead: ChainHead;
  Shutdown: { readonly pid: number };
  Seed: SownSeed;
  HsmStart: HsmStatus;
  HsmStop: HsmStatus;
  HsmKill: HsmStatus;
  HsmCrash: HsmStatus;
  HsmPause: HsmStatus;
  HsmResume: HsmStatus;
  /** answered when the new HSM serves */
  HsmAdd: HsmStatus;
  HsmRemove: { readonly id: string };
  HsmReplace: HsmStatus;
  HsmWipe: HsmStatus;
  FaultAdd: { readonly id: number };
  FaultList: { readonly faults: readonly PlacedFault[] };
  FaultClear: Record<string, never>;
  StoreAdopt: InstallationStatus;
  ClusterCheck: ClusterCheck;
  ClusterDiscardUnknown: DiscardedCopies;
  BackupList: { readonly backups: readonly BackupStatus[] };
  BackupExport: BackupStatus;
  BackupImport: BackupStatus;
  PolicyExplain: PolicyExplanation;
  ClockShow: ClockStatus;
  ClockAdvance: ClockStatus;
  ClockReset: ClockStatus;
  IssueCertificate: CertificateDocument;
}
