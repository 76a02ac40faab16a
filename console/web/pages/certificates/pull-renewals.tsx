import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { type Duration, DurationField, secondsOf } from '../../parts/duration-field.tsx';
import { Field } from '../../parts/field.tsx';
import { announce } from '../../parts/messages.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { useResource } from '../../resource.ts';
import { shortId } from './ca-words.ts';

/** Asks devices to renew before their window opens: a group, the holders of one CA, or all. */
export function PullRenewals(props: { readonly onDone: () => void; readonly onClose: () => void }) {
  const group = useSignal('');
  const issuer = useSignal('');
  const within = useSignal<Duration>({ amount: 1, unit: 'hours' });
  const cas = useResource((signal) => api('GET /v1/ca', { signal }), 'cas');
  const { problem, run } = useAct();
  const isAll = group.value === '' && issuer.value === '';
  const pull = async () => {
    const answer = await run((idempotencyKey) =>
      api('POST /v1/renewals/pull', {
        body: {
          withinSeconds: secondsOf(within.value),
          ...(group.value !== '' && { group: group.value }),
          ...(issuer.value !== '' && { issuer: issuer.value }),
        },
        idempotencyKey,
      }),
    );
    if (answer === undefined) return;
    announce(
      `${answer.pulled} devices and ${answer.services} certificates of services are asked to renew, until ${new Date(answer.until).toLocaleString()}.`,
    );
    props.onDone();
  };
  return (
    <Confirmation
      title="Ask to renew"
      action="Ask to renew"
      {...(isAll && { typed: 'renew all' })}
      act={pull}
      onClose={props.onClose}
    >
      <div class="form">
        <p>
          They renew at random times within the budget of the server; if it does not allow the time, it takes longer.
        </p>
        <div class="form-columns">
          <Field label="Group" hint="Empty: every group.">
            {(ids) => (
              <input
                {...ids}
                autocomplete="off"
                value={group}
                onInput={({ currentTarget }) => {
                  group.value = currentTarget.value.trim();
                }}
              />
            )}
          </Field>
          <Field label="With a certificate of">
            {(ids) => (
              <select
                {...ids}
                value={issuer}
                onChange={({ currentTarget }) => {
                  issuer.value = currentTarget.value;
                }}
              >
                <option value="">any CA</option>
                {cas.data.value
                  ?.filter(({ role, state }) => role === 'issuing' && state !== 'retired' && state !== 'prepared')
                  .map(({ id, state }) => (
                    <option key={id} value={id}>
                      {state} {shortId(id)}
                    </option>
                  ))}
              </select>
            )}
          </Field>
          <DurationField label="Within" value={within} />
        </div>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
