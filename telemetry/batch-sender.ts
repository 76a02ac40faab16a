/**
 * Packs messages and has them appended to the journal by another thread, one batch after the other. After a failure all source names are
 * sent again, because the state of the other side is unknown.
 */

import type { Logger } from 'pino';
import {
  type AppendAnswer,
  type Appended,
  type Batch,
  batchTransferList,
  type JournalMessage,
  packBatch,
  SentNames,
} from '../storage/index.ts';

export class BatchSender {
  readonly #append: (batch: Batch, transfer: readonly ArrayBuffer[]) => Promise<AppendAnswer>;
  readonly #log: Logger;
  readonly #names = new SentNames();
  #newestPosition = 0;

  constructor(append: (batch: Batch, transfer: readonly ArrayBuffer[]) => Promise<AppendAnswer>, log: Logger) {
    this.#append = append;
    this.#log = log;
  }

  /** Of the newest message that was appended here; 0 before the first. */
  get newestPosition(): number {
    return this.#newestPosition;
  }

  /** All of them or none. Rejects with Problem `unavailable` when the same may be appended later. */
  async send(messages: readonly JournalMessage[]): Promise<Appended> {
    const batch = packBatch(messages, this.#names);
    let appended: AppendAnswer;
    try {
      appended = await this.#append(batch, batchTransferList(batch));
    } catch (error) {
      this.#names.clear();
      throw error;
    }
    this.logDamage(appended);
    const stored = messages.length - appended.repeated.length;
    if (stored > 0) this.#newestPosition = appended.first + stored - 1;
    return appended;
  }

  /** The other side has ended: the next one knows no names. */
  forgetNames(): void {
    this.#names.clear();
  }

  logDamage({ setAside }: Pick<AppendAnswer, 'setAside'>): void {
    for (const file of setAside) this.#log.error({ file }, 'a damaged telemetry segment was set aside');
  }
}
