import type { ComponentChildren } from 'preact';
import type { LiveState } from '../live-events.ts';

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'none';

/** A short state. Its colour is never the only thing that tells it. */
export function Badge(props: { readonly tone?: Tone; readonly children: ComponentChildren }) {
  return <span class={`badge ${props.tone ?? 'none'}`}>{props.children}</span>;
}

const LIVE_TEXT = { connecting: 'Connecting', live: 'Live', interrupted: 'Reconnecting' } as const;

/** Whether a page is up to date. */
export function LiveBadge(props: { readonly state: LiveState }) {
  return (
    <span class={`live ${props.state === 'live' ? 'is-live' : ''}`} role="status">
      {LIVE_TEXT[props.state]}
    </span>
  );
}
