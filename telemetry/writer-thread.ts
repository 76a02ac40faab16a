/** The thread that writes the journal. */

import { Journal } from './journal.ts';
import type { Packed } from './packed.ts';
import { answerCalls } from './thread-program.ts';

let journal: Journal | undefined;

function opened(): Journal {
  if (journal === undefined) throw new Error('expected an open journal, found none');
  return journal;
}

function reply(value: unknown) {
  return { value, transfer: [] };
}

answerCalls({
  open: (directory: string) => {
    journal = new Journal({ directory });
    return reply({ setAside: journal.takeSetAside() });
  },
  append: (batch: Packed) => reply({ ...opened().append(batch), setAside: opened().takeSetAside() }),
  close: () => {
    journal?.close();
    journal = undefined;
    return undefined;
  },
});
