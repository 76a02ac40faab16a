import { describe, expect, it } from 'vitest';
import { readScenario } from '../scenario/read.ts';
import type { Scenario } from '../scenario/schema.ts';
import { accelerated, DeviceList, scaled } from './device-list.ts';

function scenario(seed: number): Scenario {
  const read = readScenario(
    `name: a
seed: ${seed}
duration: 60s
devices:
  press: { count: 100, arrive: { curve: poisson, perSecond: 10 } }
  hall: { count: 20, arrive: { curve: burst, size: 10, every: 4s } }
timeline:
  - { at: 20s, cut: 10, of: press, for: 10s }
  - { at: 30s, attack: guess, count: 50 }
`,
    { fileExists: () => false },
  );
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  return read.scenario;
}

const nameOf = (group: string, number: number) => `${group}-${number}`;
const chosen = (deviceList: DeviceList) => deviceList.choose('press', { percent: 10 }).map(({ id }) => id);

describe('a device list', () => {
  it('is the same with the same seed: names, arrivals and victims', () => {
    const [a, b, c] = [1, 1, 2].map((seed) => new DeviceList(scenario(seed), nameOf)) as [
      DeviceList,
      DeviceList,
      DeviceList,
    ];
    expect(a.devices).toEqual(b.devices);
    expect(chosen(a)).toEqual(chosen(b));
    expect(chosen(a)).not.toEqual(chosen(c));
    expect(a.devices.map(({ arrivesAt }) => arrivesAt)).not.toEqual(c.devices.map(({ arrivesAt }) => arrivesAt));
    expect(a.devices[100]).toMatchObject({ id: 'hall-1', group: 'hall', arrivesAt: 0 });
  });

  it('gives an incident the devices of the one before it, but none that are gone', () => {
    const deviceList = new DeviceList(scenario(1), nameOf);
    const first = deviceList.choose('press', { devices: 5 });
    expect(deviceList.choose('press', { percent: 10 }).slice(0, 5)).toEqual(first);
    deviceList.remove(first);
    const next = deviceList.choose('press', { devices: 5 });
    expect(next).toHaveLength(5);
    expect(next.filter((device) => first.includes(device))).toEqual([]);
  });

  it('gives as many devices MQTT 5 as the mix says, in no order, and changes nothing else', () => {
    const plain = scenario(1);
    const mixed = { ...plain, devices: { ...plain.devices, press: { ...plain.devices.press, mqtt: 0.3 } } } as Scenario;
    const levels = new DeviceList(mixed, nameOf).devices.map(({ mqtt }) => mqtt);
    expect(levels.slice(0, 100).filter((level) => level === 5)).toHaveLength(30);
    expect(levels.slice(0, 100).filter((level) => level === 4)).toHaveLength(70);
    const [even, odd] = [0, 1].map((shard) => levels.filter((level, at) => level === 5 && at % 2 === shard).length);
    expect(Math.min(even as number, odd as number)).toBeGreaterThan(5); // each of two shards has some
    expect(levels.slice(100)).toEqual(Array.from({ length: 20 }, () => undefined));
    const without = (list: DeviceList) => list.devices.map(({ mqtt: _, ...device }) => device);
    expect(without(new DeviceList(mixed, nameOf))).toEqual(without(new DeviceList(plain, nameOf)));
    expect(new DeviceList(mixed, nameOf).devices).toEqual(new DeviceList(mixed, nameOf).devices);
  });

  it('takes the devices that were kept, in their order', () => {
    const kept = Array.from({ length: 120 }, (_, n) => [`kept-${n}`, { keyPem: 'k', certificatePem: `${n}` }] as const);
    const deviceList = new DeviceList(scenario(1), nameOf, new Map(kept));
    expect(deviceList.devices[7]).toMatchObject({ id: 'kept-7', identity: { certificatePem: '7' } });
  });
});

describe('a scenario', () => {
  it('scaled has fewer devices at the same times', () => {
    const small = scaled(scenario(1), 0.1);
    expect(small.devices.press).toMatchObject({ count: 10, arrive: { perSecond: 1 } });
    expect(small.devices.hall).toMatchObject({ count: 2, arrive: { size: 1, every: 4_000 } });
    expect(small.timeline).toMatchObject([{ at: 20_000, cut: { devices: 1 } }, { count: 5 }]);
    expect(small.duration).toBe(60_000);
  });

  it('hastened has the same devices in less time', () => {
    const fast = accelerated(scenario(1), 2);
    expect(fast.duration).toBe(30_000);
    expect(fast.devices.press).toMatchObject({ count: 100, arrive: { perSecond: 20 } });
    expect(fast.devices.hall).toMatchObject({ arrive: { every: 2_000 } });
    expect(fast.timeline).toMatchObject([{ at: 10_000, for: 5_000, cut: { devices: 10 } }, { at: 15_000 }]);
  });
});
