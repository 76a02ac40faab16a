/**
 * The ports over which other threads send batches to the thread that writes the journal, beside the calls of the thread that started
 * it. Batches of several ports are written together, in one commit: those that arrive while another one is written, and those that are
 * expected soon, because most of the cost is that of the commit. A port whose other end is gone is forgotten; a batch that it sent is
 * written all the same. Each thread has at most one batch under way.
 */

import type { MessagePort } from 'node:worker_threads';
import { asProblem } from '@rollcall/protocol';
import { Channel } from '../channel.ts';
import type { Batch } from './batch.ts';
import type { Journal } from './journal.ts';
import type { Appended, SentBatch } from './segment.ts';
import { ReceivedNames } from './source-names.ts';

/** What the answer to a batch says: where it is, and which files were found damaged meanwhile. */
export interface AppendAnswer extends Appended {
  readonly setAside: readonly string[];
}

/** The calls of a thread that has a port. A batch whose names do not follow those before it is refused with Problem `internal`. */
export interface AppendCalls {
  readonly append: { readonly input: Batch; readonly output: AppendAnswer };
}

interface WaitingBatch extends SentBatch {
  readonly sender: SenderPort;
  readonly answer: PromiseWithResolvers<AppendAnswer>;
}

export interface AppendPortsOptions {
  readonly journal: () => Journal;
  /** Called after each commit, before the senders are answered. */
  stored(sent: readonly SentBatch[], appended: readonly Appended[]): void;
}

/** A port whose batch was answered within this time is expected to send another one. */
const EXPECTED_MS = 10;

/** So long a batch waits for those that are expected: the time in which an intake gathers one. */
const GATHER_MS = 4;

interface SenderPort {
  /** Of its last batch, in the time of `performance.now()`. */
  answeredAt: number;
}

export class AppendPorts {
  readonly #options: AppendPortsOptions;
  readonly #ports = new Set<SenderPort>();
  #waiting: WaitingBatch[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: AppendPortsOptions) {
    this.#options = options;
  }

  add(port: MessagePort): void {
    const names = new ReceivedNames();
    const sender: SenderPort = { answeredAt: Number.NEGATIVE_INFINITY };
    const channel = new Channel<Record<never, never>, AppendCalls>(port, {
      name: 'the sender of batches',
      failed: (error) => {
        throw error;
      },
      onEnded: () => {
        this.#ports.delete(sender);
      },
    });
    this.#ports.add(sender);
    channel.handle('append', (batch) => {
      names.add(batch.names);
      return this.#append({ batch, names }, sender);
    });
  }

  /** Written when the batches that are expected are here too, or after `GATHER_MS`. */
  #append(sent: SentBatch, sender: SenderPort): Promise<AppendAnswer> {
    const answer = Promise.withResolvers<AppendAnswer>();
    this.#waiting.push({ ...sent, sender, answer });
    // Those of other ports that are here already are received before.
    if (this.#waiting.length === 1) setImmediate(() => this.#writeIfGathered());
    else if (this.#timer !== undefined) this.#writeIfGathered();
    return answer.promise;
  }

  #writeIfGathered(): void {
    if (this.#waiting.length >= this.#expected()) this.#write();
    else this.#timer ??= setTimeout(() => this.#write(), GATHER_MS);
  }

  /** How many ports have sent a batch, or are about to. */
  #expected(): number {
    const since = performance.now() - EXPECTED_MS;
    let others = 0;
    for (const sender of this.#ports) {
      if (sender.answeredAt > since && !this.#waiting.some((one) => one.sender === sender)) others += 1;
    }
    return this.#waiting.length + others;
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const waiting = this.#waiting;
    this.#waiting = [];
    try {
      this.#writeTogether(waiting);
    } catch (error) {
      // One of them may be what cannot be written: it must not take the others with it.
      if (waiting.length === 1 || asProblem(error).code === 'unavailable') {
        for (const { answer } of waiting) answer.reject(error);
      } else for (const one of waiting) this.#writeAlone(one);
    }
    const now = performance.now();
    for (const { sender } of waiting) sender.answeredAt = now;
  }

  #writeAlone(one: WaitingBatch): void {
    try {
      this.#writeTogether([one]);
    } catch (error) {
      one.answer.reject(error);
    }
  }

  #writeTogether(waiting: readonly WaitingBatch[]): void {
    const journal = this.#options.journal();
    const appended = journal.append(waiting);
    let setAside = journal.takeSetAside();
    this.#options.stored(waiting, appended);
    for (const [at, { answer }] of waiting.entries()) {
      answer.resolve({ ...(appended[at] as Appended), setAside });
      setAside = [];
    }
  }
}
