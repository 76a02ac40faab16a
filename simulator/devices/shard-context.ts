/** What the devices of one shard share: clock, agenda, connections, counters, and the settings of their group. Holds no behaviour. */

import type { Recording } from '../scenario/recording.ts';
import type { DeviceGroup, Stream } from '../scenario/schema.ts';
import type { Tally } from './counters.ts';
import type { EstDoor } from './est-client.ts';
import type { Agenda } from './timer-wheel.ts';
import type { Target, TlsLines } from './tls-connections.ts';

export interface Crew {
  readonly agenda: Agenda;
  readonly tally: Tally;
  readonly lines: TlsLines;
  /** Milliseconds since 1970, with a fraction. */
  readonly now: () => number;
  /** When the server last came back after it was gone: devices recover from then on. */
  returnedAt: number;
  /** No more messages: the run is over. */
  isOver: boolean;
}

export interface GroupOfDevices {
  readonly name: string;
  readonly settings: DeviceGroup;
  /** Bootstrap token; undefined where identities were brought along. */
  readonly token: string | undefined;
  readonly door: EstDoor | undefined;
  /** Where the broker is, for this group: perhaps a proxy. */
  readonly target: () => Target;
  readonly recordings: ReadonlyMap<string, Recording>;
  /** What may happen to single devices of the group. */
  readonly hazards: readonly Hazard[];
}

export type Hazard = 'cut' | 'power';

export interface StreamSettings {
  readonly stream: Stream;
  readonly recording: Recording | undefined;
}

/** What a run asks of a device, whatever its kind. */
export interface LiveDevice {
  readonly index: number;
  readonly id: string;
  readonly group: string;
  readonly isConnected: boolean;
  readonly fate: Fate;
  /** It comes to life: enrolls if it has no identity, connects, speaks. */
  arrive(): void;
  /** It will be revoked; `at`: when the order was given. */
  expectRevocation(at: number): void;
  cutLine(milliseconds: number): void;
  losePower(milliseconds: number): void;
  renew(): Promise<void>;
  /** Says nothing new from now on. */
  fallSilent(): void;
  leave(): Promise<void>;
  /** Acknowledged sequence numbers by stream, as ranges. */
  acknowledged(): Readonly<Record<string, readonly number[]>>;
  /** Messages of QoS 1 that wait for their acknowledgement. */
  readonly waiting: number;
}

/** `waiting`: not in the fleet yet. `in`: it has a certificate. `refused`: it got none. `cut off`: it is not let in any more. */
export type Fate = 'waiting' | 'in' | 'refused' | 'cut off';
