import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { announce } from '../../parts/messages.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { type Reason, ReasonField } from '../../parts/reason-field.tsx';

export function RevokeService(props: {
  readonly name: string;
  /** Live ones, which end. */
  readonly sessions: number;
  readonly onDone: () => void;
  readonly onClose: () => void;
}) {
  const { name, sessions } = props;
  const reason = useSignal<Reason>('unspecified');
  const { problem, run } = useAct();
  const revoke = async () => {
    const done = await run((idempotencyKey) =>
      api('POST /v1/services/:name/revoke', { params: { name }, body: { reason: reason.value }, idempotencyKey }),
    );
    if (done === undefined) return;
    const closed = done.sessionsClosed === 1 ? '1 live session' : `${done.sessionsClosed} live sessions`;
    announce(`Service ${name} is revoked; ${closed} closed, after ${done.tookMs.toFixed(1)} ms.`);
    props.onDone();
  };
  return (
    <Confirmation title={`Revoke ${name}`} action="Revoke" typed={name} act={revoke} onClose={props.onClose}>
      <div class="form">
        <p>
          All its certificates are refused from now on, and what is stored for its sessions is deleted.{' '}
          {sessions === 1 ? 'Its live session ends.' : `Its ${sessions} live sessions end.`} It can be let in again with
          a new certificate.
        </p>
        <ReasonField value={reason} />
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
