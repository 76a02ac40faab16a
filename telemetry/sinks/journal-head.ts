/** First and last position of a journal, without a query each time. */

import type { Telemetry } from '../telemetry.ts';

export class JournalHead {
  readonly #journal: Pick<Telemetry, 'stats' | 'counters'>;
  /** The last position that was found at the start or read since. */
  #end: number;

  private constructor(journal: Pick<Telemetry, 'stats' | 'counters'>, end: number) {
    this.#journal = journal;
    this.#end = end;
  }

  static async of(journal: Pick<Telemetry, 'stats' | 'counters'>): Promise<JournalHead> {
    const { segments } = await journal.stats();
    const newest = segments.at(-1);
    return new JournalHead(journal, newest === undefined ? 0 : newest.firstPosition + newest.messages - 1);
  }

  /** Position of the newest message; at the start it may be behind by what a damaged segment left out. */
  get end(): number {
    return Math.max(this.#end, this.#journal.counters().newestPosition);
  }

  /** A message of this position was read. */
  advanceTo(position: number): void {
    this.#end = Math.max(this.#end, position);
  }

  /** Position of the oldest message; one after the newest when there is none. */
  async oldest(): Promise<number> {
    const { segments } = await this.#journal.stats();
    return segments.find(({ messages }) => messages > 0)?.firstPosition ?? this.end + 1;
  }
}
