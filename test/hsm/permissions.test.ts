import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { newHsmKeyId } from '../../src/core/ids.js';
import { HSM_OPERATIONS, type HsmOperation } from '../../src/protocol/hsm-frames.js';
import { HsmHost, PASSWORDS, type FrameClient } from '../support/hsm-host.js';

/**
 * The table of permissions (AWS CloudHSM User Guide, "HSM user permissions table"), written down
 * once more: nothing here is read from what the HSM goes by. An HSM may allow less.
 */
const WHO = ['nobody', 'unactivated-admin', 'admin', 'crypto-user', 'appliance-user'] as const;
type Who = (typeof WHO)[number];

interface Row {
  readonly what: string;
  /** who may, by the table */
  readonly may: readonly Who[];
  readonly operations: readonly string[];
}

const EVERYBODY: readonly Who[] = WHO;
const USERS: readonly Who[] = ['admin', 'crypto-user', 'appliance-user'];

const ROWS: readonly Row[] = [
  {
    what: 'basic information of a cluster, its users and its quorums',
    may: EVERYBODY,
    operations: ['info', 'user-list', 'token-list', 'quorum-values'],
  },
  { what: 'logging in', may: EVERYBODY, operations: ['login', 'mfa-challenge'] },
  {
    what: 'logging out',
    may: ['unactivated-admin', ...USERS],
    operations: ['logout'],
  },
  { what: 'activation', may: ['unactivated-admin'], operations: ['activate'] },
  { what: "one's own password", may: USERS, operations: ['user-change-password'] },
  {
    what: "one's own second factor, key and tokens",
    may: ['admin', 'crypto-user'],
    operations: ['user-change-mfa', 'user-change-quorum', 'token-create', 'token-delete'],
  },
  {
    what: 'adding and removing users, and the values of quorums',
    may: ['admin'],
    operations: ['user-create', 'user-delete', 'user-extract', 'user-insert', 'quorum-set'],
  },
  {
    what: 'the state of synchronisation: digests of keys',
    may: USERS,
    operations: ['inventory', 'store-seen'],
  },
  {
    what: 'extracting and inserting masked objects',
    may: USERS,
    operations: [
      'extract',
      'insert',
      'record-extract',
      'record-apply',
      'discard',
      'handover',
      'backup',
      'backup-keys',
      'leave',
    ],
  },
  {
    what: 'management of keys',
    may: ['crypto-user'],
    operations: [
      'generate',
      'import',
      'find',
      'destroy',
      'key-generate',
      'key-pair-generate',
      'key-import',
      'key-unwrap',
      'key-keep',
      'key-wrap',
      'key-destroyable',
      'key-drop',
      'object-create',
      'object-copy',
      'p11-derive',
    ],
  },
  {
    what: 'finding and reading what PKCS #11 keeps that is not private',
    may: USERS,
    operations: ['object-find', 'object-reveal'],
  },
  {
    what: 'listing and replicating keys, and (an admin) whether one is trusted',
    may: ['admin', 'crypto-user'],
    operations: ['key-find', 'key-export', 'key-acceptable', 'record-prepare'],
  },
  {
    what: 'work with keys',
    may: ['crypto-user'],
    operations: [
      'encrypt',
      'decrypt',
      'reencrypt',
      'data-key',
      'key-sign',
      'key-verify',
      'p11-sign',
    ],
  },
  {
    what: 'digests and random numbers, and work with public keys that are not private',
    may: USERS,
    operations: [
      'random',
      'digest',
      'p11-cipher',
      'p11-verify',
      'stream-open',
      'stream-update',
      'stream-final',
      'stream-close',
    ],
  },
  // what no user of CloudHSM sees: the cluster's own key, for the daemon's listener
  { what: "the cluster's own key", may: ['appliance-user'], operations: ['cluster-key'] },
  // in phase `new`, or with faults alone: a member refuses them to everybody
  {
    what: 'becoming a member, and faults',
    may: [],
    operations: [
      'identity',
      'found',
      'join-offer',
      'join',
      'fault-add',
      'fault-list',
      'fault-clear',
    ],
  },
];

/** The appliance user makes the cluster's key with it, and no other. */
const generated = { keyId: newHsmKeyId(), kind: 'aes-256', label: '' };
/** Fields of operations that are let through to a second look at who asks. */
const FIELDS: Readonly<Record<string, object>> = {
  generate: generated,
  'fault-add': {
    rule: { operation: '*', when: 'before', nth: 1, times: 1, action: { do: 'drop' } },
  },
};

let host: HsmHost;
let client: FrameClient;
const sessions: Record<Who, number> = {
  nobody: 0,
  'unactivated-admin': 0,
  admin: 0,
  'crypto-user': 0,
  'appliance-user': 0,
};
/** the HSM whose admin was not activated yet */
let fresh: FrameClient;

beforeAll(async () => {
  host = await HsmHost.open();
  const [hsm, before] = [await host.newHsm().start(), await host.newHsm().start()];
  client = await hsm.connect();
  fresh = await before.connect();
  sessions.admin = await host.found(hsm, client);
  const user = { username: 'alice', role: 'crypto-user', password: PASSWORDS.user };
  await client.ask('user-create', user, { session: sessions.admin });
  sessions['crypto-user'] = await client.login('alice', PASSWORDS.user);
  sessions['appliance-user'] = await client.login('app_user', PASSWORDS.appUser);
  await host.foundOnly(before, fresh);
  sessions['unactivated-admin'] = await fresh.login('admin', PASSWORDS.preCrypto);
});
afterAll(() => host[Symbol.asyncDispose]());

test('each operation stands in one row', () => {
  const written = ROWS.flatMap(({ operations }) => operations);
  expect([...written].sort()).toEqual(Object.keys(HSM_OPERATIONS).sort());
});

const forbidden = ROWS.flatMap(({ what, may, operations }) =>
  operations.flatMap((operation) =>
    WHO.filter((who) => !may.includes(who)).map((who) => ({ what, operation, who })),
  ),
);

describe('what the table forbids an HSM refuses', () => {
  test.each(forbidden)('$who: $operation ($what)', async ({ operation, who }) => {
    const door = who === 'unactivated-admin' ? fresh : client;
    const fields = FIELDS[operation] ?? {};
    const asked = door.ask<HsmOperation>(operation, fields, { session: sessions[who] });
    const code = await asked.then(
      () => 'done',
      (error: { code: string }) => error.code,
    );
    const { phase } = HSM_OPERATIONS[operation as HsmOperation];
    const isNever = phase === 'new' || operation.startsWith('fault-');
    const refusals = who === 'nobody' ? ['HsmNotLoggedIn'] : ['HsmRoleRefused'];
    expect(isNever ? ['HsmPhase'] : refusals).toContain(code);
  });

  test("another one's password and factor, for whoever is no admin", async () => {
    const others = { username: 'admin', role: 'admin', password: PASSWORDS.user };
    const factor = { username: 'admin', role: 'admin' };
    for (const who of ['crypto-user', 'appliance-user'] as const) {
      const as = { session: sessions[who] };
      for (const [operation, fields] of [
        ['user-change-password', others],
        ['user-change-mfa', factor],
      ] as const) {
        const refused = expect.objectContaining({ code: 'HsmRoleRefused' }) as unknown;
        await expect(client.ask(operation, fields, as)).rejects.toEqual(refused);
      }
    }
    expect(await client.login('admin', PASSWORDS.admin)).toBeGreaterThan(0);
  });
});
