import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { announce } from '../../parts/messages.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import type { Operator } from './operators.tsx';
import { type Role, RoleField } from './roles.tsx';

interface Props {
  readonly operator: Operator;
  readonly onDone: () => void;
  readonly onClose: () => void;
}

export function DisableOperator({ operator: { name }, onDone, onClose }: Props) {
  const { problem, run } = useAct();
  const act = async () => {
    const params = { name };
    const done = await run((idempotencyKey) => api('POST /v1/operators/:name/disable', { params, idempotencyKey }));
    if (done === undefined) return;
    announce(`${name} is disabled.`);
    onDone();
  };
  return (
    <Confirmation title={`Disable ${name}`} action="Disable" act={act} onClose={onClose}>
      <div class="form">
        <p>
          {name} is signed out everywhere at once, and every API key of {name} is refused. What {name} did stays in the
          audit. A reset takes this back.
        </p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}

/** Also the way to another role, because the keys and sessions of the former one must not go on. */
export function ResetOperator({ operator: { name, role: current }, onDone, onClose }: Props) {
  const role = useSignal<Role>(current);
  const { problem, run } = useAct();
  const act = async () => {
    const order = { params: { name }, body: { role: role.value } };
    const done = await run((idempotencyKey) => api('POST /v1/operators/:name/reset', { ...order, idempotencyKey }));
    if (done === undefined) return;
    announce(`${name} is active with the role ${done.role}. Make a link for a new password.`);
    onDone();
  };
  return (
    <Confirmation title={`Reset ${name}`} action="Reset" act={act} onClose={onClose}>
      <div class="form">
        <p>
          Password, second factor, passkeys, sessions and API keys of {name} end. {name} is active again, with the role
          that you choose, and needs a new link.
        </p>
        <RoleField value={role} />
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
