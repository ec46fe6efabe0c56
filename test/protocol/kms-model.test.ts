import { expect, test } from 'vitest';
import { KMS_ACTIONS } from '../../src/protocol/kms.js';
import type { Member, Members, Shape } from '../../src/protocol/aws-shapes.js';
import { serviceModel, type ModelShape } from '../support/botocore-model.js';

/** The model that Debian's awscli ships: of 2023, so that it lacks what is newer. */
const { operations, shapes } = serviceModel('kms', '2014-11-01');

/** What the table has otherwise than that model, and why. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  'ListAliases.Limit max 100, not 1000': 'the documentation of the action',
  'ListGrants.Limit max 100, not 1000': 'the documentation of the action',
  'ListRetirableGrants.Limit max 100, not 1000': 'the documentation of the action',
  'ListResourceTags.Limit max 50, not 1000': 'the documentation of the action',
};

/** Actions that came after that model. */
const NEWER = [
  'Decapsulate',
  'DeriveSharedSecret',
  'Encapsulate',
  'GetKeyLastUsage',
  'ListKeyRotations',
  'RotateKeyOnDemand',
];

/** Members that came after it. */
const NEWER_MEMBERS = [
  'CreateCustomKeyStore.XksProxyVpcEndpointServiceOwner',
  'CreateGrant.Constraints.SourceArn',
  'CreateGrant.DryRun',
  'CreateGrant.GranteeServicePrincipal',
  'CreateGrant.RetiringServicePrincipal',
  'Decrypt.DryRun',
  'Decrypt.DryRunModifiers',
  'Decrypt.Recipient',
  'DeleteImportedKeyMaterial.KeyMaterialId',
  'EnableKeyRotation.RotationPeriodInDays',
  'Encrypt.DryRun',
  'GenerateDataKey.DryRun',
  'GenerateDataKey.Recipient',
  'GenerateDataKeyPair.DryRun',
  'GenerateDataKeyPair.Recipient',
  'GenerateDataKeyPairWithoutPlaintext.DryRun',
  'GenerateDataKeyWithoutPlaintext.DryRun',
  'GenerateMac.DryRun',
  'GenerateRandom.Recipient',
  'ImportKeyMaterial.ImportType',
  'ImportKeyMaterial.KeyMaterialDescription',
  'ImportKeyMaterial.KeyMaterialId',
  'ListGrants.GranteeServicePrincipal',
  'ListRetirableGrants.RetiringServicePrincipal',
  'ReEncrypt.DryRun',
  'ReEncrypt.DryRunModifiers',
  'RetireGrant.DryRun',
  'RevokeGrant.DryRun',
  'Sign.DryRun',
  'UpdateCustomKeyStore.XksProxyVpcEndpointServiceOwner',
  'Verify.DryRun',
  'VerifyMac.DryRun',
];

const found: string[] = [];
const newerMembers: string[] = [];

function shapeOf(name: string): ModelShape {
  const shape = shapes[name];
  if (!shape) throw new Error(`the model has no shape ${name}`);
  return shape;
}

interface Bounds {
  readonly min?: number;
  readonly max?: number;
}

function compareBounds(ours: Bounds, theirs: Bounds, at: string): void {
  for (const bound of ['min', 'max'] as const) {
    if (ours[bound] === theirs[bound]) continue;
    found.push(`${at} ${bound} ${ours[bound]}, not ${theirs[bound]}`);
  }
}

function compare(ours: Shape, theirs: ModelShape, at: string): void {
  expect(ours.kind, at).toBe(theirs.type);
  if (ours.kind === 'structure') {
    compareMembers(ours.members, theirs, at);
    return;
  }
  compareBounds(ours as Bounds, theirs, at);
  if (ours.kind === 'list') compare(ours.of, shapeOf(theirs.member?.shape ?? ''), `${at}[]`);
  if (ours.kind !== 'string') return;
  expect(ours.pattern?.text, at).toBe(theirs.pattern);
  // newer values stand behind those of the model, which errors list first
  if (theirs.enum) expect(ours.values, at).toEqual(expect.arrayContaining([...theirs.enum]));
}

function compareMembers(members: Members, theirs: ModelShape, at: string): void {
  const absent = Object.keys(theirs.members ?? {}).filter((name) => !members[name]);
  expect(absent, at).toEqual([]);
  for (const [name, shape] of Object.entries<Member>(members)) {
    const model = theirs.members?.[name];
    if (model) compare(shape, shapeOf(model.shape), `${at}.${name}`);
    else newerMembers.push(`${at}.${name}`);
  }
}

test("lengths, patterns and enums are those of AWS's model", () => {
  const newer: string[] = [];
  for (const [action, members] of Object.entries<Members>(KMS_ACTIONS)) {
    const operation = operations[action];
    if (operation) compareMembers(members, shapeOf(operation.input.shape), action);
    else newer.push(action);
  }
  expect(newer.toSorted()).toEqual(NEWER);
  expect(newerMembers.toSorted()).toEqual(NEWER_MEMBERS);
  expect(found.toSorted()).toEqual(Object.keys(DIFFERENCES).toSorted());
});

test('what may not be shown in an error is what the model calls sensitive', () => {
  const secret = (shape: Shape): boolean => shape.kind === 'string' && shape.secret === true;
  const store = KMS_ACTIONS.CreateCustomKeyStore;
  const credential = store.XksProxyAuthenticationCredential.members;
  expect(secret(store.KeyStorePassword)).toBe(true);
  expect(secret(credential.AccessKeyId)).toBe(true);
  expect(secret(credential.RawSecretAccessKey)).toBe(true);
  expect(secret(store.CustomKeyStoreName)).toBe(false);
});
