import { expect, it } from 'vitest';
import type { Candidate, SingletonTerm } from '../../storage/postgres/index.ts';
import { silent } from '../../test/fixtures/journal.ts';
import { LeasedPart } from './leased-part.ts';

const TERM: SingletonTerm = { name: 'single/sinks', epoch: 1, isHeld: true, fence: async () => {} };

/** A part that cannot be opened until `mend` is called. */
function brokenPart() {
  let candidate: Candidate | undefined;
  let isBroken = true;
  const failed = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  const closed: string[] = [];
  const part = new LeasedPart<string>({
    singletons: {
      compete: (_name, given) => {
        candidate = given;
        return async () => {};
      },
    },
    name: 'sinks',
    open: async () => {
      if (isBroken) {
        failed.resolve();
        throw new Error('the target is not there');
      }
      opened.resolve();
      return 'forwarders';
    },
    close: async (open) => void closed.push(open),
    retryAfter: 1,
    log: silent,
  });
  return {
    part,
    candidate: candidate as unknown as Candidate,
    ...{ failed: failed.promise, opened: opened.promise, closed },
    mend: () => {
      isBroken = false;
    },
  };
}

it('a part that could not be opened is tried again while this node has the lease', async () => {
  const { part, candidate, failed, opened, closed, mend } = brokenPart();
  candidate.onTaken(TERM);
  await failed;
  expect(part.current).toBeUndefined();
  mend();
  await opened;
  await part.close();
  expect(closed).toEqual(['forwarders']);
});

it('a part that could not be opened is not opened after the lease was lost', async () => {
  const { part, candidate, failed, closed, mend } = brokenPart();
  candidate.onTaken(TERM);
  await failed;
  candidate.onLost(TERM, 'not confirmed in time');
  mend();
  await part.close();
  expect([part.current, closed]).toEqual([undefined, []]);
});
