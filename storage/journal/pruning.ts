/**
 * Has the journal forget what is not to be kept: whole segments at once, and then, one after the other, copies without the
 * devices of some groups, which a thread of its own makes. One pruning after the other.
 */

import type { Logger } from 'pino';
import { WorkerClient } from '../worker.ts';
import type { Pruned } from './closed-segments.ts';
import type { SegmentStats } from './message.ts';
import type { Kept } from './retention.ts';
import type { ForgetOrder } from './segment-rewrite.ts';
import type { PruneCall, ReplaceCall } from './writer-worker.ts';

export interface PruningOptions {
  readonly writer: Pick<WorkerClient, 'call'>;
  /** Who is in a group now. */
  devicesOf(group: string): Promise<readonly string[]>;
  readonly now: () => number;
  readonly log: Logger;
  workerEnded(error: unknown): void;
}

export class Pruning {
  readonly #options: PruningOptions;
  readonly #rewriter: WorkerClient;
  #latest: Promise<unknown> = Promise.resolve();
  #isAhead = false;
  #isClosed = false;

  constructor(options: PruningOptions) {
    this.#options = options;
    const program = new URL('./rewrite-worker.ts', import.meta.url);
    this.#rewriter = new WorkerClient({
      program,
      name: 'the journal',
      opening: undefined,
      endedCode: 'internal',
      ended: options.workerEnded,
    });
  }

  /** Resolves with what went: of a segment that others are still kept of, how many messages and bytes. */
  prune(kept: Kept): Promise<readonly SegmentStats[]> {
    const pruning = this.#latest.then(() => this.#prune(kept));
    this.#latest = pruning.catch(() => {});
    return pruning;
  }

  /** Waits for the copy that is being made. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#latest;
    await this.#rewriter.close();
  }

  async #prune(kept: Kept): Promise<readonly SegmentStats[]> {
    const { writer, log, now } = this.#options;
    const call: PruneCall = { kept, now: now() };
    const { removed, forgetting, ahead } = await writer.call<Pruned>('prune', call);
    this.#tellAhead(ahead);
    const gone = [...removed];
    for (const { groups, ...order } of forgetting) {
      if (this.#isClosed) break; // the next start goes on
      const devices = (await Promise.all(groups.map((group) => this.#options.devicesOf(group)))).flat();
      const whole: ForgetOrder = { ...order, devices };
      const forgotten = await this.#rewriter.call<number>('forget', whole);
      const replacing: ReplaceCall = { file: order.file, draft: order.draft, forgotten };
      const went = await writer.call<SegmentStats | undefined>('replace', replacing);
      if (went !== undefined && went.messages > 0) gone.push(went);
    }
    for (const segment of gone) log.info({ ...segment }, 'telemetry forgotten');
    return gone;
  }

  #tellAhead(ahead: number): void {
    const isAhead = ahead > 0;
    if (isAhead && !this.#isAhead) {
      this.#options.log.warn({ aheadMs: ahead }, 'the clock leapt: for three days retention goes by the time before');
    }
    this.#isAhead = isAhead;
  }
}
