/** What a journal covers, without a query each time. */

import type { Cursor } from '../cursor.ts';
import type { Position } from '../position.ts';
import type { Telemetry } from '../telemetry.ts';

export class JournalHead {
  readonly #journal: Pick<Telemetry, 'bounds' | 'counters'>;
  /** What was found at the start, and read since. */
  #end: Cursor;

  private constructor(journal: Pick<Telemetry, 'bounds' | 'counters'>, end: Cursor) {
    this.#journal = journal;
    this.#end = end;
  }

  static async of(journal: Pick<Telemetry, 'bounds' | 'counters'>): Promise<JournalHead> {
    return new JournalHead(journal, (await journal.bounds()).end);
  }

  /** Of a reader that has everything, as far as it is known here. */
  get end(): Cursor {
    return this.#end.and(this.#journal.counters().newest);
  }

  /** A message of this position was read. */
  advanceTo(position: Position): void {
    this.#end = this.#end.after(position);
  }

  /** Everything up to here was removed. */
  async begin(): Promise<Cursor> {
    return (await this.#journal.bounds()).begin;
  }
}
