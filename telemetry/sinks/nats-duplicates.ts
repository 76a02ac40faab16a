/**
 * Finds which messages of a batch a stream holds already, when acknowledgements were lost longer ago than the duplicate window of
 * the stream. Sends nothing.
 */

import type { JetStreamManager } from '@nats-io/jetstream';
import type { SinkMessage } from './target.ts';

export interface DuplicateLookup {
  readonly manager: JetStreamManager;
  readonly stream: string;
  readonly messages: readonly SinkMessage[];
  /** Sequence in the stream up to which everything is from before this batch. */
  readonly after: number;
  readonly subjectOf: (message: SinkMessage) => string;
  readonly idOf: (message: SinkMessage) => string;
}

/**
 * Of one subject messages arrive in order, one at a time: the last one there stands for those before it. One of an earlier
 * journal, or of another sender, stands for none, since it has another id. Rejects when the stream can't be read.
 */
export async function findDuplicates(lookup: DuplicateLookup): Promise<ReadonlySet<SinkMessage>> {
  const { manager, stream, messages, after, subjectOf, idOf } = lookup;
  const bySubject = Map.groupBy(messages, subjectOf);
  const arrived = new Set<SinkMessage>();
  await Promise.all(
    [...bySubject].map(async ([subject, own]) => {
      const last = await manager.streams.getMessage(stream, { last_by_subj: subject });
      if (last === null || last.seq <= after) return;
      const id = last.header.get('Nats-Msg-Id');
      const index = own.findLastIndex((message) => idOf(message) === id);
      for (const message of own.slice(0, index + 1)) arrived.add(message);
    }),
  );
  return arrived;
}
