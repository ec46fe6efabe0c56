import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ClusterCheck } from '../../src/protocol/admin.js';
import { keyspan, type Outcome } from '../support/command.js';
import { ForeignInstallation } from '../support/foreign-installation.js';

const ID = 'hsm-aaaaaaaaaaa';
let place: ForeignInstallation;
beforeAll(async () => {
  place = await new ForeignInstallation().start();
});
afterAll(() => place.stop());
beforeEach(() => {
  place.calls.length = 0;
  place.admin = () => ({});
});

const run = (...args: readonly string[]): Promise<Outcome> =>
  keyspan(args, { home: place.home.root });
const json = ({ stdout }: Outcome): unknown => JSON.parse(stdout.toString());

describe('membership', () => {
  const hsm = { id: ID, state: 'ACTIVE', eniIp: '127.0.0.9' };

  test.each([
    [[], {}],
    [['--az', 'us-east-1b'], { az: 'us-east-1b' }],
  ])('hsm add %j', async (options, params) => {
    place.admin = () => hsm;
    const outcome = await run('hsm', 'add', ...options);
    expect(outcome.code).toBe(0);
    expect(outcome.stdout.toString()).toBe(`${ID} is ACTIVE at 127.0.0.9\n`);
    expect(place.calls).toEqual([{ action: 'HsmAdd', params }]);
    expect(json(await run('hsm', 'add', '--json'))).toEqual(hsm);
  });

  test('hsm remove', async () => {
    place.admin = () => ({ id: ID });
    const outcome = await run('hsm', 'remove', ID);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(outcome.stdout.toString()).toBe(`${ID} has left the cluster\n`);
    expect(place.calls).toEqual([{ action: 'HsmRemove', params: { id: ID } }]);
    expect(json(await run('hsm', 'remove', ID, '--json'))).toEqual({ id: ID });
  });

  test.each([
    ['replace', 'HsmReplace'],
    ['wipe', 'HsmWipe'],
  ])('hsm %s names the new HSM', async (verb, action) => {
    place.admin = () => ({ ...hsm, id: 'hsm-bbbbbbbbbbb' });
    const outcome = await run('hsm', verb, ID);
    expect(outcome.stdout.toString()).toBe('hsm-bbbbbbbbbbb is ACTIVE\n');
    expect(place.calls).toEqual([{ action, params: { id: ID } }]);
  });

  test('what the daemon refuses is 254', async () => {
    place.admin = () => ({ error: { code: 'KeyspanRefused', message: 'keys' } });
    expect(await run('hsm', 'remove', ID)).toMatchObject({ code: 254 });
  });
});

describe('cluster check', () => {
  const counts = {
    missing: 0,
    damaged: 0,
    superseded: 0,
    ahead: 0,
    conflicting: 0,
    unknown: 0,
    toDiscard: 0,
    unknownKeys: [],
  };
  const check: ClusterCheck = {
    clean: true,
    live: 7,
    intents: 0,
    buried: 0,
    scarce: 0,
    lost: 0,
    hsms: [{ id: ID, state: 'ACTIVE', answered: true, held: 7, ...counts }],
  };

  test('of a cluster in order', async () => {
    place.admin = () => check;
    const outcome = await run('cluster', 'check');
    expect(outcome.code).toBe(0);
    const text = outcome.stdout.toString();
    expect(text).toMatch(/^HSM +STATE +HELD +MISSING +DAMAGED +SUPERSEDED +AHEAD +CONFLICTING/m);
    expect(text).toMatch(new RegExp(`^${ID} +ACTIVE +7 +0 +0 +0 +0 +0 +0 +0$`, 'm'));
    expect(text).toContain('7 live keys, 0 on too few HSMs, 0 on none that answered\n');
    expect(text).toMatch(/All is as the ledger says\.\n$/);
    expect(place.calls).toEqual([{ action: 'ClusterCheck', params: { repair: false } }]);
    expect(json(await run('cluster', 'check', '--json'))).toEqual(check);
  });

  test('of one that is not is 1, and says what to do', async () => {
    const away = { id: 'hsm-b', state: 'KILLED', answered: false, held: 0, ...counts } as const;
    const torn = { ...check.hsms[0], missing: 2, unknownKeys: ['a'.repeat(32)] };
    place.admin = () => ({ ...check, clean: false, buried: 1, scarce: 2, hsms: [torn, away] });
    const outcome = await run('cluster', 'check', '--repair');
    expect(outcome.code).toBe(1);
    const text = outcome.stdout.toString();
    expect(text).toMatch(new RegExp(`^${ID} +ACTIVE +7 +2 +0 +0 +0 +0 +0 +0$`, 'm'));
    expect(text).toMatch(/^hsm-b +KILLED +\? +\? +\? +\? +\? +\? +\? +\?$/m);
    expect(text).toContain('7 live keys, 2 on too few HSMs');
    expect(text).toContain('1 destroyed and not yet forgotten');
    expect(text).toContain(`unknown on ${ID}: ${'a'.repeat(32)}\n`);
    expect(text).toContain('keyspan cluster check --repair');
    expect(place.calls).toEqual([{ action: 'ClusterCheck', params: { repair: true } }]);
    expect((await run('cluster', 'check', '--json')).code).toBe(1);
  });
});

describe('cluster discard-unknown', () => {
  const KEY = 'a'.repeat(32);

  test.each([
    [[KEY], { keys: [KEY] }],
    [['--all'], {}],
  ])('%j', async (options, params) => {
    const outcome = { discarded: [{ hsm: ID, key: KEY }], unasked: ['hsm-b'] };
    place.admin = () => outcome;
    const { code, stdout } = await run('cluster', 'discard-unknown', ...options);
    expect(code).toBe(0);
    expect(stdout.toString()).toBe(
      `${KEY} is gone from ${ID}\nhsm-b does not serve, and was not asked\n`,
    );
    expect(place.calls).toEqual([{ action: 'ClusterDiscardUnknown', params }]);
    expect(json(await run('cluster', 'discard-unknown', ...options, '--json'))).toEqual(outcome);
  });

  test('of nothing says so', async () => {
    place.admin = () => ({ discarded: [], unasked: [] });
    const { stdout } = await run('cluster', 'discard-unknown', '--all');
    expect(stdout.toString()).toBe('No HSM that serves has an unknown copy.\n');
  });

  test.each([[[]], [[KEY, '--all']]])('asks which, given %j', async (options) => {
    expect(await run('cluster', 'discard-unknown', ...options)).toMatchObject({ code: 252 });
    expect(place.calls).toEqual([]);
  });

  test('of a key that the ledger knows is refused', async () => {
    place.admin = () => ({ error: { code: 'KeyspanRefused', message: 'known' } });
    expect(await run('cluster', 'discard-unknown', KEY)).toMatchObject({ code: 254 });
  });
});

describe('fault', () => {
  test.each([
    [['--crash'], { do: 'crash' }],
    [['--drop'], { do: 'drop' }],
    [['--delay', '250'], { do: 'delay', ms: 250 }],
    [['--error', 'CKR_DEVICE_ERROR'], { do: 'error', ckr: 'CKR_DEVICE_ERROR' }],
  ])('add %j', async (options, action) => {
    place.admin = () => ({ id: 4 });
    const outcome = await run('fault', 'add', '--hsm', ID, ...options);
    expect(outcome.code).toBe(0);
    expect(outcome.stdout.toString()).toBe(`Fault 4 waits in ${ID} for *.\n`);
    const rule = { operation: '*', when: 'before', nth: 1, times: 1, action };
    expect(place.calls).toEqual([{ action: 'FaultAdd', params: { hsm: ID, rule } }]);
  });

  test('add with everything', async () => {
    place.admin = () => ({ id: 1 });
    const options = '--hsm next --operation insert --when after --nth 3 --times 2 --drop --json';
    expect(json(await run('fault', 'add', ...options.split(' ')))).toEqual({ id: 1 });
    const rule = { operation: 'insert', when: 'after', nth: 3, times: 2, action: { do: 'drop' } };
    expect(place.calls).toEqual([{ action: 'FaultAdd', params: { hsm: 'next', rule } }]);
  });

  test('list and clear', async () => {
    const rule = { operation: 'insert', when: 'after', nth: 3, times: 2, id: 1, seen: 0 };
    const faults = [
      { ...rule, hsm: ID, action: { do: 'delay', ms: 9 } },
      { ...rule, hsm: 'next', action: { do: 'error', ckr: 'CKR_DEVICE_ERROR' } },
      { ...rule, hsm: 'daemon', action: { do: 'crash' } },
    ];
    place.admin = () => ({ faults });
    const text = (await run('fault', 'list')).stdout.toString();
    const rest = 'after insert number 3, 2 times, 0 seen';
    expect(text).toBe(
      `${ID} 1: delay 9 ms ${rest}\nnext 1: CKR_DEVICE_ERROR ${rest}\ndaemon 1: crash ${rest}\n`,
    );
    expect(json(await run('fault', 'list', '--json'))).toEqual(faults);
    expect((await run('fault', 'clear')).code).toBe(0);
    expect(place.calls.at(-1)).toEqual({ action: 'FaultClear', params: {} });
  });

  test('in a daemon that takes none is 254', async () => {
    place.admin = () => ({ error: { code: 'KeyspanRefused', message: 'no faults' } });
    expect(await run('fault', 'list')).toMatchObject({ code: 254 });
  });
});
