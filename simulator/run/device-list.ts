/**
 * The devices of a run: names, start times, and the order in which incidents choose them. Pure; the same scenario and seed give
 * the same list.
 */

import type { ShardDevice } from '../devices/shard-messages.ts';
import { arrivalTimes } from '../scenario/arrival-curves.ts';
import { assignMqttLevels } from '../scenario/mqtt-versions.ts';
import type { Share } from '../scenario/quantities.ts';
import type { Scenario } from '../scenario/schema.ts';
import { seededRandom } from '../seeded-random.ts';

export class DeviceList {
  readonly devices: readonly ShardDevice[];
  /** By group, and of all under `undefined`; shuffled once, so that an incident chooses the devices of the incident before it. */
  readonly #orders = new Map<string | undefined, readonly ShardDevice[]>();
  readonly #gone = new Set<number>();

  constructor(
    scenario: Scenario,
    nameOf: (group: string, number: number) => string,
    identities?: ReadonlyMap<string, ShardDevice['identity']>,
  ) {
    const devices: ShardDevice[] = [];
    const kept = identities === undefined ? undefined : [...identities];
    const random = seededRandom(scenario.seed);
    const versionRandom = seededRandom(scenario.seed + 1); // its own: a mix changes neither arrivals nor incidents
    for (const [group, settings] of Object.entries(scenario.devices)) {
      const arrivals = arrivalTimes(settings.arrive, settings.count, random);
      const { mqtt } = settings;
      const levels = mqtt === undefined ? undefined : assignMqttLevels(settings.count, mqtt, versionRandom);
      for (let at = 0; at < settings.count; at += 1) {
        const index = devices.length;
        const known = kept?.[index];
        devices.push({
          index,
          position: at / settings.count,
          id: known?.[0] ?? nameOf(group, at + 1),
          group,
          ...(levels !== undefined && { mqtt: levels[at] }),
          arrivesAt: arrivals[at] as number,
          ...(known?.[1] !== undefined && { identity: known[1] }),
        });
      }
    }
    this.devices = devices;
    for (const group of [undefined, ...Object.keys(scenario.devices)]) {
      const members = group === undefined ? [...devices] : devices.filter((device) => device.group === group);
      this.#orders.set(group, shuffled(members, random));
    }
  }

  /** Devices of the group that are still in the fleet; always the same first ones. */
  choose(group: string | undefined, share: Share): readonly ShardDevice[] {
    const order = this.#orders.get(group) ?? [];
    const wanted = 'percent' in share ? Math.ceil((order.length * share.percent) / 100) : share.devices;
    return order.filter((device) => !this.#gone.has(device.index)).slice(0, wanted);
  }

  /** They are not chosen any more. */
  remove(devices: readonly ShardDevice[]): void {
    for (const { index } of devices) this.#gone.add(index);
  }
}

function shuffled<T>(list: T[], random: () => number): readonly T[] {
  for (let at = list.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    [list[at], list[other]] = [list[other] as T, list[at] as T];
  }
  return list;
}

/**
 * The same scenario in less time: duration, arrivals and incidents are so many times as fast. The rates of messages and the
 * timeouts of devices and servers stay.
 */
export function accelerated(scenario: Scenario, factor: number): Scenario {
  if (factor === 1) return scenario;
  return {
    ...scenario,
    duration: scenario.duration / factor,
    devices: Object.fromEntries(
      Object.entries(scenario.devices).map(([name, group]) => {
        const { arrive } = group;
        const changed =
          'over' in arrive
            ? { ...arrive, over: arrive.over / factor }
            : arrive.curve === 'burst'
              ? { ...arrive, every: arrive.every / factor }
              : { ...arrive, perSecond: arrive.perSecond * factor };
        return [name, { ...group, arrive: changed }];
      }),
    ),
    timeline: scenario.timeline.map((incident) => ({
      ...incident,
      at: incident.at / factor,
      ...(incident.for !== undefined && { for: incident.for / factor }),
    })),
  };
}

/** The same scenario with more or fewer devices; times stay. */
export function scaled(scenario: Scenario, factor: number): Scenario {
  if (factor === 1) return scenario;
  const of = (count: number) => Math.max(1, Math.round(count * factor));
  const share = (value: Share | undefined) =>
    value === undefined ? {} : 'percent' in value ? value : { devices: of(value.devices) };
  return {
    ...scenario,
    devices: Object.fromEntries(
      Object.entries(scenario.devices).map(([name, group]) => {
        const { arrive } = group;
        return [
          name,
          {
            ...group,
            count: of(group.count),
            arrive:
              arrive.curve === 'burst'
                ? { ...arrive, size: of(arrive.size) }
                : arrive.curve === 'poisson'
                  ? { ...arrive, perSecond: arrive.perSecond * factor }
                  : arrive,
          },
        ];
      }),
    ),
    timeline: scenario.timeline.map((incident) => {
      const changed: Record<string, unknown> = { ...incident };
      for (const word of ['revoke', 'cut', 'power', 'clone', 'steal', 'renew', 'outlive', 'to'] as const) {
        if (incident[word] !== undefined) changed[word] = share(incident[word]);
      }
      if (incident.count !== undefined) changed.count = of(incident.count);
      return changed as (typeof scenario.timeline)[number];
    }),
  };
}
