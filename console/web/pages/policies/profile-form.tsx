import { useSignal } from '@preact/signals';
import { NumberField } from '../../parts/number-field.tsx';
import type { Profile } from './group-profile.tsx';

const KEYS = ['P-256', 'P-384', 'Ed25519', 'RSA'] as const;
const DAY = 86_400;
const UNSET = Number.NaN;

/** An empty field has the default. */
export function ProfileForm(props: {
  readonly profile: Profile;
  readonly isRunning: boolean;
  readonly onSave: (profile: Profile) => void;
  readonly onCancel: () => void;
}) {
  const { profile } = props;
  const days = useSignal((profile.lifetimeSeconds ?? UNSET) / DAY);
  const maxDevices = useSignal(profile.maxDevices ?? UNSET);
  const from = useSignal(profile.renewal?.from ?? UNSET);
  const to = useSignal(profile.renewal?.to ?? UNSET);
  const keys = useSignal<readonly (typeof KEYS)[number][]>(profile.keys ?? []);
  const submit = (event: Event) => {
    event.preventDefault();
    const isSet = (value: number) => !Number.isNaN(value);
    props.onSave({
      ...(isSet(days.value) && { lifetimeSeconds: Math.round(days.value * DAY) }),
      ...(isSet(maxDevices.value) && { maxDevices: maxDevices.value }),
      ...(keys.value.length > 0 && { keys: [...keys.value] }),
      ...((isSet(from.value) || isSet(to.value)) && { renewal: { from: from.value, to: to.value } }),
    });
  };
  return (
    <form class="form" onSubmit={submit}>
      <div class="form-columns">
        <NumberField label="Lifetime in days" hint="1 hour to 397 days." value={days} min={0} max={397} isOptional />
        <NumberField
          label="Devices at most"
          hint="Not revoked ones."
          value={maxDevices}
          min={1}
          max={10_000_000}
          isOptional
        />
        <NumberField label="Renewal from" hint="Of the life, 0.1 to 0.9." value={from} min={0.1} max={0.9} isOptional />
        <NumberField label="Renewal to" hint="0.05 later at least." value={to} min={0.1} max={0.9} isOptional />
      </div>
      <fieldset class="row">
        <legend>Keys that are accepted; none means the default</legend>
        {KEYS.map((key) => (
          <label class="row" key={key}>
            <input
              type="checkbox"
              checked={keys.value.includes(key)}
              onChange={({ currentTarget }) => {
                const others = keys.value.filter((each) => each !== key);
                keys.value = currentTarget.checked ? [...others, key] : others;
              }}
            />
            {key}
          </label>
        ))}
      </fieldset>
      <div class="dialog-actions">
        <button type="button" onClick={props.onCancel}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={props.isRunning}>
          Save profile
        </button>
      </div>
    </form>
  );
}
