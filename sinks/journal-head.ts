/** Where a journal ends and begins now, without asking it each time. */

import type { Telemetry } from '../telemetry/telemetry.ts';

export class JournalHead {
  readonly #journal: Pick<Telemetry, 'stats' | 'counters'>;
  #end: number;
  #storedThen: number;

  private constructor(journal: Pick<Telemetry, 'stats' | 'counters'>, end: number, storedThen: number) {
    this.#journal = journal;
    this.#end = end;
    this.#storedThen = storedThen;
  }

  static async of(journal: Pick<Telemetry, 'stats' | 'counters'>): Promise<JournalHead> {
    const storedThen = journal.counters().stored;
    const { segments } = await journal.stats();
    const newest = segments.at(-1);
    return new JournalHead(journal, newest === undefined ? 0 : newest.firstPosition + newest.messages - 1, storedThen);
  }

  /** Position of the newest message; may be behind by what a damaged segment left out. */
  get end(): number {
    return this.#end + this.#journal.counters().stored - this.#storedThen;
  }

  /** A message of this position was read. */
  sawPosition(position: number): void {
    if (position <= this.end) return;
    this.#end = position;
    this.#storedThen = this.#journal.counters().stored;
  }

  /** Position of the oldest message that is kept; one after the newest when none is. */
  async oldest(): Promise<number> {
    const { segments } = await this.#journal.stats();
    return segments.find(({ messages }) => messages > 0)?.firstPosition ?? this.end + 1;
  }
}
