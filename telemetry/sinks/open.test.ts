/** What open sinks do by themselves while no message comes. */

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { openTestJournal, silent } from '../../test/fixtures/journal.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { NO_FILTER } from './filter.ts';
import { openSinks, type SinkStatus } from './open.ts';

it('a deleted file is noticed without a message for it', async () => {
  const directory = temporaryDirectory();
  const path = join(directory, 'out.ndjson');
  const [telemetry, events] = [await openTestJournal(), await openTestJournal()];
  const sinks = await openSinks({
    settings: [
      {
        name: 'out',
        source: 'telemetry',
        filter: NO_FILTER,
        batch: { messages: 10, bytes: 1_000_000, linger: 1 },
        retry: { first: 1, most: 10 },
        deadLetterBytes: 1_000_000,
        destination: path,
        target: { kind: 'file', path, rotateBytes: 1_000_000, keep: 1 },
      },
    ],
    journals: { telemetry, events },
    directory: join(directory, 'sinks'),
    trustDomain: 'rollcall.internal',
    groupOf: async () => undefined,
    now: Date.now,
    random: () => 0.5,
    log: silent,
    checkEvery: 5,
  });
  onTestFinished(() => sinks.close());
  const until = async (condition: (status: SinkStatus) => boolean) => {
    for (;;) {
      const [status] = sinks.list();
      if (status !== undefined && condition(status)) return status;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await telemetry.fill(['a'], 3, 0);
  await until(({ forwarded }) => forwarded === 3);
  rmSync(path);
  expect((await until(({ losses }) => losses > 0)).notice?.text).toContain('from position 1 to 3');
});
