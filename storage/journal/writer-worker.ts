/** The worker that writes the journal. */

import { answerCalls } from '../worker-program.ts';
import type { Batch } from './batch.ts';
import { Journal, type JournalOptions } from './journal.ts';
import type { RetentionRules } from './retention.ts';

let journal: Journal | undefined;

function opened(): Journal {
  if (journal === undefined) throw new Error('expected an open journal, found none');
  return journal;
}

function reply(value: unknown) {
  return { value, transfer: [] };
}

export interface PruneCall {
  readonly rules: RetentionRules;
  readonly now: number;
}

export interface ReplaceCall {
  readonly file: string;
  readonly draft: string;
  readonly removedMessages: number;
}

answerCalls({
  open: (options: JournalOptions) => {
    journal = new Journal(options);
    return reply({ setAside: journal.takeSetAside() });
  },
  append: (batch: Batch) => reply({ ...opened().append(batch), setAside: opened().takeSetAside() }),
  prune: ({ rules, now }: PruneCall) => reply(opened().prune(rules, now)),
  replace: ({ file, draft, removedMessages }: ReplaceCall) => reply(opened().replace(file, draft, removedMessages)),
  close: () => {
    journal?.close();
    journal = undefined;
    return undefined;
  },
});
