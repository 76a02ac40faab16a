/** Messages that were removed from the journal before a sink had them: counted once each, and logged. */

import type { Logger } from 'pino';
import { Cursor } from '../cursor.ts';
import type { JournalHead } from './journal-head.ts';

export class MissedMessages {
  count = 0;
  readonly #log: Logger;
  /** They are reported up to here; undefined: what is missing now is not reported. */
  #upTo: Cursor | undefined = Cursor.BEGIN;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** What is missing by now is not reported: the sink is new, or begins somewhere else. */
  forgetOlder(): void {
    this.#upTo = undefined;
  }

  /** After `forgetOlder`: from where the journal begins now. */
  async beginAt(head: Pick<JournalHead, 'begin'>): Promise<void> {
    this.#upTo ??= await head.begin();
  }

  /** What a reader at `upTo` has beside one that is at `after` is not in the journal any more. */
  note(after: Cursor, upTo: Cursor): void {
    if (this.#upTo === undefined) return;
    const missed = after.and(this.#upTo).distanceTo(upTo);
    this.#upTo = this.#upTo.and(upTo);
    if (missed === 0) return;
    this.count += missed;
    this.#log.error({ missed, upTo }, 'messages were removed before the sink had them');
  }
}
