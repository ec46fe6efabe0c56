import { describe, expect, test } from 'vitest';
import type { KmsCaller } from '../../src/kms/kms.js';
import {
  ACCOUNT,
  ALICE,
  allow,
  callerOf,
  KmsFixture,
  OTHER_ACCOUNT,
  OTHER_ROOT,
  policyOf,
  ROOT,
} from '../support/kms-fixture.js';

const iam = (name: string, account = ACCOUNT): string => `arn:aws:iam::${account}:${name}`;
const alice = ALICE.principal.arn;
const bob = iam('user/bob');
const decrypt = { GranteePrincipal: alice, Operations: ['Decrypt'] };

describe('ListGrants', () => {
  test('says what each grant says, and no token', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const grant = {
      Name: 'backup',
      GranteePrincipal: iam('role/a/Backup'),
      RetiringPrincipal: bob,
      Operations: ['DescribeKey', 'Decrypt'],
    };
    const SourceArn = 'arn:aws:s3:::bucket';
    const EncryptionContextSubset = { Department: 'IT' };
    const Constraints = { EncryptionContextSubset, SourceArn };
    const { GrantId } = await at.call('CreateGrant', { KeyId, ...grant, Constraints });
    expect(await at.call('ListGrants', { KeyId })).toEqual({
      Grants: [
        {
          KeyId: Arn,
          GrantId,
          ...grant,
          CreationDate: 1_800_000_000.123,
          IssuingAccount: iam('root'),
          Operations: ['Decrypt', 'DescribeKey'],
          Constraints,
        },
      ],
      Truncated: false,
    });
  });

  test('without what was not said; a service stands where a principal does, too', async () => {
    await using at = await KmsFixture.open();
    const { KeyId, Arn } = await at.createKey();
    const { GrantId } = await at.call('CreateGrant', { KeyId, ...decrypt });
    const [grant] = (await at.call('ListGrants', { KeyId, GrantId })).Grants;
    expect(grant).toEqual({
      KeyId: Arn,
      GrantId,
      Name: '',
      CreationDate: 1_800_000_000.123,
      GranteePrincipal: alice,
      IssuingAccount: iam('root'),
      Operations: ['Decrypt'],
    });
    const services = {
      GranteeServicePrincipal: 'dynamodb.amazonaws.com',
      RetiringServicePrincipal: 'dynamodb.eu-central-1.amazonaws.com',
      Constraints: { SourceArn: 'arn:aws:s3:::bucket' },
    };
    const made = await at.call('CreateGrant', { KeyId, Operations: ['Decrypt'], ...services });
    const found = await at.call('ListGrants', { KeyId, GrantId: made.GrantId });
    expect(found.Grants).toMatchObject([
      {
        ...services,
        GranteePrincipal: 'dynamodb.amazonaws.com',
        RetiringPrincipal: 'dynamodb.eu-central-1.amazonaws.com',
      },
    ]);
  });

  test('goes in pages whose markers survive changes, also for one grantee', async () => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    const made: Record<string, string[]> = { [alice]: [], [bob]: [] };
    const make = async (GranteePrincipal: string): Promise<void> => {
      const grant = { KeyId, GranteePrincipal, Operations: ['Decrypt'] };
      made[GranteePrincipal]?.push((await at.call('CreateGrant', grant)).GrantId);
    };
    for (let n = 0; n < 6; n += 1) {
      await make(alice);
      await make(bob);
    }
    const idsOf = async (GranteePrincipal?: string): Promise<string[]> => {
      const found: string[] = [];
      let Marker: string | undefined;
      do {
        const page = await at.call('ListGrants', { KeyId, Limit: 2, GranteePrincipal, Marker });
        expect(page.Truncated).toBe(page.NextMarker !== undefined);
        found.push(...page.Grants.map(({ GrantId }) => GrantId));
        Marker = page.NextMarker;
        // the one that the page ended with goes before the next is read
        const last = page.Grants.at(-1)?.GrantId;
        if (Marker !== undefined) await at.call('RevokeGrant', { KeyId, GrantId: last });
      } while (Marker !== undefined);
      return found;
    };
    expect(await idsOf(alice)).toEqual(made[alice]?.toSorted());
    const left = (await at.call('ListGrants', { KeyId, Limit: 100 })).Grants;
    expect(left).toHaveLength(10);
    expect(await idsOf()).toEqual(left.map(({ GrantId }) => GrantId).toSorted());
  });

  test.each<[object, RegExp]>([
    [{ GrantId: 'f'.repeat(64) }, /^InvalidGrantIdException: Invalid grant ID 'f{64}'$/],
    [{ GranteePrincipal: 'alice' }, /^InvalidArnException: ARN does not refer to a valid/],
    [{ GranteeServicePrincipal: 's3.amazonaws.com' }, /^AccessDeniedException: The GranteeServ/],
    [
      { GranteeServicePrincipal: 's3.amazonaws.com', GranteePrincipal: alice },
      /^ValidationException: You can specify either/,
    ],
    [{ Marker: 'x' }, /^InvalidMarkerException/],
    [{ Limit: 101 }, /^ValidationException: 1 validation error detected: Value '101' at 'limit'/],
    [{ KeyId: 'alias/a' }, /^NotFoundException: Invalid keyId/],
  ])('refuses %j', async (params, refusal) => {
    await using at = await KmsFixture.open();
    const { KeyId } = await at.createKey();
    expect(await at.refused('ListGrants', { KeyId, ...params })).toMatch(refusal);
  });

  test('needs the permission, also of another account, and works in every state', async () => {
    await using at = await KmsFixture.open();
    const forOther = allow(OTHER_ROOT.principal.arn, 'kms:ListGrants');
    const { Arn } = await at.createKey({ Policy: policyOf(allow(ROOT.principal.arn), forOther) });
    const { GrantId } = await at.call('CreateGrant', { KeyId: Arn, ...decrypt });
    await at.call('DisableKey', { KeyId: Arn });
    const { Grants } = await at.call('ListGrants', { KeyId: Arn }, OTHER_ROOT);
    expect(Grants.map((grant) => grant.GrantId)).toEqual([GrantId]);
    expect(await at.refused('ListGrants', { KeyId: Arn }, ALICE)).toMatch(
      /^AccessDeniedException: .*kms:ListGrants/,
    );
  });
});

describe('ListRetirableGrants', () => {
  const role = iam('role/a/Admin');
  const retirable = { ...decrypt, RetiringPrincipal: role };

  test('finds grants of all keys of a region, in pages', async () => {
    await using at = await KmsFixture.open();
    const forRoot = allow(ROOT.principal.arn);
    const Policy = policyOf(forRoot, allow(OTHER_ROOT.principal.arn));
    const other = await at.createKey({ Policy }, OTHER_ROOT);
    const keys = [await at.createKey(), await at.createKey(), other];
    const elsewhere = callerOf(ROOT.principal.arn, 'us-east-1');
    const far = await at.createKey({}, elsewhere);
    await at.call('CreateGrant', { KeyId: far.KeyId, ...retirable }, elsewhere);
    await at.call('CreateGrant', { KeyId: other.Arn, ...decrypt }, OTHER_ROOT);
    const list = async (caller: KmsCaller = ROOT): Promise<string[]> => {
      const found: string[] = [];
      let Marker: string | undefined;
      do {
        const request = { RetiringPrincipal: role, Limit: 1, Marker };
        const page = await at.call('ListRetirableGrants', request, caller);
        found.push(...page.Grants.map((grant) => `${grant.KeyId} ${grant.GrantId}`));
        Marker = page.NextMarker;
      } while (Marker !== undefined);
      return found;
    };
    expect(await list()).toEqual([]);
    const made: string[] = [];
    for (const { Arn } of keys) {
      const caller = Arn === other.Arn ? OTHER_ROOT : ROOT;
      const { GrantId } = await at.call('CreateGrant', { KeyId: Arn, ...retirable }, caller);
      made.push(`${Arn} ${GrantId}`);
    }
    expect((await list()).toSorted()).toEqual(made.toSorted());
    expect(await list(elsewhere)).toHaveLength(1);
    const [first = ''] = made;
    const [KeyId, GrantId] = first.split(' ');
    await at.call('RetireGrant', { KeyId, GrantId });
    expect(await list()).toHaveLength(2);
  });

  test.each<[object, RegExp]>([
    [{}, /^ValidationException: You must specify either RetiringPrincipal/],
    [
      { RetiringPrincipal: role, RetiringServicePrincipal: 's3.amazonaws.com' },
      /^ValidationException: You must specify either RetiringPrincipal/,
    ],
    [{ RetiringServicePrincipal: 's3.amazonaws.com' }, /^AccessDeniedException: The RetiringServ/],
    [{ RetiringPrincipal: 'Admin' }, /^InvalidArnException: ARN does not refer to a valid/],
    [{ RetiringPrincipal: iam('root', OTHER_ACCOUNT) }, /^InvalidArnException: .* not in your acc/],
    [{ RetiringPrincipal: role, Marker: 'x' }, /^InvalidMarkerException/],
  ])('refuses %j', async (params, refusal) => {
    await using at = await KmsFixture.open();
    expect(await at.refused('ListRetirableGrants', params)).toMatch(refusal);
  });

  test("is the account's to allow, for the principal as the resource", async () => {
    await using at = await KmsFixture.open();
    expect(await at.refused('ListRetirableGrants', { RetiringPrincipal: bob }, ALICE)).toBe(
      `AccessDeniedException: User: ${alice} is not authorized to perform: ` +
        `kms:ListRetirableGrants on resource: ${bob} because no identity-based policy allows ` +
        'the kms:ListRetirableGrants action',
    );
  });
});
