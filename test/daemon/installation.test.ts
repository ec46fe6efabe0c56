import { randomBytes, X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { Secrets } from '../../src/cluster/secrets.js';
import { readConfig, type DaemonConfig } from '../../src/daemon/config.js';
import { ensureAuthorities, prepareHome } from '../../src/daemon/installation.js';
import { KEYSPACE } from '../../src/store/keyspace.js';
import { MemoryStore } from '../../src/store/memory.js';
import { InstallationKey, Sealer } from '../../src/store/sealed.js';
import { temporaryDirectory } from '../support/temporary-directory.js';

const NAMES = ['aws', 'manufacturer', 'hardware', 'operator', 'clients'] as const;
const CERTIFICATES = '../../src/cluster/certificates.js';

afterEach(() => vi.doUnmock(CERTIFICATES));

interface Scene {
  readonly store: MemoryStore;
  readonly secrets: Secrets;
  readonly config: DaemonConfig;
  readonly start: () => Promise<void>;
  readonly read: (path: string) => string;
  readonly certificates: () => Promise<string[]>;
}

async function newScene(): Promise<Scene> {
  const config = await readConfig(['--home', temporaryDirectory()]);
  await prepareHome(config);
  const store = new MemoryStore();
  const secrets = new Secrets(store, new Sealer(new InstallationKey(randomBytes(32))));
  return {
    store,
    secrets,
    config,
    start: () => ensureAuthorities(store, secrets, config),
    read: (path) => readFileSync(path, 'utf8'),
    certificates: () =>
      Promise.all(NAMES.map(async (name) => (await secrets.authority(name)).certificate)),
  };
}

test('the first start makes the authorities and shows the emulated roots', async () => {
  const { config, secrets, start, read } = await newScene();
  await start();
  const { home } = config;
  expect(readdirSync(home.public).sort()).toEqual([
    'AWS_CloudHSM_Root-G1.crt',
    'customerCA.crt',
    'liquid_security_certificate.crt',
    'root.crt',
  ]);
  const aws = new X509Certificate(read(home.awsRoot));
  expect(aws.subject).toContain('emulated');
  expect(aws.subject).toContain('CN=Emulated AWS CloudHSM root');
  expect(aws.checkIssued(aws) && aws.ca).toBe(true);
  expect(read(home.awsRoot)).toBe((await secrets.authority('aws')).certificate);
  const manufacturer = new X509Certificate(read(home.manufacturerRoot));
  const hardware = new X509Certificate((await secrets.authority('hardware')).certificate);
  expect(hardware.verify(manufacturer.publicKey)).toBe(true);
  for (const path of [home.awsRoot, home.manufacturerRoot]) {
    expect(statSync(path).mode & 0o777).toBe(0o644);
  }
});

test('a later start changes nothing, and loads nothing to make certificates with', async () => {
  const { config, store, start, read, certificates } = await newScene();
  await start();
  const { home } = config;
  const paths = [home.awsRoot, home.manufacturerRoot, home.customerCa, home.clientCertificate];
  const before = { files: paths.map(read), certificates: await certificates() };
  const { revision } = await store.range('');
  vi.doMock(CERTIFICATES, () => {
    throw new Error('certificates were loaded');
  });
  await start();
  rmSync(home.awsRoot);
  rmSync(home.manufacturerRoot);
  await start();
  expect({ files: paths.map(read), certificates: await certificates() }).toEqual(before);
  expect((await store.range('')).revision).toBe(revision);
  await expect((await newScene()).start()).rejects.toThrow();
});

test('an older installation gets the root that it lacks, and keeps the others', async () => {
  const { config, store, start, read, certificates, secrets } = await newScene();
  await start();
  const { home } = config;
  const [, ...others] = await certificates();
  const old = [read(home.customerCa), read(home.clientCertificate), read(home.clientKey)];
  const key = KEYSPACE.authority('aws');
  await store.commit({ compares: [], writes: [{ op: 'delete', key }] });
  rmSync(home.manufacturerRoot);
  // of an installation that was here before
  writeFileSync(home.awsRoot, 'stale');
  await start();
  const [aws, ...kept] = await certificates();
  expect(kept).toEqual(others);
  expect([read(home.customerCa), read(home.clientCertificate), read(home.clientKey)]).toEqual(old);
  expect(read(home.awsRoot)).toBe(aws);
  expect(read(home.manufacturerRoot)).toBe((await secrets.authority('manufacturer')).certificate);
});
