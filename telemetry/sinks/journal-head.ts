/** Where a journal ends and begins now, without asking it each time. */

import type { Telemetry } from '../telemetry.ts';

export class JournalHead {
  readonly #journal: Pick<Telemetry, 'stats' | 'counters'>;
  /** The farthest that is known from elsewhere: what was there at the start, and what was read. */
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

  /** Position of the oldest message that is kept; one after the newest when none is. */
  async oldest(): Promise<number> {
    const { segments } = await this.#journal.stats();
    return segments.find(({ messages }) => messages > 0)?.firstPosition ?? this.end + 1;
  }
}
