/**
 * Applies retention to the journal: the writing worker removes whole segments at once; then a worker of its own copies, one after
 * the other, segments without the devices of some groups, and the writing worker puts each copy in place. Prunings do not overlap.
 */

import type { Logger } from 'pino';
import { WorkerClient } from '../worker.ts';
import type { PruneResult } from './closed-segments.ts';
import type { SegmentStats } from './message.ts';
import type { RetentionRules } from './retention.ts';
import type { RewriteOrder } from './segment-rewrite.ts';
import type { PruneCall, ReplaceCall } from './writer-worker.ts';

export interface PruningOptions {
  readonly writer: Pick<WorkerClient, 'call'>;
  /** Devices that are in a group now. */
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

  /** Resolves with what was removed; of a segment that was rewritten, its removed messages and bytes. */
  prune(rules: RetentionRules): Promise<readonly SegmentStats[]> {
    const pruning = this.#latest.then(() => this.#prune(rules));
    this.#latest = pruning.catch(() => {});
    return pruning;
  }

  /** Waits for a rewrite in progress. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#latest;
    await this.#rewriter.close();
  }

  async #prune(rules: RetentionRules): Promise<readonly SegmentStats[]> {
    const { writer, log, now } = this.#options;
    const call: PruneCall = { rules, now: now() };
    const { removed, rewrites, ahead } = await writer.call<PruneResult>('prune', call);
    this.#logAhead(ahead);
    const pruned = [...removed];
    for (const { groups, ...order } of rewrites) {
      if (this.#isClosed) break; // the next start goes on
      const devices = (await Promise.all(groups.map((group) => this.#options.devicesOf(group)))).flat();
      const whole: RewriteOrder = { ...order, devices };
      const removedMessages = await this.#rewriter.call<number>('rewrite', whole);
      const replacing: ReplaceCall = { file: order.file, draft: order.draft, removedMessages };
      const replaced = await writer.call<SegmentStats | undefined>('replace', replacing);
      if (replaced !== undefined && replaced.messages > 0) pruned.push(replaced);
    }
    for (const segment of pruned) log.info({ ...segment }, 'telemetry pruned');
    return pruned;
  }

  #logAhead(ahead: number): void {
    const isAhead = ahead > 0;
    if (isAhead && !this.#isAhead) {
      this.#options.log.warn(
        { aheadMs: ahead },
        'the clock leapt: for three days retention uses the time before the leap',
      );
    }
    this.#isAhead = isAhead;
  }
}
