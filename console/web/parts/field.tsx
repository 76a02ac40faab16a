import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

/** A labelled control. `children` gets the ids to set on it: `id`, and `aria-describedby` for hint and mistake. */
export function Field(props: {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly mistake?: string | undefined;
  readonly children: (ids: {
    readonly id: string;
    readonly 'aria-describedby': string;
    readonly 'aria-invalid': boolean;
  }) => ComponentChildren;
}) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.children({ id, 'aria-describedby': `${id}-more`, 'aria-invalid': props.mistake !== undefined })}
      <span id={`${id}-more`} class={props.mistake === undefined ? 'hint' : 'mistake'}>
        {props.mistake ?? props.hint}
      </span>
    </div>
  );
}
