/** A list that the server answers in pages: the first one, and more of them on request. */

import { type Signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { ApiProblem, type Page } from './api.ts';

export interface PagedList<T> {
  /** The answers so far, first page first; undefined before the first answer. */
  readonly pages: Signal<readonly T[] | undefined>;
  readonly problem: Signal<ApiProblem | undefined>;
  readonly isLoading: Signal<boolean>;
  readonly hasMore: Signal<boolean>;
  loadMore(): void;
  reload(): void;
}

/**
 * `load` gets the link to the page, undefined for the first one. `key` names its parameters: another key begins again. An
 * answer that came after a newer request is dropped. `isLast` is true of a page behind which nothing comes.
 */
export function usePagedList<T>(
  load: (link: string | undefined, signal: AbortSignal) => Promise<Page<T>>,
  key: string,
  isLast: (answer: T) => boolean,
): PagedList<T> {
  const pages = useSignal<readonly T[] | undefined>(undefined);
  const problem = useSignal<ApiProblem | undefined>(undefined);
  const isLoading = useSignal(true);
  const hasMore = useSignal(false);
  const link = useSignal<string | undefined>(undefined);
  const turn = useSignal(0);
  const current = useRef({ load, isLast });
  current.current = { load, isLast };
  const running = useRef<AbortController | undefined>(undefined);
  const { current: read } = useRef((isFirst: boolean) => {
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    isLoading.value = true;
    current.current.load(isFirst ? undefined : link.value, abort.signal).then(
      ({ value, next }) => {
        if (abort.signal.aborted) return;
        pages.value = isFirst ? [value] : [...(pages.value ?? []), value];
        link.value = next;
        hasMore.value = next !== undefined && !current.current.isLast(value);
        problem.value = undefined;
        isLoading.value = false;
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        problem.value = error instanceof ApiProblem ? error : new ApiProblem('unknown', 0, String(error));
        isLoading.value = false;
      },
    );
  });
  const round = turn.value;
  useEffect(() => {
    read(true);
    return () => running.current?.abort();
  }, [key, round]);
  const { current: controls } = useRef({
    loadMore: () => read(false),
    reload: () => {
      turn.value += 1;
    },
  });
  return { pages, problem, isLoading, hasMore, ...controls };
}
