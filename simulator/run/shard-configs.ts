/** Divides the fleet among the shards. The same list gives the same devices, however many shards there are. */

import { FLEET_NAMES } from '../devices/broker-names.ts';
import type { BrokerSettings, ShardConfig, ShardGroup } from '../devices/shard-messages.ts';
import type { TlsTarget } from '../devices/tls-connections.ts';
import type { DeviceList } from './device-list.ts';
import type { RunOptions, TargetBroker } from './run-options.ts';
import type { ShardPlacement } from './shard-placement.ts';
import type { BootstrapTokens, ServerEndpoints } from './targets.ts';

export interface ShardConfigParts {
  readonly placement: ShardPlacement;
  readonly devices: DeviceList;
  readonly tokens: BootstrapTokens;
  readonly target: TlsTarget | undefined;
  readonly server: Pick<ServerEndpoints, 'enrollUrl' | 'rootPem'>;
}

export function createShardConfigs(
  {
    scenario,
    recordings,
    keepIdentities,
    targetBroker,
  }: Pick<RunOptions, 'scenario' | 'recordings' | 'keepIdentities' | 'targetBroker'>,
  { placement, devices, tokens, target, server }: ShardConfigParts,
): readonly ShardConfig[] {
  const groups: Record<string, ShardGroup> = {};
  for (const [name, settings] of Object.entries(scenario.devices)) {
    const token = tokens.byGroup.get(name)?.text;
    const texts: Record<string, string> = {};
    for (const { stream, model } of settings.publish) {
      if (model.kind === 'replay') texts[stream] = recordings.get(model.file) ?? '';
    }
    const mine = scenario.timeline.filter(({ of }) => of === undefined || of === name);
    const faults = (['cut', 'power'] as const).filter((fault) => mine.some((incident) => incident[fault]));
    groups[name] = { settings, recordings: texts, faults, ...(token !== undefined && { token }) };
  }
  return Array.from({ length: placement.shards }, (_, shard) => ({
    shard,
    seed: scenario.seed,
    groups,
    devices: devices.devices.filter(({ index }) => index % placement.shards === shard),
    enrollUrl: server.enrollUrl,
    rootPem: server.rootPem,
    broker: brokerSettings(targetBroker, server.rootPem),
    mqtt: target,
    sourceAddresses: placement.sourceAddresses,
    clockOffset: placement.clockOffset(shard),
    identities: keepIdentities === undefined ? 'dropped' : 'kept',
  }));
}

/** `rootPem`: of the devices. */
export function brokerSettings(targetBroker: TargetBroker | undefined, rootPem: string): BrokerSettings {
  return {
    rootPem: targetBroker?.caPem ?? rootPem,
    clientChain: targetBroker === undefined ? 'leaf' : 'full',
    names: targetBroker?.names ?? FLEET_NAMES,
  };
}
