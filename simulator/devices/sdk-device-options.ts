/** What the run says about an SDK device, as options of the SDK. */

import type { DeviceOptions } from '@rollcall/device-sdk';
import type { MqttLevel } from '../scenario/mqtt-versions.ts';
import { seededRandom } from '../seeded-random.ts';
import type { DeviceEnvironment } from './device-environment.ts';
import type { GroupContext, ShardContext } from './shard-context.ts';

export interface SdkDeviceOptions {
  readonly index: number;
  readonly position: number;
  readonly id: string;
  readonly group: GroupContext;
  /** Undefined: the SDK uses what the broker speaks. */
  readonly version: MqttLevel | undefined;
  readonly seed: number;
  /** In place of what the enroll server announces, where a proxy stands in between. */
  readonly mqttUrl: string | undefined;
  /** Limits how many devices enroll at one time. */
  readonly turn: <T>(enroll: () => Promise<T>) => Promise<T>;
}

/** What one instance of the device has. */
export interface SdkInstance {
  readonly environment: DeviceEnvironment;
  readonly clock: (now: number) => number;
  readonly signal: AbortSignal;
}

const LEAST_KEEPALIVE_S = 15;

export function deviceOptions(
  options: SdkDeviceOptions,
  context: ShardContext,
  { environment: { proxy, sdkOptions }, clock, signal }: SdkInstance,
): DeviceOptions {
  const { sdk, now } = context;
  const { index, group, seed, id, version } = options;
  const { sessionExpiry, keepalive } = group.settings;
  const mqttUrl = proxy === undefined ? (options.mqttUrl ?? sdk.mqttUrl) : `mqtts://localhost:${proxy.port}`;
  const store = sdk.storeOf?.(index);
  const random = seededRandom(seed + 1);
  return {
    ...(store === undefined ? sdkOptions : { store, queue: 'memory' }),
    ...(group.token !== undefined && { token: group.token }),
    ...(sdk.names === 'scenario' && { deviceId: id }),
    ...(mqttUrl !== undefined && { mqttUrl }),
    ...(sdk.log !== undefined && { log: sdk.log }),
    ...(version !== undefined && { mqttVersion: version === 5 ? '5' : '3.1.1' }),
    clean: sessionExpiry === 0,
    sessionExpiry: Math.ceil(sessionExpiry / 1_000),
    renewal: sdk.renewal,
    keepalive: Math.max(LEAST_KEEPALIVE_S, Math.round(keepalive / 1_000)),
    random: () => random() * sdk.haste,
    now: () => Math.round(clock(now())),
    signal,
    commands: commandsOf(group, context),
  };
}

function commandsOf({ settings }: GroupContext, { timers, now }: ShardContext): NonNullable<DeviceOptions['commands']> {
  return Object.fromEntries(
    Object.entries(settings.commands).flatMap(([name, { answer, after }]) =>
      answer === false
        ? []
        : [[name, () => new Promise<string>((resolve) => timers.at(now() + after, () => resolve(answer)))]],
    ),
  );
}
