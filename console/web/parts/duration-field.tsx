import type { Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';

export const DURATION_UNITS = { minutes: 60, hours: 3_600, days: 86_400 } as const;

export interface Duration {
  readonly amount: number;
  readonly unit: keyof typeof DURATION_UNITS;
}

/** Seconds; NaN without an amount. */
export function secondsOf({ amount, unit }: Duration): number {
  return Math.round(amount * DURATION_UNITS[unit]);
}

/** A number and its unit of time. */
export function DurationField(props: {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly value: Signal<Duration>;
}) {
  const id = useId();
  const { value } = props;
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      <div class="joined">
        <input
          id={id}
          type="number"
          min="1"
          step="any"
          required
          aria-describedby={`${id}-more`}
          defaultValue={String(value.value.amount)}
          onInput={({ currentTarget }) => {
            value.value = { ...value.value, amount: currentTarget.valueAsNumber };
          }}
        />
        <select
          aria-label={`Unit of "${props.label}"`}
          value={value.value.unit}
          onChange={({ currentTarget }) => {
            value.value = { ...value.value, unit: currentTarget.value as Duration['unit'] };
          }}
        >
          {Object.keys(DURATION_UNITS).map((unit) => (
            <option key={unit}>{unit}</option>
          ))}
        </select>
      </div>
      <span id={`${id}-more`} class="hint">
        {props.hint}
      </span>
    </div>
  );
}
