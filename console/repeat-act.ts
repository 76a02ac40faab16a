/**
 * Repeats a request whose connection ended before its answer. Safe for requests under an idempotency key: the server does
 * nothing twice.
 */

import { setTimeout as pause } from 'node:timers/promises';
import { Problem } from '@rollcall/protocol';
import { wasCut } from './http-request.ts';

/** Before each further attempt, milliseconds; long enough for a server that restarts. */
const PAUSES_MS = [250, 500, 1_000, 2_000, 4_000] as const;
/** How often to ask for the answer of an earlier attempt that still runs; the server names the seconds between. */
const MAX_WAITS = 120;

/** Throws what the last attempt throws. Aborting the signal ends a pause. */
export async function repeatAct<Answer>(send: () => Promise<Answer>, signal: AbortSignal): Promise<Answer> {
  let [cuts, waits] = [0, 0];
  for (;;) {
    try {
      return await send();
    } catch (error) {
      if (signal.aborted) throw error;
      const isRunning = isProblem(error, 'idempotency_key_running');
      const isGone = wasCut(error) || (cuts > 0 && isProblem(error, 'server_unreachable'));
      const wait = isRunning ? ((error as Problem).retryAfter ?? 1) * 1_000 : PAUSES_MS[cuts];
      if ((!isRunning && !isGone) || waits >= MAX_WAITS) throw error;
      if (wait === undefined) throw unknownOutcome(error);
      if (isRunning) waits += 1;
      else cuts += 1;
      await pause(wait, undefined, { signal }).catch(() => {
        throw error;
      });
    }
  }
}

function isProblem(error: unknown, code: Problem['code']): boolean {
  return error instanceof Problem && error.code === code;
}

function unknownOutcome(cause: unknown): Problem {
  return new Problem('server_unreachable', {
    detail: 'the connection ended before the answer, and the server was not reached again',
    hint: 'the command may have been done: look before you repeat it',
    cause,
  });
}
