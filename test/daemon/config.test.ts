import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readConfig, type DaemonConfig } from '../../src/daemon/config.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

/** Reads the configuration of a home with this keyspan.yaml. */
function read(yaml: string | undefined, ...args: string[]): Promise<DaemonConfig> {
  const home = temporaryDirectory();
  if (yaml !== undefined) writeFileSync(join(home, 'keyspan.yaml'), yaml);
  return readConfig(['--home', home, ...args]);
}

const refused = async (yaml: string | undefined, ...args: string[]): Promise<string> => {
  const error = await read(yaml, ...args).then(
    () => expect.unreachable('it was read'),
    (reason: unknown) => reason as { code: string; message: string },
  );
  return `${error.code}: ${error.message}`;
};

describe('what holds', () => {
  test('the defaults', async () => {
    expect(await read(undefined)).toMatchObject({
      hsms: 3,
      hsmsGiven: false,
      ephemeral: false,
      region: 'us-east-1',
      account: '123456789012',
      bind: '127.0.0.1',
      startTimeoutMs: 60_000,
    });
    expect(await read('')).toMatchObject({ hsms: 3 });
    expect(await read('# nothing\n')).toMatchObject({ hsms: 3 });
  });

  test("the home's file over the defaults", async () => {
    const yaml = "hsms: 2\nregion: eu-west-1\naccount: '000000000007'\neniMode: ports\n";
    expect(await read(yaml)).toMatchObject({
      hsms: 2,
      hsmsGiven: true,
      region: 'eu-west-1',
      account: '000000000007',
      eniMode: 'ports',
    });
  });

  test("what CloudHSM's API goes by", async () => {
    expect(await read(undefined)).toMatchObject({
      ownCluster: true,
      timeScale: 0,
      clustersPerRegion: 4,
      hsmsPerRegion: 6,
      allowHsm1: false,
    });
    const yaml = 'timeScale: 0.5\nclustersPerRegion: 12\nhsmsPerRegion: 28\nallowHsm1: true\n';
    expect(await read(yaml, '--no-cluster', '--time-scale', '0.01')).toMatchObject({
      ownCluster: false,
      timeScale: 0.01,
      clustersPerRegion: 12,
      hsmsPerRegion: 28,
      allowHsm1: true,
    });
    expect(await refused('timeScale: 2\n')).toBe(
      'KeyspanConfig: The setting timeScale is not a number from 0 to 1.',
    );
  });

  test('what KMS does as AWS does only where it is asked to', async () => {
    expect(await read(undefined)).toMatchObject({ kms: {}, trustServiceHeader: false });
    const yaml =
      'trustServiceHeader: true\nkms:\n  consistencyDelayMs: 2000\n  requestQuotas: true\n';
    expect(await read(yaml)).toMatchObject({
      kms: { consistencyDelayMs: 2_000, requestQuotas: true },
      trustServiceHeader: true,
    });
    expect(await read('kms:\n  requestQuotas: { Decrypt: 0.5 }\n')).toMatchObject({
      kms: { requestQuotas: { Decrypt: 0.5 } },
    });
    expect(await refused('kms:\n  requestQuotas: { ListBuckets: 1 }\n')).toBe(
      'KeyspanConfig: The setting kms.requestQuotas must be true, or name actions of KMS with ' +
        'their requests for each second.',
    );
    expect(await refused('kms:\n  consistencyDelayMs: -1\n')).toMatch(/kms\.consistencyDelayMs/);
    expect(await refused('kms:\n  delay: 1\n')).toMatch(/^KeyspanConfig: The setting kms/);
  });

  test("the AWS door's port and key", async () => {
    const yaml = 'port: 4600\naccessKeyId: AKIDEXAMPLE\nsecretAccessKey: geheim\n';
    const config = await read(yaml);
    expect(config).toMatchObject({
      port: 4600,
      accessKey: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'geheim' },
    });
    expect(config).not.toHaveProperty('secretAccessKey');
    expect(await read(yaml, '--port', '0')).toMatchObject({ port: 0 });
    const neither = await read('');
    expect([neither.port, neither.accessKey]).toEqual([undefined, undefined]);
  });

  test('the command line over the file', async () => {
    const config = await read('hsms: 2\nregion: eu-west-1\n', '--hsms', '5', '--ephemeral');
    expect(config).toMatchObject({ hsms: 5, region: 'eu-west-1', ephemeral: true });
    expect(await read(undefined, '--start-timeout', '7')).toMatchObject({ startTimeoutMs: 7_000 });
  });
});

describe('what is refused names the setting', () => {
  test.each([
    ['hsms: 0', /^KeyspanConfig: .*\bhsms\b/],
    ['hsms: 29', /^KeyspanConfig: .*\bhsms\b/],
    ['hsms: two', /^KeyspanConfig: .*\bhsms\b/],
    ['hsms: 1.5', /^KeyspanConfig: .*\bhsms\b/],
    ['region: nowhere', /^KeyspanConfig: .*\bregion\b.*not a region/],
    ['account: 123456789012', /^KeyspanConfig: .*\baccount\b/],
    ["account: '12'", /^KeyspanConfig: .*\baccount\b.*twelve digits/],
    ['eniMode: magic', /^KeyspanConfig: .*\beniMode\b/],
    ['port: 65536', /^KeyspanConfig: .*\bport\b/],
    ['accessKeyId: AKID', /^KeyspanConfig: .*accessKeyId and secretAccessKey belong together\.$/],
    ['secretAccessKey: x', /^KeyspanConfig: .*belong together\.$/],
    ['accessKeyId: a b\nsecretAccessKey: x', /^KeyspanConfig: .*\baccessKeyId\b/],
    ['accessKeyId: abc\nsecretAccessKey: a b', /^KeyspanConfig: .*\bsecretAccessKey\b.*visible/],
    ['hsm: 3', /^KeyspanConfig: There is no setting hsm\.$/],
    ['- 1\n- 2\n', /^KeyspanConfig: .*keyspan\.yaml is not a list of settings/],
    ['just words', /^KeyspanConfig: .*keyspan\.yaml/],
    ['hsms: [1', /^KeyspanConfig: .*keyspan\.yaml cannot be read/],
    ['hsms: 1\nhsms: 2\n', /^KeyspanConfig: .*keyspan\.yaml cannot be read/],
  ])('%j', async (yaml, sentence) => {
    expect(await refused(yaml)).toMatch(sentence);
  });

  test.each([
    [['--hsms', '0'], /^KeyspanConfig: .*\bhsms\b/],
    [['--hsms', ''], /^KeyspanConfig: .*\bhsms\b/],
    [['--region', 'x'], /^KeyspanConfig: .*\bregion\b/],
    [['--start-timeout', '0'], /^KeyspanConfig: .*\bstartTimeoutSeconds\b/],
    [['--dance'], /^KeyspanUsage: .*dance/],
    [['--hsms'], /^KeyspanUsage: .*hsms/],
    [['three'], /^KeyspanUsage: .*three/],
  ])('%j', async (args, sentence) => {
    expect(await refused(undefined, ...args)).toMatch(sentence);
  });

  test('a file that cannot be read is not passed over', async () => {
    const home = temporaryDirectory();
    mkdirSync(join(home, 'keyspan.yaml'));
    await expect(readConfig(['--home', home])).rejects.toThrow(/keyspan\.yaml cannot be read/);
  });
});
