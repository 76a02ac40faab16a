/** The conformance suite that aedes-persistence exports, every case, each on a file of its own. */

import assert from 'node:assert';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openSessionStore } from './open-session-store.ts';

/** What the suite asks of its test runner. */
interface SuiteContext {
  plan(assertions: number): void;
  diagnostic(message: string): void;
  readonly assert: Readonly<Record<string, (...values: unknown[]) => void>>;
}

type Suite = (options: {
  readonly test: (name: string, body: (context: SuiteContext) => Promise<void>) => void;
  readonly persistence: () => Promise<unknown>;
  readonly testAsync: true;
}) => void;

const suite = createRequire(import.meta.url)('aedes-persistence/abstract.js') as Suite;
let cases = 0;

suite({
  testAsync: true,
  persistence: async () => {
    const sessions = await openSessionStore({
      file: join(temporaryDirectory(), 'sessions.db'),
      now: Date.now,
      log: pino({ level: 'silent' }),
    });
    onTestFinished(() => sessions.close());
    return sessions.store;
  },
  test: (name, body) => {
    cases += 1;
    it(name, async () => {
      let planned = -1;
      let asserted = 0;
      const counted = Object.fromEntries(
        ['equal', 'notEqual', 'deepEqual', 'ok'].map((method) => [
          method,
          (...values: unknown[]) => {
            asserted += 1;
            (assert as unknown as SuiteContext['assert'])[method]?.(...values);
          },
        ]),
      );
      await body({ plan: (count) => (planned = count), diagnostic: () => {}, assert: counted });
      if (planned >= 0) expect(asserted).toBe(planned);
    });
  },
});

it('has the cases that this suite is known to have', () => {
  expect(cases).toBeGreaterThanOrEqual(49);
});
