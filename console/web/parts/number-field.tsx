import type { Signal } from '@preact/signals';
import { Field } from './field.tsx';

/** A number. NaN while the field has no number; the server refuses that. */
export function NumberField(props: {
  readonly label: string;
  readonly hint?: string;
  readonly value: Signal<number>;
  readonly min: number;
  readonly max: number;
  /** In place of the value, which cannot be changed then. */
  readonly fixed?: number | undefined;
  /** The field may be empty: the value is NaN then. */
  readonly isOptional?: boolean;
}) {
  const { value, fixed, min, max } = props;
  const initial = Number.isNaN(value.value) ? undefined : value.value;
  return (
    <Field label={props.label} hint={props.hint}>
      {(ids) =>
        fixed === undefined ? (
          <input
            {...ids}
            key="free"
            type="number"
            min={min}
            max={max}
            step="any"
            required={props.isOptional !== true}
            {...(initial !== undefined && { defaultValue: String(initial) })}
            onInput={({ currentTarget }) => {
              value.value = currentTarget.valueAsNumber;
            }}
          />
        ) : (
          <input {...ids} key="fixed" type="number" disabled value={fixed} />
        )
      }
    </Field>
  );
}
