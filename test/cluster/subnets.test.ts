import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Subnets } from '../../src/cluster/subnets.js';
import { MemoryStore } from '../../src/store/memory.js';

const HERE = { account: '111122223333', region: 'us-west-2' };
const [A, B, C] = ['subnet-0000000a', 'subnet-0000000b', 'subnet-0000000c'];
const BLOCK = { mode: 'addresses', prefix: '127.100.9' } as const;
const INVALID = { code: 'CloudHsmInvalidRequestException' };

const subnetsOn = (store = new MemoryStore()): Subnets => new Subnets(store, BLOCK, 'here');

describe('subnets', () => {
  test('get a zone each, one VPC, and a range of addresses, and keep them', async () => {
    const store = new MemoryStore();
    const made = await subnetsOn(store).of(HERE, [A, B]);
    expect(made.map(({ id, az }) => [id, az])).toEqual([
      [A, 'us-west-2a'],
      [B, 'us-west-2b'],
    ]);
    expect(new Set(made.map(({ vpcId }) => vpcId)).size).toBe(1);
    expect(new Set(made.map(({ prefix }) => prefix)).size).toBe(2);
    expect(await subnetsOn(store).of(HERE, [B])).toMatchObject([made[1] ?? {}]);
    const [later, known] = await subnetsOn(store).of(HERE, [C, A]);
    expect(known).toMatchObject(made[0] ?? {});
    expect(later).toMatchObject({ id: C, vpcId: made[0]?.vpcId });
    expect(later?.az).not.toBe('us-west-2a');
  });

  test('are others in another region or account', async () => {
    const subnets = subnetsOn();
    const [here] = await subnets.of(HERE, [A]);
    const [there] = await subnets.of({ ...HERE, region: 'eu-west-1' }, [A]);
    expect(there).toMatchObject({ id: A, az: 'eu-west-1a' });
    expect(there?.vpcId).not.toBe(here?.vpcId);
    expect(there?.prefix).not.toBe(here?.prefix);
  });

  test('that do not go together are refused', async () => {
    const subnets = subnetsOn();
    await subnets.of(HERE, [A]);
    await subnets.of(HERE, [B]);
    await expect(subnets.of(HERE, [A, A])).rejects.toMatchObject({
      ...INVALID,
      message: 'A subnet is given twice.',
    });
    await expect(subnets.of(HERE, [A, B])).rejects.toMatchObject({
      ...INVALID,
      message: 'The subnets belong to different VPCs.',
    });
  });

  test('of one zone are refused', async () => {
    const subnets = subnetsOn();
    await subnets.of(HERE, [A, B]);
    // the zone that is free where C is named alone is the one that A has
    const [c] = await subnets.of({ ...HERE }, [C, B]);
    expect(c?.az).toBe('us-west-2a');
    await expect(subnets.of(HERE, [A, C])).rejects.toMatchObject({
      ...INVALID,
      message: `${C} is the second subnet in us-west-2a: one in each zone.`,
    });
  });
});

describe('an ENI', () => {
  test('is the first free address of its subnet', async () => {
    const subnets = subnetsOn();
    const [a] = await subnets.of(HERE, [A]);
    const first = await subnets.eni(HERE, A, []);
    expect(first).toEqual({ ip: `${a?.prefix}.10`, port: 2225 });
    expect(await subnets.eni(HERE, A, [first])).toEqual({ ip: `${a?.prefix}.11`, port: 2225 });
  });

  test('is at the address that is wanted, if that can be had', async () => {
    const subnets = subnetsOn();
    await subnets.of(HERE, [A]);
    const wanted = '127.100.9.77';
    const eni = await subnets.eni(HERE, A, [], wanted);
    expect(eni).toEqual({ ip: wanted, port: 2225 });
    const message = (ip: string): string =>
      `This machine cannot listen on the IpAddress ${ip}, or an HSM has it.`;
    await expect(subnets.eni(HERE, A, [eni], wanted)).rejects.toMatchObject({
      ...INVALID,
      message: message(wanted),
    });
    await expect(subnets.eni(HERE, A, [], '192.0.2.1')).rejects.toMatchObject({
      ...INVALID,
      message: message('192.0.2.1'),
    });
    const server = createServer().listen(2225, wanted);
    onTestFinished(() => void server.close());
    await expect(subnets.eni(HERE, A, [], wanted)).rejects.toMatchObject(INVALID);
  });

  test('is a port where HSMs have ports', async () => {
    const block = { mode: 'ports', bind: '127.0.0.1', firstPort: 21_500 } as const;
    const subnets = new Subnets(new MemoryStore(), block, 'here');
    expect((await subnets.of(HERE, [A]))[0]?.prefix).toBeNull();
    const first = await subnets.eni(HERE, A, []);
    const second = await subnets.eni(HERE, A, [first], '127.0.0.1');
    expect(second.port).not.toBe(first.port);
    await expect(subnets.eni(HERE, A, [], '127.0.0.2')).rejects.toMatchObject(INVALID);
  });
});
