import { type Signal, useSignal } from '@preact/signals';
import type { ComponentChildren, TargetedInputEvent } from 'preact';
import { Field } from './field.tsx';

/** A password that can be shown while it is typed. */
export function PasswordField(props: {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly value: Signal<string>;
  readonly autocomplete: 'current-password' | 'new-password';
}) {
  const isShown = useSignal(false);
  const { value } = props;
  const field = {
    autocomplete: props.autocomplete,
    spellcheck: false,
    autocapitalize: 'off',
    required: true,
    value: value.value,
    onInput: ({ currentTarget }: TargetedInputEvent<HTMLInputElement>) => {
      value.value = currentTarget.value;
    },
  } as const;
  return (
    <Field label={props.label} hint={props.hint}>
      {(ids) => (
        <div class="with-button">
          {isShown.value ? <input {...ids} {...field} type="text" /> : <input {...ids} {...field} type="password" />}
          <button
            type="button"
            aria-label={isShown.value ? 'Hide the password' : 'Show the password'}
            onClick={() => {
              isShown.value = !isShown.value;
            }}
          >
            {isShown.value ? 'Hide' : 'Show'}
          </button>
        </div>
      )}
    </Field>
  );
}

/** The code of a second factor. */
export function CodeField({ value, hint }: { readonly value: Signal<string>; readonly hint?: string }) {
  return (
    <Field label="Code" hint={hint ?? 'Six digits from your authenticator app, or a recovery code.'}>
      {(ids) => (
        <input
          {...ids}
          autocomplete="one-time-code"
          spellcheck={false}
          autocapitalize="off"
          required
          ref={(element) => element?.focus()}
          value={value.value}
          onInput={({ currentTarget }) => {
            value.value = currentTarget.value.trim();
          }}
        />
      )}
    </Field>
  );
}
