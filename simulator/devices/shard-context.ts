/** What the devices of one shard share: clock, timers, connections, counters, and the settings of their group. Holds no behaviour. */

import type { DeviceError, DeviceLog, IdentityStore } from '@rollcall/device-sdk';
import type { Recording } from '../scenario/recording.ts';
import type { DeviceGroup, Stream } from '../scenario/schema.ts';
import type { BrokerNames } from './broker-names.ts';
import type { Counters } from './counters.ts';
import type { DeviceObserver } from './device-report.ts';
import type { EnrollmentPacer } from './enrollment-pacer.ts';
import type { EstClient } from './est-client.ts';
import type { TimerWheel } from './timer-wheel.ts';
import type { TlsConnector, TlsTarget } from './tls-connections.ts';

export interface ShardContext {
  readonly timers: TimerWheel;
  readonly counters: Counters;
  readonly connector: TlsConnector;
  readonly pacer: Pick<EnrollmentPacer, 'succeeded' | 'throttled'>;
  /** That the broker of light devices expects. */
  readonly names: BrokerNames;
  /** Milliseconds since 1970, with a fraction. */
  readonly now: () => number;
  /** When the server last came back after it was gone: devices recover from then on. */
  serverReturnedAt: number;
  /** No more messages: the run is over. */
  isRunOver: boolean;
  readonly sdk: SdkSettings;
}

/** How devices of the SDK behave beyond what a scenario says. Only a shard in this process gets stores, a log and an observer. */
export interface SdkSettings {
  readonly renewal: 'automatic' | 'manual';
  /** A device chooses its moments in this first part of each window and pause; more than 0 and at most 1. */
  readonly haste: number;
  /** `server`: devices ask for no name, and the server chooses one. */
  readonly names: 'scenario' | 'server';
  /** What a device does before the next one may enroll: `connected` keeps a fleet from connecting all at once. */
  readonly turnEnds: 'enrolled' | 'connected';
  /** In place of what the enroll server announces. */
  readonly mqttUrl?: string | undefined;
  readonly storeOf?: ((index: number) => IdentityStore) | undefined;
  readonly log?: DeviceLog | undefined;
  readonly observer?: DeviceObserver | undefined;
}

export const DEFAULT_SDK_SETTINGS: SdkSettings = {
  renewal: 'manual',
  haste: 1,
  names: 'scenario',
  turnEnds: 'enrolled',
};

export interface GroupContext {
  readonly name: string;
  readonly settings: DeviceGroup;
  /** Bootstrap token; undefined where identities were brought along. */
  readonly token: string | undefined;
  readonly estClient: EstClient | undefined;
  /** Where the broker is, for this group: perhaps a proxy. */
  readonly target: () => TlsTarget;
  readonly recordings: ReadonlyMap<string, Recording>;
  /** What may happen to single devices of the group. */
  readonly faults: readonly DeviceFault[];
  /** Set once the server refused the token for all: devices of the group ask no more. */
  tokenRefusal?: DeviceError | undefined;
}

export type DeviceFault = 'cut' | 'power';

export interface StreamSettings {
  readonly stream: Stream;
  readonly recording: Recording | undefined;
}

/** What a run asks of a device, whatever its kind. */
export interface SimulatedDevice {
  readonly index: number;
  readonly id: string;
  readonly group: string;
  readonly isConnected: boolean;
  readonly outcome: DeviceOutcome;
  /** Enrolls when it has no identity, connects and publishes. */
  start(): void;
  /** It will be revoked; `at`: when the order was given. */
  expectRevocation(at: number): void;
  cutConnection(milliseconds: number): void;
  losePower(milliseconds: number): void;
  renew(): Promise<void>;
  /** Says nothing new from now on. */
  stopPublishing(): void;
  close(): Promise<void>;
  /** Acknowledged sequence numbers by stream, as ranges. */
  acknowledged(): Readonly<Record<string, readonly number[]>>;
  /** Messages of QoS 1 that wait for their acknowledgement. */
  readonly unacknowledged: number;
}

/** `waiting`: not enrolled yet. `in`: it has a certificate. `refused`: it received none. `connection refused`: the broker refuses it for good. */
export type DeviceOutcome = 'waiting' | 'in' | 'refused' | 'connection refused';
