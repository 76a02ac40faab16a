/** The shards of a run: gives each its configuration, sends actions to all of them, and collects their reports. */

import type { CountersReport } from '../devices/counters.ts';
import type { DeviceCounts, FromShard, ShardAction, ShardConfig, ToShard } from '../devices/shard-messages.ts';
import type { ShardPlacement, ShardPort } from './shard-placement.ts';

type Ended = Extract<FromShard, { kind: 'ended' }>;

export interface SecondReport {
  readonly shard: number;
  readonly counters: CountersReport;
  readonly deviceCounts: DeviceCounts;
  readonly cpuMicros: number;
}

/** A shard was lost with the measurements of its devices: the run has no valid result. */
export class ShardLost extends Error {
  override readonly name = 'ShardLost';
}

export class Shards {
  readonly #ports: readonly ShardPort[];
  readonly #prepared: readonly Promise<void>[];
  readonly #ends: readonly Promise<Ended>[];
  readonly #actions = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  #actionCount = 0;
  /** Rejects with {@link ShardLost}: a shard that fails takes the run with it. */
  readonly failed: Promise<never>;

  private constructor(
    configs: readonly ShardConfig[],
    places: ShardPlacement,
    onSecond: (report: SecondReport) => void,
  ) {
    const failure = Promise.withResolvers<never>();
    this.failed = failure.promise;
    this.failed.catch(() => {}); // callers race with this promise
    const lost = (cause: Error) => failure.reject(new ShardLost(cause.message, { cause }));
    const prepared = configs.map(() => Promise.withResolvers<void>());
    const ends = configs.map(() => Promise.withResolvers<Ended>());
    this.#prepared = prepared.map(({ promise }) => promise);
    this.#ends = ends.map(({ promise }) => promise);
    this.#ports = configs.map((config, shard) => {
      const port = places.open(shard, {
        lost,
        message: (message) => {
          if (message.kind === 'second') onSecond({ shard, ...message });
          else if (message.kind === 'prepared') prepared[shard]?.resolve();
          else if (message.kind === 'ended') ends[shard]?.resolve(message);
          else if (message.kind === 'failed') lost(new Error(message.error));
          else if (message.kind === 'action-done') this.#settle(`${shard} ${message.id}`, message.error);
        },
      });
      port.post({ kind: 'prepare', config });
      return port;
    });
  }

  static async open(
    configs: readonly ShardConfig[],
    places: ShardPlacement,
    onSecond: (report: SecondReport) => void,
  ): Promise<Shards> {
    const shards = new Shards(configs, places, onSecond);
    try {
      await Promise.race([Promise.all(shards.#prepared), shards.failed]);
    } catch (error) {
      await shards.close();
      throw error;
    }
    return shards;
  }

  start(at: number): void {
    this.#all({ kind: 'start', at });
  }

  /** Resolves when every shard has done it. */
  async apply(action: ShardAction): Promise<void> {
    this.#actionCount += 1;
    const id = this.#actionCount;
    const done = this.#ports.map(
      (_, shard) => new Promise<void>((resolve, reject) => this.#actions.set(`${shard} ${id}`, { resolve, reject })),
    );
    this.#all({ kind: 'action', id, action });
    await Promise.race([Promise.all(done), this.failed]);
  }

  stopPublishing(): void {
    this.#all({ kind: 'stop-publishing' });
  }

  async end(): Promise<readonly Ended[]> {
    this.#all({ kind: 'end' });
    return Promise.race([Promise.all(this.#ends), this.failed]);
  }

  async close(): Promise<void> {
    await Promise.all(this.#ports.map((port) => port.close()));
  }

  #all(message: ToShard): void {
    for (const port of this.#ports) port.post(message);
  }

  #settle(key: string, error: string | undefined): void {
    const waiting = this.#actions.get(key);
    this.#actions.delete(key);
    if (error === undefined) waiting?.resolve();
    else waiting?.reject(new Error(error));
  }
}
