import { describe, expect, test } from 'vitest';
import { areQuotas, RequestQuotas, type QuotaSettings } from '../../src/kms/request-quotas.js';
import { KmsFixture } from '../support/kms-fixture.js';

const PLACE = { account: '111122223333', region: 'eu-central-1' };
const SENTENCE =
  'You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.';

interface Scene {
  /** how many requests of `count` are let through at a time */
  readonly let: (now: number, action: string, count: number, place?: typeof PLACE) => number;
}

function scene(settings: Exclude<QuotaSettings, false> = true): Scene {
  let time = 0;
  const quotas = new RequestQuotas(settings, () => time);
  return {
    let: (now, action, count, place = PLACE) => {
      time = now;
      let passed = 0;
      for (let n = 0; n < count; n += 1) {
        try {
          quotas.take(place, action);
          passed += 1;
        } catch (error) {
          expect(error).toMatchObject({ code: 'ThrottlingException', message: SENTENCE });
        }
      }
      return passed;
    },
  };
}

describe('a quota', () => {
  test.each<[string, number]>([
    ['CreateKey', 5],
    ['CreateAlias', 5],
    ['CreateGrant', 50],
    ['DescribeKey', 100],
    ['ListAliases', 100],
    ['ListKeys', 100],
    ['GetParametersForImport', 1],
    ['Encrypt', 10_000],
  ])('of %s lets %d requests through at once', (action, count) => {
    expect(scene().let(0, action, count + 7)).toBe(count);
  });

  test('fills again as time goes', () => {
    const at = scene();
    expect(at.let(0, 'CreateKey', 9)).toBe(5);
    expect(at.let(199, 'CreateKey', 9)).toBe(0);
    expect(at.let(200, 'CreateKey', 9)).toBe(1);
    expect(at.let(10_000, 'CreateKey', 9)).toBe(5);
    expect(at.let(10_000, 'GetParametersForImport', 9)).toBe(1);
    expect(at.let(13_999, 'GetParametersForImport', 9)).toBe(0);
    expect(at.let(14_000, 'GetParametersForImport', 9)).toBe(1);
  });

  test('is of one account, region and action, but cryptographic operations share one', () => {
    const at = scene();
    expect(at.let(0, 'CreateKey', 9)).toBe(5);
    expect(at.let(0, 'CreateAlias', 9)).toBe(5);
    expect(at.let(0, 'CreateKey', 9, { ...PLACE, account: '444455556666' })).toBe(5);
    expect(at.let(0, 'CreateKey', 9, { ...PLACE, region: 'us-east-1' })).toBe(5);
    expect(at.let(0, 'Encrypt', 9_000)).toBe(9_000);
    expect(at.let(0, 'Decrypt', 9_000)).toBe(1_000);
  });

  test("may be one's own", () => {
    const at = scene({ Decrypt: 2, CreateKey: 0.5 });
    expect(at.let(0, 'Decrypt', 9)).toBe(2);
    expect(at.let(0, 'Encrypt', 9)).toBe(9);
    expect(at.let(0, 'CreateKey', 9)).toBe(1);
    expect(at.let(0, 'CreateAlias', 9)).toBe(5);
    expect(areQuotas({ Decrypt: 2 })).toBe(true);
    expect(areQuotas({ Decrypt: 0 })).toBe(false);
    expect(areQuotas({ ListBuckets: 1 })).toBe(false);
  });
});

test('KMS has quotas where they are asked for, and counts what it refuses', async () => {
  await using free = await KmsFixture.open();
  for (let n = 0; n < 20; n += 1) await free.call('ListKeys');
  const settings = { requestQuotas: { ListKeys: 2 } };
  await using at = await KmsFixture.open(undefined, undefined, settings);
  await at.call('ListKeys');
  expect(await at.refused('ListKeys', { Limit: 0 })).toMatch(/^ValidationException/);
  expect(await at.refused('ListKeys')).toBe(`ThrottlingException: ${SENTENCE}`);
  at.time.ahead += 500;
  await at.call('ListKeys');
});
