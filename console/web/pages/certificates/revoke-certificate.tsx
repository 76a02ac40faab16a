import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { announce } from '../../parts/messages.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { type Reason, ReasonField } from '../../parts/reason-field.tsx';

/** Revokes one certificate of a holder that has another valid one. */
export function RevokeCertificate(props: {
  readonly certificate: AnswerOf<'GET /v1/certificates/:serial'>;
  readonly onDone: () => void;
  readonly onClose: () => void;
}) {
  const { serial, holder } = props.certificate;
  const reason = useSignal<Reason>('keyCompromise');
  const { problem, run } = useAct();
  const revoke = async () => {
    const done = await run((idempotencyKey) =>
      api('POST /v1/certificates/:serial/revoke', {
        params: { serial },
        body: { reason: reason.value },
        idempotencyKey,
      }),
    );
    if (done === undefined) return;
    const sessions = done.sessionsClosed === 1 ? '1 live session' : `${done.sessionsClosed} live sessions`;
    announce(`The certificate is revoked; ${sessions} closed, confirmed after ${done.propagationMs.toFixed(1)} ms.`);
    props.onDone();
  };
  return (
    <Confirmation
      title="Revoke this certificate"
      action="Revoke"
      typed={serial.slice(0, 8)}
      act={revoke}
      onClose={props.onClose}
    >
      <div class="form">
        <p>
          Sessions of {holder} that use it end, and it is refused from now on. The holder needs another valid
          certificate; otherwise the server refuses, and the holder itself is to be revoked.
        </p>
        <ReasonField value={reason} />
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
