import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { parsePrincipal } from '../../src/iam/principal.js';
import { Sessions } from '../../src/iam/sessions.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';

const SESSION = parsePrincipal('arn:aws:sts::111122223333:assumed-role/reader/one');
const NARROW = '{"Version":"2012-10-17","Statement":[]}';

interface Scene {
  readonly sessions: Sessions;
  readonly state: { nowMs: number; id: string | undefined };
}

function scene(sealer = new Sealer(new InstallationKey(randomBytes(32)))): Scene {
  const state: Scene['state'] = { nowMs: 1_800_000_000_000, id: 'AROA1' };
  const sessions = new Sessions({ sealer, wire: () => state.nowMs, idOf: () => state.id });
  return { sessions, state };
}

const begin = (sessions: Sessions, policies: string[] = [NARROW]) =>
  sessions.begin({
    principal: SESSION,
    session: { of: 'AROA1', policies, policyArns: [], tags: new Map([['team', 'blue']]) },
    durationSeconds: 900,
  });

const refusal = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return error;
  }
};

describe('temporary credentials', () => {
  test('are found by their id and token, also by another daemon of the installation', () => {
    const sealer = new Sealer(new InstallationKey(randomBytes(32)));
    const { sessions } = scene(sealer);
    const given = begin(sessions);
    expect(given.accessKeyId).toMatch(/^ASIA[A-Z2-7]{16}$/);
    expect(given.secretAccessKey).toHaveLength(40);
    expect(given.expiresAtMs).toBe(1_800_000_900_000);
    for (const one of [sessions, scene(sealer).sessions]) {
      const key = one.find(given.accessKeyId, given.sessionToken);
      expect(Buffer.from(key?.secret ?? []).toString()).toBe(given.secretAccessKey);
      expect(key?.principal).toMatchObject({
        arn: SESSION.arn,
        session: { of: 'AROA1', policies: [NARROW], tags: new Map([['team', 'blue']]) },
      });
      // what is remembered of a principal is remembered by the object
      expect(one.find(given.accessKeyId, given.sessionToken)?.principal).toBe(key?.principal);
    }
  });

  test('say nothing in their token', () => {
    const { sessionToken, secretAccessKey } = begin(scene().sessions);
    const bytes = Buffer.from(sessionToken, 'base64');
    for (const secret of [secretAccessKey, 'reader', 'blue']) {
      expect(bytes.includes(secret)).toBe(false);
    }
  });

  test('end at their time, to the millisecond', () => {
    const { sessions, state } = scene();
    const { accessKeyId, sessionToken, expiresAtMs } = begin(sessions);
    state.nowMs = expiresAtMs - 1;
    expect(sessions.find(accessKeyId, sessionToken)).toBeDefined();
    state.nowMs = expiresAtMs;
    for (const again of [1, 2]) {
      expect(
        refusal(() => sessions.find(accessKeyId, sessionToken)),
        String(again),
      ).toMatchObject({
        code: 'ExpiredTokenException',
        message: 'The security token included in the request is expired',
      });
    }
  });

  test('are not found by what is not their token', () => {
    const { sessions } = scene();
    const { accessKeyId, sessionToken } = begin(sessions);
    const other = begin(sessions);
    const flipped = Buffer.from(sessionToken, 'base64');
    flipped[40] = (flipped[40] ?? 0) ^ 1;
    const wrong = [
      '',
      'x',
      `${sessionToken}x`,
      ` ${sessionToken}`,
      sessionToken.slice(0, -4),
      flipped.toString('base64'),
      other.sessionToken,
    ];
    for (const token of wrong) expect(sessions.find(accessKeyId, token), token).toBeUndefined();
    expect(sessions.find(other.accessKeyId, sessionToken)).toBeUndefined();
    expect(scene().sessions.find(accessKeyId, sessionToken)).toBeUndefined();
    // also while the right one is remembered
    expect(sessions.find(accessKeyId, sessionToken)).toBeDefined();
    expect(sessions.find(accessKeyId, `${sessionToken}x`)).toBeUndefined();
  });

  test('end with whose session they are, and are not those of another of the name', () => {
    const { sessions, state } = scene();
    const { accessKeyId, sessionToken } = begin(sessions);
    for (const [id, found] of [
      ['AROA1', true],
      [undefined, false],
      ['AROA2', false],
    ] as const) {
      state.id = id;
      expect(sessions.find(accessKeyId, sessionToken) !== undefined).toBe(found);
    }
  });

  test('travel in a header: what is too long is refused', () => {
    const { sessions } = scene();
    const long = refusal(() => begin(sessions, ['x'.repeat(4_096)]));
    expect(long).toMatchObject({ code: 'PackedPolicyTooLarge' });
  });
});
