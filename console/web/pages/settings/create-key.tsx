import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { type Duration, DurationField, secondsOf } from '../../parts/duration-field.tsx';
import { Field } from '../../parts/field.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { ShownOnce } from '../../parts/shown-once.tsx';
import { Time } from '../../parts/time.tsx';
import { useResource } from '../../resource.ts';
import { ROLES, type Role, RoleField } from './roles.tsx';

type Created = AnswerOf<'POST /v1/operator-keys'>;

export function CreateKey(props: { readonly onCreated: (created: Created) => void; readonly onClose: () => void }) {
  const operators = useResource((signal) => api('GET /v1/operators', { signal }), 'operators');
  const active = (operators.data.value ?? []).filter(({ state }) => state === 'active');
  const chosen = useSignal('');
  const role = useSignal<Role>('viewer');
  const life = useSignal<Duration>({ amount: 90, unit: 'days' });
  const { isRunning, problem, run } = useAct();
  const operator = active.find(({ name }) => name === chosen.value) ?? active[0];
  const submit = async (event: Event) => {
    event.preventDefault();
    if (operator === undefined) return;
    const body = { operator: operator.name, role: role.value, ttlSeconds: secondsOf(life.value) };
    const created = await run((idempotencyKey) => api('POST /v1/operator-keys', { body, idempotencyKey }));
    if (created !== undefined) props.onCreated(created);
  };
  return (
    <Dialog title="Create an API key" onClose={props.onClose}>
      <form class="form" onSubmit={submit}>
        {operators.data.value !== undefined && active.length === 0 && (
          <p>Add an operator first: a key belongs to one.</p>
        )}
        <Field label="Operator" hint="The audit names it. Use one of its own for each program.">
          {(ids) => (
            <select
              {...ids}
              value={operator?.name ?? ''}
              onChange={({ currentTarget }) => {
                chosen.value = currentTarget.value;
                role.value = 'viewer';
              }}
            >
              {active.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          )}
        </Field>
        <RoleField value={role} roles={ROLES.slice(0, ROLES.indexOf(operator?.role ?? 'viewer') + 1)} />
        <DurationField label="Valid for" hint="A year at most." value={life} />
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
        <div class="dialog-actions">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning.value || operator === undefined}>
            Create key
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** The text of a new key, which the server does not show again. */
export function CreatedKey(props: { readonly created: Created; readonly onClose: () => void }) {
  const { key, text } = props.created;
  return (
    <ShownOnce title={`Key of ${key.operator}`} secret={text} label="the key" onClose={props.onClose}>
      It has the role {key.role}, until <Time at={key.expiresAt} />. Store it where only its program reads it.
    </ShownOnce>
  );
}
