/** Deals the fleet out: an order for each shard, with its devices and what they need to know. The same roster gives the same devices, however many shards. */

import type { ShardGroup, ShardOrder } from '../devices/shard-messages.ts';
import type { Target } from '../devices/tls-connections.ts';
import type { Roster } from './device-list.ts';
import type { RunOptions } from './run-options.ts';
import type { ShardPlaces } from './shard-places.ts';
import type { Place, Tokens } from './targets.ts';

export interface OrderParts {
  readonly places: ShardPlaces;
  readonly roster: Roster;
  readonly tokens: Tokens;
  readonly target: Target;
  readonly place: Place;
}

export function shardOrders(
  { scenario, recordings, keepIdentities }: RunOptions,
  { places, roster, tokens, target, place }: OrderParts,
): readonly ShardOrder[] {
  const groups: Record<string, ShardGroup> = {};
  for (const [name, settings] of Object.entries(scenario.devices)) {
    const token = tokens.byGroup.get(name)?.text;
    const texts: Record<string, string> = {};
    for (const { stream, model } of settings.publish) {
      if (model.kind === 'replay') texts[stream] = recordings.get(model.file) ?? '';
    }
    const mine = scenario.timeline.filter(({ of }) => of === undefined || of === name);
    const hazards = (['cut', 'power'] as const).filter((hazard) => mine.some((incident) => incident[hazard]));
    groups[name] = { settings, recordings: texts, hazards, ...(token !== undefined && { token }) };
  }
  return Array.from({ length: places.shards }, (_, shard) => ({
    shard,
    seed: scenario.seed,
    groups,
    devices: roster.devices.filter(({ index }) => index % places.shards === shard),
    enrollUrl: place.enrollUrl,
    rootPem: place.rootPem,
    mqtt: target,
    sourceAddresses: places.sourceAddresses,
    clockOffset: places.clockOffset(shard),
    identities: keepIdentities === undefined ? 'dropped' : 'kept',
  }));
}
