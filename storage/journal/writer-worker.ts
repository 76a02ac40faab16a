/** The thread that writes the journal. */

import { answerCalls } from '../worker-program.ts';
import type { Batch } from './batch.ts';
import { Journal, type JournalOptions } from './journal.ts';
import type { Kept } from './retention.ts';

let journal: Journal | undefined;

function opened(): Journal {
  if (journal === undefined) throw new Error('expected an open journal, found none');
  return journal;
}

function reply(value: unknown) {
  return { value, transfer: [] };
}

export interface PruneCall {
  readonly kept: Kept;
  readonly now: number;
}

export interface ReplaceCall {
  readonly file: string;
  readonly draft: string;
  readonly forgotten: number;
}

answerCalls({
  open: (options: JournalOptions) => {
    journal = new Journal(options);
    return reply({ setAside: journal.takeSetAside() });
  },
  append: (batch: Batch) => reply({ ...opened().append(batch), setAside: opened().takeSetAside() }),
  prune: ({ kept, now }: PruneCall) => reply(opened().prune(kept, now)),
  replace: ({ file, draft, forgotten }: ReplaceCall) => reply(opened().replace(file, draft, forgotten)),
  close: () => {
    journal?.close();
    journal = undefined;
    return undefined;
  },
});
