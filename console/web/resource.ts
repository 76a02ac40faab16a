/** What a page reads from the server: loaded when the page opens, again when its parameters change, and on request. */

import { type Signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { ApiProblem } from './api.ts';

export interface Resource<T> {
  /** The newest answer; it stays while another one is loaded. */
  readonly data: Signal<T | undefined>;
  readonly problem: Signal<ApiProblem | undefined>;
  readonly isLoading: Signal<boolean>;
  reload(): void;
}

/** `key` names the parameters of `load`: another key loads again. An answer that came after a newer request is dropped. */
export function useResource<T>(load: (signal: AbortSignal) => Promise<T>, key: string): Resource<T> {
  const data = useSignal<T | undefined>(undefined);
  const problem = useSignal<ApiProblem | undefined>(undefined);
  const isLoading = useSignal(true);
  const turn = useSignal(0);
  const current = useRef(load);
  current.current = load;
  const round = turn.value;
  useEffect(() => {
    const abort = new AbortController();
    isLoading.value = true;
    current.current(abort.signal).then(
      (value) => {
        if (abort.signal.aborted) return;
        data.value = value;
        problem.value = undefined;
        isLoading.value = false;
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        problem.value = error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error));
        isLoading.value = false;
      },
    );
    return () => abort.abort();
  }, [key, round]);
  const { current: reload } = useRef(() => {
    turn.value += 1;
  });
  return { data, problem, isLoading, reload };
}

/** Calls `work` at an interval while the page is visible. */
export function useEvery(milliseconds: number, work: () => void): void {
  const current = useRef(work);
  current.current = work;
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) current.current();
    }, milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}
