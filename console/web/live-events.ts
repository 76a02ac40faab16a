/**
 * Server-sent events of the console. The browser resumes by `Last-Event-ID` after a lost connection; the state says whether
 * the page is up to date.
 */

import { type Signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';

export type LiveState = 'connecting' | 'live' | 'interrupted';

export interface LiveHandlers {
  /** The data of one event, and its type (`message` unless named). */
  readonly onEvent: (data: unknown, type: string) => void;
  /** The server no longer has all events since the last one: what the page shows has to be loaded again. */
  readonly onGap?: () => void;
}

/** Follows `url` while the component is mounted; `types` are further names of events. `undefined` follows nothing. */
export function useLiveEvents(
  url: string | undefined,
  types: readonly string[],
  handlers: LiveHandlers,
): Signal<LiveState> {
  const state = useSignal<LiveState>('connecting');
  const current = useRef(handlers);
  current.current = handlers;
  const names = types.join(' ');
  useEffect(() => {
    if (url === undefined) return undefined;
    const source = new EventSource(url);
    const receive = (event: MessageEvent<string>) => {
      state.value = 'live';
      current.current.onEvent(JSON.parse(event.data), event.type);
    };
    source.onopen = () => {
      state.value = 'live';
    };
    source.onerror = () => {
      state.value = 'interrupted';
    };
    source.onmessage = receive;
    for (const name of names.split(' ').filter(Boolean)) source.addEventListener(name, receive as EventListener);
    source.addEventListener('gap', () => current.current.onGap?.());
    source.addEventListener('problem', () => {
      state.value = 'interrupted';
    });
    return () => source.close();
  }, [url, names, state]);
  return state;
}
