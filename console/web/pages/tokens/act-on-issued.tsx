import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { Field } from '../../parts/field.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { type Reason, ReasonField } from '../../parts/reason-field.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { useResource } from '../../resource.ts';
import type { TokenView } from './token-words.ts';

const ACTS = {
  revoke: 'Revoke: refused for good, with all their certificates',
  suspend: 'Suspend: refused until they are resumed',
  quarantine: 'Quarantine: connected, under the policy quarantine/* alone',
} as const;

type ActName = keyof typeof ACTS;

/** Revokes a token and acts on every device that came in by it, after a dry run that counts them. */
export function ActOnIssued(props: {
  readonly token: TokenView;
  readonly onDone: (answer: AnswerOf<'POST /v1/tokens/:id/blast'>) => void;
  readonly onClose: () => void;
}) {
  const { id } = props.token;
  const act = useSignal<ActName>('revoke');
  const reason = useSignal<Reason>('keyCompromise');
  const order = () => ({ act: act.value, ...(act.value === 'revoke' && { reason: reason.value }) });
  const dryRun = useResource(
    (signal) => api('POST /v1/devices/select', { body: { token: id, ...order() }, signal }),
    `${act.value} ${reason.value}`,
  );
  const { problem, run } = useAct();
  const selection = dryRun.data.value;
  // The count belongs to the act only once its own dry run has answered.
  const isCounted = !dryRun.isLoading.value && selection?.act === act.value;
  const count = isCounted ? selection.count : 0;
  const apply = async () => {
    if (selection === undefined) return;
    const done = await run((idempotencyKey) =>
      api('POST /v1/tokens/:id/blast', {
        params: { id },
        body: { ...order(), confirm: selection.confirmation },
        idempotencyKey,
      }),
    );
    if (done !== undefined) props.onDone(done);
    else dryRun.reload();
  };
  return (
    <Confirmation
      title={`Act on everything issued from ${id}`}
      typed={isCounted && count > 0 ? `${act.value} ${count}` : `${act.value} …`}
      action={`${act.value[0]?.toUpperCase()}${act.value.slice(1)} ${count === 1 ? '1 device' : `${count} devices`}`}
      act={apply}
      onClose={props.onClose}
    >
      <div class="form">
        <p>The token is revoked first, so that nobody comes in meanwhile.</p>
        <Field label="What to do with its devices">
          {(ids) => (
            <select
              {...ids}
              value={act.value}
              onChange={({ currentTarget }) => {
                act.value = currentTarget.value as ActName;
              }}
            >
              {Object.entries(ACTS).map(([name, text]) => (
                <option key={name} value={name}>
                  {text}
                </option>
              ))}
            </select>
          )}
        </Field>
        {act.value === 'revoke' && <ReasonField value={reason} />}
        <div class="notice warn" role="status">
          {isCounted ? <Selected count={count} devices={selection.devices} /> : 'Counting the devices'}
        </div>
        {dryRun.problem.value !== undefined && <ProblemNotice problem={dryRun.problem.value} retry={dryRun.reload} />}
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}

const NAMED = 12;

function Selected({ count, devices }: { readonly count: number; readonly devices: readonly string[] }) {
  if (count === 0) return <>No device has a good certificate from this token.</>;
  return (
    <div>
      <strong>{count === 1 ? '1 device' : `${count.toLocaleString('en')} devices`}</strong>
      {': '}
      {devices.slice(0, NAMED).map((device, index) => (
        <span key={device}>
          {index > 0 && ', '}
          <UntrustedText text={device} />
        </span>
      ))}
      {count > NAMED && ' …'}
    </div>
  );
}
