import { useAct } from '../../act.ts';
import { api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { announce } from '../../parts/messages.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import type { TokenView } from './token-words.ts';

export function RevokeToken(props: {
  readonly token: TokenView;
  readonly onDone: () => void;
  readonly onClose: () => void;
}) {
  const { id, uses, maxUses } = props.token;
  const { problem, run } = useAct();
  const revoke = async () => {
    const done = await run((idempotencyKey) => api('POST /v1/tokens/:id/void', { params: { id }, idempotencyKey }));
    if (done === undefined) return;
    announce(`Token ${id} is revoked.`);
    props.onDone();
  };
  const left = maxUses - uses;
  return (
    <Confirmation title={`Revoke token ${id}`} action="Revoke token" act={revoke} onClose={props.onClose}>
      <div class="form">
        <p>
          Nobody enrolls with it from now on; it has {left === 1 ? 'one use' : `${left.toLocaleString('en')} uses`}{' '}
          left. Devices that enrolled with it before stay as they are.
        </p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
