/**
 * Server-sent events of the console. The browser resumes by `Last-Event-ID` after a lost connection; the state says whether
 * the page is up to date. A page that nobody sees holds no connection: a browser has six of them for all pages of one origin.
 */

import { type Signal, useSignal } from '@preact/signals';
import { useLayoutEffect, useRef } from 'preact/hooks';

export type LiveState = 'connecting' | 'live' | 'interrupted';

export interface LiveHandlers {
  /** The data of one event, and its type (`message` unless named). */
  readonly onEvent: (data: unknown, type: string) => void;
  /** There were events that the page did not get: what it shows has to be loaded again. */
  readonly onGap?: () => void;
}

/** How long a page may be out of sight before its connection is closed. */
const HIDDEN_MS = 10_000;
/** When the server has too many streams, or is starting: the next attempt. */
const REFUSED_MS = 15_000;

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
  // Before anyone sees the page with another `url`: it is not live until that one is followed.
  useLayoutEffect(() => {
    state.value = 'connecting';
    if (url === undefined) return undefined;
    let source: EventSource | undefined;
    let leaving: ReturnType<typeof setTimeout> | undefined;
    let again: ReturnType<typeof setTimeout> | undefined;
    const close = () => {
      clearTimeout(again);
      source?.close();
      source = undefined;
    };
    const follow = () => {
      source = open(url, names, state, current, () => {
        close();
        again = setTimeout(followAgain, REFUSED_MS);
      });
    };
    const followAgain = () => {
      if (document.hidden) return;
      state.value = 'connecting';
      follow();
      current.current.onGap?.();
    };
    const changed = () => {
      clearTimeout(leaving);
      if (document.hidden) leaving = setTimeout(close, HIDDEN_MS);
      else if (source === undefined) {
        clearTimeout(again);
        followAgain();
      }
    };
    follow();
    document.addEventListener('visibilitychange', changed);
    return () => {
      clearTimeout(leaving);
      document.removeEventListener('visibilitychange', changed);
      close();
    };
  }, [url, names, state]);
  return state;
}

function open(
  url: string,
  names: string,
  state: Signal<LiveState>,
  handlers: { readonly current: LiveHandlers },
  refused: () => void,
): EventSource {
  const source = new EventSource(url);
  const receive = (event: MessageEvent<string>) => {
    state.value = 'live';
    handlers.current.onEvent(JSON.parse(event.data), event.type);
  };
  source.onopen = () => {
    state.value = 'live';
  };
  // The browser repeats a lost connection by itself, and not one that the server refused.
  source.onerror = () => {
    state.value = 'interrupted';
    if (source.readyState === EventSource.CLOSED) refused();
  };
  source.onmessage = receive;
  for (const name of names.split(' ').filter(Boolean)) source.addEventListener(name, receive as EventListener);
  source.addEventListener('gap', () => handlers.current.onGap?.());
  source.addEventListener('problem', () => {
    state.value = 'interrupted';
  });
  return source;
}
