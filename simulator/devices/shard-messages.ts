/** The messages between a run and its shards: plain data, because a shard is a thread here or on another host. */

import type { MqttLevel } from '../scenario/mqtt-versions.ts';
import type { DeviceGroup } from '../scenario/schema.ts';
import type { BrokerNames } from './broker-names.ts';
import type { CountersReport } from './counters.ts';
import type { DeviceFault } from './shard-context.ts';
import type { ClientChain, TlsIdentity, TlsTarget } from './tls-connections.ts';

export interface ShardDevice {
  readonly index: number;
  readonly position: number;
  readonly id: string;
  readonly group: string;
  /** Undefined where the scenario names no version: a light device uses 3.1.1, the SDK chooses. */
  readonly mqtt?: MqttLevel | undefined;
  /** Milliseconds after the start of the run. */
  readonly arrivesAt: number;
  readonly identity?: TlsIdentity;
}

export interface ShardGroup {
  readonly settings: DeviceGroup;
  readonly token?: string;
  /** Texts of recordings by the name of their stream. */
  readonly recordings: Readonly<Record<string, string>>;
  readonly faults: readonly DeviceFault[];
}

/** What light devices need to know of their broker, beside its address. */
export interface BrokerSettings {
  /** The CAs that its certificate may be from. */
  readonly rootPem: string;
  readonly clientChain: ClientChain;
  readonly names: BrokerNames;
}

export interface ShardConfig {
  readonly shard: number;
  readonly seed: number;
  readonly groups: Readonly<Record<string, ShardGroup>>;
  readonly devices: readonly ShardDevice[];
  readonly enrollUrl: string | undefined;
  /** Of the enroll server. */
  readonly rootPem: string;
  readonly broker: BrokerSettings;
  /** Undefined where all devices are of the SDK and learn it from the enroll server. */
  readonly mqtt: TlsTarget | undefined;
  readonly sourceAddresses: readonly string[];
  /** By how much the clock of this machine is ahead of the run's, milliseconds. All times that are said are the run's. */
  readonly clockOffset: number;
  /** Whether the last report carries the keys and certificates of the devices. */
  readonly identities: 'kept' | 'dropped';
}

/** What a device that is no device of the fleet tries. */
export type HostileAction = 'clone' | 'steal' | 'outlive' | 'malformed' | 'guess' | 'probe' | 'slow-handshake';

export type ShardAction =
  | { readonly kind: 'revoking'; readonly devices: readonly number[]; readonly at: number }
  | { readonly kind: 'cut' | 'power'; readonly devices: readonly number[]; readonly for: number }
  | { readonly kind: 'renew'; readonly devices: readonly number[] }
  | {
      readonly kind: 'network';
      readonly group: string | undefined;
      readonly conditions: DeviceGroup['network'] | undefined;
    }
  | { readonly kind: 'server-returned'; readonly at: number }
  | {
      readonly kind: 'hostile';
      readonly action: HostileAction;
      readonly devices: readonly number[];
      readonly count: number;
      /** End of the run, milliseconds since 1970. */
      readonly until: number;
    };

export type ToShard =
  | { readonly kind: 'prepare'; readonly config: ShardConfig }
  /** `at`: milliseconds since 1970. */
  | { readonly kind: 'start'; readonly at: number }
  | { readonly kind: 'action'; readonly id: number; readonly action: ShardAction }
  /** No new messages. */
  | { readonly kind: 'stop-publishing' }
  /** Everybody leaves; the last report follows. */
  | { readonly kind: 'end' };

/** How many devices are what, now. */
export interface DeviceCounts {
  readonly connected: number;
  readonly inFleet: number;
  readonly refused: number;
  readonly connectionRefused: number;
  readonly waiting: number;
  /** Messages without an acknowledgement. */
  readonly unacknowledged: number;
}

export type FromShard =
  | { readonly kind: 'prepared' }
  | {
      readonly kind: 'second';
      readonly counters: CountersReport;
      readonly deviceCounts: DeviceCounts;
      readonly cpuMicros: number;
    }
  | { readonly kind: 'action-done'; readonly id: number; readonly error?: string }
  | { readonly kind: 'failed'; readonly error: string }
  | {
      readonly kind: 'ended';
      readonly counters: CountersReport;
      /** Acknowledged sequence numbers as ranges, by `device stream`. */
      readonly acknowledged: Readonly<Record<string, readonly number[]>>;
      readonly identities: Readonly<Record<string, TlsIdentity>>;
    };
