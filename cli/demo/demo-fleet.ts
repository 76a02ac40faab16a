/** The devices of a demo: one fleet, or several that enrolled at different servers, watched as one. */

import type { DeviceLog } from '@rollcall/device-sdk';
import { type DeviceReport, type FleetSnapshot, SdkFleet, type SequenceSet } from '../../simulator/index.ts';

/** Devices that enroll with one token. */
export interface FleetPart {
  readonly devices: number;
  readonly token: string;
  readonly idPrefix: string;
  /** In place of what the enroll server announces. */
  readonly mqttUrl?: string;
}

export type FleetCounts = Pick<FleetSnapshot, 'elapsed' | 'devices' | 'everConnected' | 'acknowledged' | 'causes'> & {
  readonly connected: number;
};

export class DemoFleet {
  /** Every device was connected at some time. */
  readonly allConnected: Promise<void>;
  readonly done: Promise<void>;
  readonly #fleets: readonly SdkFleet[];
  readonly #everConnected: ReadonlySet<string>;
  readonly #onRefused: Map<string, () => void>;

  /** `rate`: messages per second and device. Ends after so many seconds, or at `stop`. */
  static async start(
    parts: readonly FleetPart[],
    {
      seconds,
      rate = 1,
      log,
    }: { readonly seconds: number | undefined; readonly rate?: number; readonly log: DeviceLog },
  ): Promise<DemoFleet> {
    const everConnected = new Set<string>();
    const onRefused = new Map<string, () => void>();
    const all = Promise.withResolvers<void>();
    const devices = parts.reduce((sum, part) => sum + part.devices, 0);
    const see = ({ state, id = '' }: DeviceReport) => {
      if (state === 'connected' && everConnected.add(id).size === devices) all.resolve();
      if (state === 'connection refused') onRefused.get(id)?.();
    };
    const duration = seconds === undefined ? {} : { seconds };
    const fleets = await Promise.all(
      parts.map((part) => SdkFleet.start({ ...part, ...duration, rate, onDevice: see, log })),
    );
    return new DemoFleet(fleets, { everConnected, onRefused, allConnected: all.promise });
  }

  private constructor(
    fleets: readonly SdkFleet[],
    seen: {
      readonly everConnected: ReadonlySet<string>;
      readonly onRefused: Map<string, () => void>;
      readonly allConnected: Promise<void>;
    },
  ) {
    this.#fleets = fleets;
    this.#everConnected = seen.everConnected;
    this.#onRefused = seen.onRefused;
    this.allConnected = seen.allConnected;
    this.done = Promise.all(fleets.map((fleet) => fleet.done)).then(() => {});
  }

  async stop(): Promise<void> {
    await Promise.all(this.#fleets.map((fleet) => fleet.stop()));
  }

  devices(): readonly DeviceReport[] {
    return this.#fleets.flatMap((fleet) => fleet.devices());
  }

  counts(): FleetCounts {
    const snapshots = this.#fleets.map((fleet) => fleet.snapshot());
    const sum = (count: (snapshot: FleetSnapshot) => number) => snapshots.reduce((total, one) => total + count(one), 0);
    const causes: Record<string, number> = {};
    for (const snapshot of snapshots) {
      for (const [cause, count] of Object.entries(snapshot.causes)) causes[cause] = (causes[cause] ?? 0) + count;
    }
    return {
      elapsed: Math.max(...snapshots.map(({ elapsed }) => elapsed)),
      devices: sum(({ devices }) => devices),
      connected: sum(({ byState }) => byState.connected),
      everConnected: sum(({ everConnected }) => everConnected),
      acknowledged: sum(({ acknowledged }) => acknowledged),
      causes,
    };
  }

  /** Of the devices that never connected, counted by the last error of each. */
  causesOfNever(): Readonly<Record<string, number>> {
    const causes: Record<string, number> = {};
    for (const { id = '', reason = 'the demo ended before its turn' } of this.devices()) {
      if (!this.#everConnected.has(id)) causes[reason] = (causes[reason] ?? 0) + 1;
    }
    return causes;
  }

  /** Resolves when the server refuses this device's connection. */
  refused(id: string): Promise<void> {
    return new Promise((resolve) => this.#onRefused.set(id, resolve));
  }

  /** Acknowledged messages by `device stream`; empty before `done`. */
  acknowledged(): ReadonlyMap<string, SequenceSet> {
    return new Map(this.#fleets.flatMap((fleet) => [...fleet.acknowledged]));
  }
}
