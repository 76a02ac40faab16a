import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api, type RequestOf } from '../../api.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { type Duration, DurationField, secondsOf } from '../../parts/duration-field.tsx';
import { Field } from '../../parts/field.tsx';
import { NumberField } from '../../parts/number-field.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';

type Order = NonNullable<RequestOf<'POST /v1/tokens'>['body']>;

/** The form for a new token. What the server refuses is shown in it. */
export function CreateToken(props: {
  /** Known groups, as suggestions. */
  readonly groups: readonly string[];
  readonly onCreated: (created: AnswerOf<'POST /v1/tokens'>) => void;
  readonly onClose: () => void;
}) {
  const form = useTokenForm();
  const { isRunning, problem, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const created = await run((idempotencyKey) => api('POST /v1/tokens', { body: form.order(), idempotencyKey }));
    if (created !== undefined) props.onCreated(created);
  };
  return (
    <Dialog title="Create a token" onClose={props.onClose}>
      <form class="form" onSubmit={submit}>
        <div class="form-columns">
          <NumberField
            label="Devices"
            hint="How many may enroll with it."
            value={form.uses}
            min={1}
            max={1_000_000}
            fixed={form.device.value === '' ? undefined : 1}
          />
          <DurationField label="Valid for" hint="30 days at most." value={form.life} />
          <TextField
            label="Group"
            hint="Its policy and certificate profile apply."
            value={form.group}
            suggestions={props.groups}
          />
          <TextField
            label="Only for the device"
            hint="Its id; empty for any. It may exist already: then it enrolls again."
            value={form.device}
          />
        </div>
        <Field label="Labels" hint="One a line: site=north. Each device gets them.">
          {(ids) => (
            <textarea
              {...ids}
              rows={2}
              spellcheck={false}
              value={form.labels}
              onInput={({ currentTarget }) => {
                form.labels.value = currentTarget.value;
              }}
            />
          )}
        </Field>
        <LoadTestFields form={form} />
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
        <div class="dialog-actions">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning.value}>
            Create token
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function LoadTestFields({ form }: { readonly form: TokenForm }) {
  return (
    <details>
      <summary>Load test</summary>
      <div class="form">
        <p class="soft small">
          Exempts these addresses from the limits per address until the token ends, at most a day.
        </p>
        <div class="form-columns">
          <TextField label="Addresses" hint="IP addresses or networks, with spaces between." value={form.addresses} />
          <NumberField
            label="A second"
            hint="Of each kind of request and connection."
            value={form.perSecond}
            min={1}
            max={10_000}
          />
        </div>
      </div>
    </details>
  );
}

function TextField(props: {
  readonly label: string;
  readonly hint: string;
  readonly value: { value: string };
  readonly suggestions?: readonly string[];
}) {
  const { suggestions, value } = props;
  return (
    <Field label={props.label} hint={props.hint}>
      {(ids) => (
        <>
          <input
            {...ids}
            type="text"
            autocomplete="off"
            spellcheck={false}
            list={suggestions === undefined ? '' : `${ids.id}-list`}
            value={value.value}
            onInput={({ currentTarget }) => {
              value.value = currentTarget.value;
            }}
          />
          {suggestions !== undefined && (
            <datalist id={`${ids.id}-list`}>
              {suggestions.map((text) => (
                <option key={text} value={text} />
              ))}
            </datalist>
          )}
        </>
      )}
    </Field>
  );
}

type TokenForm = ReturnType<typeof useTokenForm>;

function useTokenForm() {
  const uses = useSignal(1);
  const life = useSignal<Duration>({ amount: 1, unit: 'days' });
  const group = useSignal('');
  const device = useSignal('');
  const labels = useSignal('');
  const addresses = useSignal('');
  const perSecond = useSignal(200);
  const order = (): Order => ({
    uses: device.value === '' ? uses.value : 1,
    ttlSeconds: secondsOf(life.value),
    labels: readLabels(labels.value),
    ...(group.value !== '' && { group: group.value.trim() }),
    ...(device.value !== '' && { device: device.value.trim() }),
    ...(addresses.value.trim() !== '' && {
      loadTest: { from: addresses.value.trim().split(/[\s,]+/), perSecond: perSecond.value },
    }),
  });
  return { uses, life, group, device, labels, addresses, perSecond, order };
}

/** A line without "=" is a name with an empty value, which the server refuses. */
function readLabels(text: string): Record<string, string> {
  const lines = text.split('\n').filter((line) => line.trim() !== '');
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf('=');
      return at < 0 ? [line.trim(), ''] : [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}
