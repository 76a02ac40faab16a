/** The threads of a run: starts a shard in each, speaks to all of them, and gathers what they report. */

import { Worker } from 'node:worker_threads';
import type { FromShard, ShardAct, ShardOrder, ShardStanding, ToShard } from '../swarm/shard-messages.ts';
import type { TallyReport } from '../swarm/tally.ts';

type Ended = Extract<FromShard, { kind: 'ended' }>;

export interface SecondReport {
  readonly shard: number;
  readonly tally: TallyReport;
  readonly standing: ShardStanding;
  readonly cpuMicros: number;
}

export class Shards {
  readonly #workers: readonly Worker[];
  readonly #ends: readonly Promise<Ended>[];
  readonly #acts = new Map<string, { resolve: () => void; reject: (error: Error) => void }>();
  #acted = 0;
  /** A shard that fails takes the run with it. */
  readonly failed: Promise<never>;

  private constructor(orders: readonly ShardOrder[], onSecond: (report: SecondReport) => void) {
    const failure = Promise.withResolvers<never>();
    this.failed = failure.promise;
    this.failed.catch(() => {}); // whoever races with it hears of it
    const ends = orders.map(() => Promise.withResolvers<Ended>());
    this.#ends = ends.map((end) => end.promise);
    this.#workers = orders.map((order, shard) => {
      const worker = new Worker(new URL('../swarm/shard-worker.ts', import.meta.url));
      worker.once('error', failure.reject);
      worker.on('message', (message: FromShard) => {
        if (message.kind === 'second') onSecond({ shard, ...message });
        else if (message.kind === 'ended') ends[shard]?.resolve(message);
        else if (message.kind === 'failed') failure.reject(new Error(message.error));
        else if (message.kind === 'acted') this.#settle(`${shard} ${message.id}`, message.error);
      });
      worker.postMessage({ kind: 'prepare', order } satisfies ToShard);
      return worker;
    });
  }

  static async open(orders: readonly ShardOrder[], onSecond: (report: SecondReport) => void): Promise<Shards> {
    const shards = new Shards(orders, onSecond);
    const ready = shards.#workers.map(
      (worker) =>
        new Promise<void>((resolve) => {
          worker.on('message', (message: FromShard) => {
            if (message.kind === 'prepared') resolve();
          });
        }),
    );
    try {
      await Promise.race([Promise.all(ready), shards.failed]);
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
  async act(act: ShardAct): Promise<void> {
    this.#acted += 1;
    const id = this.#acted;
    const done = this.#workers.map(
      (_, shard) => new Promise<void>((resolve, reject) => this.#acts.set(`${shard} ${id}`, { resolve, reject })),
    );
    this.#all({ kind: 'act', id, act });
    await Promise.race([Promise.all(done), this.failed]);
  }

  silence(): void {
    this.#all({ kind: 'silence' });
  }

  async end(): Promise<readonly Ended[]> {
    this.#all({ kind: 'end' });
    return Promise.race([Promise.all(this.#ends), this.failed]);
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #all(message: ToShard): void {
    for (const worker of this.#workers) worker.postMessage(message);
  }

  #settle(key: string, error: string | undefined): void {
    const waiting = this.#acts.get(key);
    this.#acts.delete(key);
    if (error === undefined) waiting?.resolve();
    else waiting?.reject(new Error(error));
  }
}
