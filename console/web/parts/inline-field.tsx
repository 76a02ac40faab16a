import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

/** A control with its label beside it, above it on a phone: for filters. `children` gets the id to set on it. */
export function InlineField(props: { readonly label: string; readonly children: (id: string) => ComponentChildren }) {
  const id = useId();
  return (
    <label class="inline-field" for={id}>
      {props.label}
      {props.children(id)}
    </label>
  );
}
