/** An act of the operator: whether it runs, how it failed, and its repetition when the connection ended before the answer. */

import { type Signal, useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { ApiProblem } from './api.ts';

const ATTEMPTS = 3;
const PAUSE_MS = 700;

export interface Act {
  readonly isRunning: Signal<boolean>;
  /** Of the newest attempt; undefined while it runs and after a success. */
  readonly problem: Signal<ApiProblem | undefined>;
  /**
   * Runs the work unless it runs already, again under the same idempotency key when the server could not be reached.
   * Resolves with what it resolved with, or with undefined when it failed.
   */
  run<T>(work: (idempotencyKey: string) => Promise<T>): Promise<T | undefined>;
}

export function useAct(): Act {
  const isRunning = useSignal(false);
  const problem = useSignal<ApiProblem | undefined>(undefined);
  const { current: run } = useRef(async <T>(work: (idempotencyKey: string) => Promise<T>): Promise<T | undefined> => {
    if (isRunning.value) return undefined;
    isRunning.value = true;
    problem.value = undefined;
    try {
      return await attempt(work);
    } catch (error) {
      problem.value = error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error));
      return undefined;
    } finally {
      isRunning.value = false;
    }
  });
  return { isRunning, problem, run };
}

async function attempt<T>(work: (idempotencyKey: string) => Promise<T>): Promise<T> {
  const key = crypto.randomUUID();
  for (let count = 1; ; count += 1) {
    try {
      return await work(key);
    } catch (error) {
      if (!(error instanceof ApiProblem) || error.code !== 'unreachable' || count === ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * count));
    }
  }
}
