import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { api } from '../../api.ts';
import { Dialog } from '../../parts/dialog.tsx';
import { Field } from '../../parts/field.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { type Role, RoleField } from './roles.tsx';
import type { SignInLink } from './sign-in-link.tsx';

/** Adds an operator, and makes the link with which the person sets a password. */
export function AddOperator(props: { readonly onAdded: (link: SignInLink) => void; readonly onClose: () => void }) {
  const name = useSignal('');
  const role = useSignal<Role>('operator');
  const isAdded = useSignal(false);
  const { isRunning, problem, run } = useAct();
  const submit = async (event: Event) => {
    event.preventDefault();
    const operator = name.value.trim();
    if (!isAdded.value) {
      const body = { name: operator, role: role.value };
      const added = await run((idempotencyKey) => api('POST /v1/operators', { body, idempotencyKey }));
      if (added === undefined) return;
      isAdded.value = true;
    }
    const link = await run((idempotencyKey) => api('POST /v1/sign-in-links', { body: { operator }, idempotencyKey }));
    if (link !== undefined) props.onAdded(link);
  };
  return (
    <Dialog title="Add an operator" onClose={props.onClose}>
      <form class="form" onSubmit={submit}>
        <Field label="Name" hint="Small letters, digits, . _ -. It is never given to another person.">
          {(ids) => (
            <input
              {...ids}
              autocomplete="off"
              spellcheck={false}
              autocapitalize="off"
              required
              pattern="[a-z0-9][a-z0-9._\-]{0,63}"
              disabled={isAdded.value}
              value={name.value}
              onInput={({ currentTarget }) => {
                name.value = currentTarget.value;
              }}
            />
          )}
        </Field>
        <RoleField value={role} />
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
        <div class="dialog-actions">
          <button type="button" onClick={props.onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning.value}>
            Add and make a link
          </button>
        </div>
      </form>
    </Dialog>
  );
}
