import type { ComponentChildren } from 'preact';
import type { Tone } from './badge.tsx';

/** One number that leads to the page which explains it. The tone is stated in the note as well. */
export function Stat(props: {
  readonly label: string;
  readonly value: ComponentChildren;
  readonly note?: ComponentChildren;
  readonly tone?: Tone;
  readonly href: string;
}) {
  return (
    <a class={`stat ${props.tone ?? 'none'}`} href={props.href}>
      <span class="stat-label">{props.label}</span>
      <span class="stat-value">{props.value}</span>
      <span class="stat-note">{props.note}</span>
    </a>
  );
}
