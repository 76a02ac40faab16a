/** The thread that writes the journal. */

import type { Batch } from './batch.ts';
import { Journal, type JournalOptions } from './journal.ts';
import type { Retention } from './telemetry.ts';
import { answerCalls } from './thread-program.ts';

let journal: Journal | undefined;

function opened(): Journal {
  if (journal === undefined) throw new Error('expected an open journal, found none');
  return journal;
}

function reply(value: unknown) {
  return { value, transfer: [] };
}

export interface PruneCall {
  readonly retention: Retention;
  readonly now: number;
}

answerCalls({
  open: (options: JournalOptions) => {
    journal = new Journal(options);
    return reply({ setAside: journal.takeSetAside() });
  },
  append: (batch: Batch) => reply({ ...opened().append(batch), setAside: opened().takeSetAside() }),
  prune: ({ retention, now }: PruneCall) => reply(opened().prune(retention, now)),
  close: () => {
    journal?.close();
    journal = undefined;
    return undefined;
  },
});
