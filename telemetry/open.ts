/** The embedded telemetry: journal, group commit and followers behind the interface of `telemetry.ts`. */

import type { Logger } from 'pino';
import { Problem } from '../contract/problem.ts';
import { Followers } from './followers.ts';
import { GroupCommit } from './group-commit.ts';
import { Journal } from './journal.ts';
import type { Telemetry, TelemetryMessage } from './telemetry.ts';

export interface TelemetryOptions {
  /** Where the journal lies; created with mode 0700 when it does not exist. */
  readonly directory: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Logger;
}

/** Throws Problem `data_directory_unusable`, `database_damaged` or `database_newer`. */
export async function openTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const journal = new Journal(options.directory);
  const followers = new Followers(options.log);
  const commits = new GroupCommit((messages: readonly TelemetryMessage[]) => {
    let first: number;
    try {
      first = journal.append(messages);
    } catch (error) {
      options.log.error({ err: error, messages: messages.length }, 'telemetry not stored');
      throw error;
    }
    followers.tell(messages, first);
  });
  let closed = false;

  const closedProblem = () => new Problem('unavailable', { reason: 'the telemetry journal is closed' });

  return {
    accept: (message) => {
      // Not an async function: the promise of the batch is all that a message should cost.
      if (closed) return Promise.reject(closedProblem());
      return commits.accept(message);
    },
    query: async (query) => {
      if (closed) throw closedProblem();
      return journal.query(query);
    },
    last: async (device) => {
      if (closed) throw closedProblem();
      return journal.last(device);
    },
    follow: (device, listener) => followers.add(device, listener),
    close: async () => {
      closed = true;
      commits.flush();
      journal.close();
    },
  };
}
