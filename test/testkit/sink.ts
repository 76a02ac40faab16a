/** A sink for tests: a forwarder over a real journal, with whatever target the test brings. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { onTestFinished } from 'vitest';
import { Backoff } from '../../sinks/backoff.ts';
import { DeadLetters } from '../../sinks/dead-letters.ts';
import { Filter, NO_FILTER, type SinkFilter } from '../../sinks/filter.ts';
import { Forwarder, type ForwarderStatus } from '../../sinks/forwarder.ts';
import { JournalHead } from '../../sinks/journal-head.ts';
import type { Refused, Target } from '../../sinks/target.ts';
import { CursorFile } from '../../telemetry/cursor-file.ts';
import type { StoredMessage, Telemetry } from '../../telemetry/telemetry.ts';
import { silent } from './journal.ts';

export interface TestSink {
  readonly forwarder: Forwarder;
  /** Resolves with the status that fulfils the condition; there is one look at each turn of the event loop. */
  until(condition: (status: ForwarderStatus) => boolean): Promise<ForwarderStatus>;
  /** Everything that the journal holds is forwarded. */
  caughtUp(): Promise<ForwarderStatus>;
  deadLetters(): readonly { readonly reason: string; readonly message: { readonly position: number } }[];
}

export interface TestSinkOptions {
  readonly journal: Telemetry;
  readonly target: Target;
  /** Of cursor and dead letters; the same directory again is the same sink after a restart. */
  readonly directory: string;
  readonly filter?: Partial<SinkFilter>;
  readonly batch?: number;
  readonly deadLetterBytes?: number;
  readonly groupOf?: (device: string) => Promise<string | undefined>;
  readonly now?: () => number;
  readonly log?: Logger;
}

export async function startSink(options: TestSinkOptions): Promise<TestSink> {
  const { journal, target, directory, now = Date.now, log = silent } = options;
  const file = join(directory, 'dead-letters.ndjson');
  const groupOf = options.groupOf ?? (async () => undefined);
  const forwarder = new Forwarder({
    journal,
    head: await JournalHead.of(journal),
    target,
    filter: new Filter({ ...NO_FILTER, ...options.filter }, groupOf, now),
    cursor: new CursorFile(join(directory, 'telemetry.position')),
    deadLetters: new DeadLetters({ file, bytes: options.deadLetterBytes ?? 1_048_576, now, log }),
    batch: { messages: options.batch ?? 50, bytes: 1_048_576, linger: 1 },
    backoff: new Backoff({ first: 2, most: 20 }, () => 0.5),
    now,
    log,
  });
  onTestFinished(() => forwarder.close(100));
  forwarder.start();
  const until: TestSink['until'] = async (condition) => {
    for (;;) {
      const status = forwarder.status();
      if (condition(status)) return status;
      await new Promise((resolve) => setTimeout(resolve, 1)); // its steps are ours to wait for, not to count
    }
  };
  return {
    forwarder,
    until,
    caughtUp: () => until(({ state, lagMessages }) => state === 'idle' && lagMessages === 0),
    deadLetters: () =>
      existsSync(file)
        ? readFileSync(file, 'utf8')
            .trimEnd()
            .split('\n')
            .map((line) => JSON.parse(line))
        : [],
  };
}

/** A target that does what the test says, and notes what it was given. */
export class ScriptedTarget implements Target {
  readonly batches: (readonly StoredMessage[])[] = [];
  /** Throws, answers, or waits. */
  answer: (messages: readonly StoredMessage[]) => Promise<readonly Refused[]> | readonly Refused[] = () => [];

  async deliver(messages: readonly StoredMessage[]): Promise<readonly Refused[]> {
    this.batches.push(messages);
    return this.answer(messages);
  }

  async close(): Promise<void> {}

  /** Positions in the order in which they were given. */
  get positions(): readonly number[] {
    return this.batches.flat().map(({ position }) => position);
  }
}
