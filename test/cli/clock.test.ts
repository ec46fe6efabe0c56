import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { durationMs, durationText } from '../../src/cli/commands/clock.js';
import { keyspan, type Outcome } from '../support/command.js';
import { ForeignInstallation } from '../support/foreign-installation.js';

const DAY_MS = 86_400_000;

test.each([
  ['30d', 30 * DAY_MS],
  ['12h', DAY_MS / 2],
  ['2w', 14 * DAY_MS],
  ['1w2d3h4m5s', 9 * DAY_MS + 11_045_000],
  ['0s', 0],
  ['-1d', -DAY_MS],
])('%s is a duration', (text, ms) => expect(durationMs(text)).toBe(ms));

test.each(['', '30', 'd', '3 d', '1.5d', '--1d', '1y', '30D', '2700w', '9999999999d'])(
  '%o is none',
  (text) => {
    expect(() => durationMs(text)).toThrow(expect.objectContaining({ code: 'KeyspanUsage' }));
  },
);

test.each([
  [31 * DAY_MS, '31d'],
  [DAY_MS + 3_600_000 + 60_000 + 1_400, '1d1h1m1s'],
  [400, '0s'],
])('%i ms are shown as %s', (ms, text) => expect(durationText(ms)).toBe(text));

describe('the command', () => {
  let place: ForeignInstallation;
  beforeAll(async () => {
    place = await new ForeignInstallation().start();
  });
  afterAll(() => place.stop());
  beforeEach(() => {
    place.calls.length = 0;
    place.admin = () => ahead;
  });

  const real = '2030-01-01T00:00:00.000Z';
  const ahead = { civil: '2030-02-01T00:00:00.000Z', real, offsetMs: 31 * DAY_MS };
  const run = (...args: readonly string[]): Promise<Outcome> =>
    keyspan(['clock', ...args], { home: place.home.root });

  test('shows what civil time is', async () => {
    const outcome = await run('show');
    expect([outcome.code, outcome.stdout.toString()]).toEqual([
      0,
      `2030-02-01T00:00:00.000Z, 31d ahead of the machine's clock (${real})\n`,
    ]);
    expect(JSON.parse((await run('show', '--json')).stdout.toString())).toEqual(ahead);
    place.admin = () => ({ civil: real, real, offsetMs: 0 });
    expect((await run('show')).stdout.toString()).toBe(`${real}, as the machine's clock\n`);
  });

  test.each<[string[], string, object]>([
    [['advance', '31d'], 'ClockAdvance', { byMs: 31 * DAY_MS, force: false }],
    [['advance', '--force', '--', '-1d'], 'ClockAdvance', { byMs: -DAY_MS, force: true }],
    [['reset'], 'ClockReset', { force: false }],
    [['reset', '--force'], 'ClockReset', { force: true }],
  ])('%j asks the daemon', async (args, action, params) => {
    expect((await run(...args)).code).toBe(0);
    expect(place.calls).toEqual([{ action, params }]);
  });

  test('without a duration, or one that is none, is not asked', async () => {
    for (const args of [['advance'], ['advance', 'soon'], ['advance', '1d', '2d']]) {
      expect((await run(...args)).code).toBe(252);
    }
    expect(place.calls).toEqual([]);
  });
});
