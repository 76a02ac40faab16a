/**
 * The ports over which other threads send batches to the thread that writes the journal, beside the calls of the thread that started
 * it. The batches that arrive from several ports while one is being written are written together, in one commit. A port whose other
 * end is gone is forgotten; a batch that it sent is written all the same. Each thread has at most one batch under way.
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
  readonly answer: PromiseWithResolvers<AppendAnswer>;
}

export interface AppendPortsOptions {
  readonly journal: () => Journal;
  /** Called after each commit, before the senders are answered. */
  stored(sent: readonly SentBatch[], appended: readonly Appended[]): void;
}

export class AppendPorts {
  readonly #options: AppendPortsOptions;
  #waiting: WaitingBatch[] = [];

  constructor(options: AppendPortsOptions) {
    this.#options = options;
  }

  add(port: MessagePort): void {
    const names = new ReceivedNames();
    const channel = new Channel<Record<never, never>, AppendCalls>(port, {
      name: 'the sender of batches',
      failed: (error) => {
        throw error;
      },
    });
    channel.handle('append', (batch) => {
      names.add(batch.names);
      return this.#append({ batch, names });
    });
  }

  /** Written when the batches of the other ports that are here already were received too. */
  #append(sent: SentBatch): Promise<AppendAnswer> {
    const answer = Promise.withResolvers<AppendAnswer>();
    if (this.#waiting.length === 0) setImmediate(() => this.#write());
    this.#waiting.push({ ...sent, answer });
    return answer.promise;
  }

  #write(): void {
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
