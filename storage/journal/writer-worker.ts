/** The worker that writes the journal. */

import type { MessagePort } from 'node:worker_threads';
import { answerCalls } from '../worker-program.ts';
import { AppendPorts } from './append-ports.ts';
import type { Batch } from './batch.ts';
import { Journal, type JournalOptions } from './journal.ts';
import type { RetentionRules } from './retention.ts';
import { ReceivedNames } from './source-names.ts';
import { StoredMessagesPort } from './stored-messages-port.ts';

let journal: Journal | undefined;

/** Those of the thread that started this one. */
const names = new ReceivedNames();

const stored = new StoredMessagesPort();
const ports = new AppendPorts({
  journal: opened,
  stored: (sent, appended) => stored.stored(sent, appended),
});

function opened(): Journal {
  if (journal === undefined) throw new Error('expected an open journal, found none');
  return journal;
}

function reply(value: unknown) {
  return { value, transfer: [] };
}

function append(batch: Batch) {
  names.add(batch.names);
  const sent = [{ batch, names }];
  const appended = opened().append(sent);
  stored.stored(sent, appended);
  return reply({ ...appended[0], setAside: opened().takeSetAside() });
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
  append,
  /** A thread that sends batches of its own over this port. */
  connectSender: (port: MessagePort) => reply(ports.add(port)),
  /** The thread that is told over this port what is stored. */
  connectFollower: (port: MessagePort) => reply(stored.connect(port)),
  prune: ({ rules, now }: PruneCall) => reply(opened().prune(rules, now)),
  replace: ({ file, draft, removedMessages }: ReplaceCall) => reply(opened().replace(file, draft, removedMessages)),
  close: () => {
    journal?.close();
    journal = undefined;
    return undefined;
  },
});
