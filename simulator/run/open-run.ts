/** A run that is prepared: its service is subscribed, and its shards have their devices. Closes both. */

import { Counters } from '../devices/counters.ts';
import { preciseNow, TimerWheel } from '../devices/timer-wheel.ts';
import { TlsConnector, type TlsTarget } from '../devices/tls-connections.ts';
import type { Scenario } from '../scenario/schema.ts';
import type { DeviceList } from './device-list.ts';
import { waitForAcknowledgements } from './final-measurements.ts';
import type { Incidents } from './incidents.ts';
import type { Observer } from './observer.ts';
import { RunRecord } from './record.ts';
import type { RunOptions } from './run-options.ts';
import { openService, revokeService } from './service.ts';
import { brokerSettings, createShardConfigs } from './shard-configs.ts';
import type { ShardPlacement } from './shard-placement.ts';
import { ShardLost, Shards } from './shards.ts';
import type { BootstrapTokens, ServerEndpoints } from './targets.ts';

export interface RunTarget {
  readonly placement: ShardPlacement;
  readonly tokens: BootstrapTokens;
  readonly server: ServerEndpoints;
  readonly target: TlsTarget;
  readonly devices: DeviceList;
}

export interface RunParts extends RunTarget {
  readonly scenario: Scenario;
  readonly shards: Shards;
  readonly record: RunRecord;
  /** What the run itself counts, beside its devices. */
  readonly counters: Counters;
  readonly service: Observer | undefined;
}

const LAG_PROBE_MS = 50;

export class OpenRun {
  readonly parts: RunParts;
  readonly #options: RunOptions;
  readonly #lagProbe: LagProbe;

  private constructor(options: RunOptions, parts: RunParts, lagProbe: LagProbe) {
    this.#options = options;
    this.parts = parts;
    this.#lagProbe = lagProbe;
  }

  /** The service hears everything, so it is subscribed before the shards have their devices. */
  static async open(options: RunOptions, target: RunTarget): Promise<OpenRun> {
    const { scenario, onSecond } = options;
    const { placement, devices, server } = target;
    const record = new RunRecord(devices.devices.length, placement.shards, () => placement.memory());
    const counters = new Counters();
    const lagProbe = new LagProbe(counters);
    let service: Observer | undefined;
    try {
      const { rootPem, clientChain, names } = brokerSettings(options.targetBroker, server.rootPem);
      const connector = new TlsConnector(rootPem, clientChain);
      service = await openService(options, { target: target.target, connector, counters, names });
      const shards = await Shards.open(createShardConfigs(options, target), placement, (report) => {
        record.own(counters.take());
        if (record.second(report)) onSecond?.(record.snapshot());
      });
      return new OpenRun(options, { ...target, scenario, shards, record, counters, service }, lagProbe);
    } catch (error) {
      service?.close();
      lagProbe.close();
      throw error instanceof ShardLost ? (error.cause ?? error) : error;
    }
  }

  /** From the first device to the last acknowledgement. Rejects with {@link ShardLost}. */
  async play(incidents: Incidents, signal: AbortSignal): Promise<void> {
    const { placement, record, shards, scenario } = this.parts;
    const start = preciseNow() + placement.startDelay;
    record.start(start);
    shards.start(start);
    await Promise.race([incidents.play(), shards.failed]);
    shards.stopPublishing();
    await Promise.race([waitForAcknowledgements(scenario.settle, record, signal), shards.failed]);
  }

  /** What was measured before a shard was lost. */
  valuesSoFar(): Record<string, number> {
    const { record, counters } = this.parts;
    record.own(counters.take());
    return record.values();
  }

  async close(): Promise<void> {
    const { service, shards } = this.parts;
    this.#lagProbe.close();
    service?.close();
    if (service !== undefined && this.#options.operator !== undefined) await revokeService(this.#options);
    await shards.close();
  }
}

/** Measures how late timers of this thread are, which has no devices of its own. */
class LagProbe {
  readonly #timers: TimerWheel;
  readonly #interval: NodeJS.Timeout;

  constructor(counters: Counters) {
    this.#timers = new TimerWheel((late) => counters.record('lag', late));
    this.#interval = setInterval(() => this.#timers.at(preciseNow() + 10, () => {}), LAG_PROBE_MS);
  }

  close(): void {
    clearInterval(this.#interval);
    this.#timers.close();
  }
}
