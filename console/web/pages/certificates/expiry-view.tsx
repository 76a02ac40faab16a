import { useSignal } from '@preact/signals';
import { api } from '../../api.ts';
import { Facts } from '../../parts/facts.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { useEvery, useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { ExpiringList } from './expiring-list.tsx';
import { ExpiryHistogram } from './expiry-histogram.tsx';
import { PullRenewals } from './pull-renewals.tsx';

const EVERY_MS = 60_000;

/** What expires when, what is late to renew, and the list of both. */
export function ExpiryView() {
  const weeks = useResource((signal) => api('GET /v1/certificates/expiring/weeks', { signal }), 'weeks');
  useEvery(EVERY_MS, weeks.reload);
  return (
    <>
      {weeks.problem.value !== undefined && <ProblemNotice problem={weeks.problem.value} retry={weeks.reload} />}
      {weeks.data.value !== undefined && <ExpiryHistogram counted={weeks.data.value} />}
      <Renewals />
      <ExpiringList />
    </>
  );
}

function Renewals() {
  const renewals = useResource((signal) => api('GET /v1/renewals', { signal }), 'renewals');
  useEvery(EVERY_MS, renewals.reload);
  const isAsked = useSignal(false);
  const status = renewals.data.value;
  return (
    <Panel
      title="Renewals of devices"
      actions={
        mayAct() && (
          <button
            type="button"
            onClick={() => {
              isAsked.value = true;
            }}
          >
            Ask to renew
          </button>
        )
      }
    >
      {renewals.problem.value !== undefined && (
        <ProblemNotice problem={renewals.problem.value} retry={renewals.reload} />
      )}
      {status !== undefined && (
        <div class="columns">
          <Facts
            facts={[
              ['Devices', status.devices.toLocaleString('en')],
              ['Window open', status.due.toLocaleString('en')],
              ['Late', status.late.toLocaleString('en')],
              ['Asked to renew earlier', status.pulled.toLocaleString('en')],
            ]}
          />
          <Facts
            facts={[
              ['End within 7 days', status.endingIn7Days.toLocaleString('en')],
              ['End within 30 days', status.endingIn30Days.toLocaleString('en')],
              ['Next hour', `${rounded(status.nextHourPerSecond)} a second`],
              ['Budget', `${rounded(status.budgetPerSecond)} a second`],
            ]}
          />
        </div>
      )}
      {isAsked.value && (
        <PullRenewals
          onClose={() => {
            isAsked.value = false;
          }}
          onDone={() => {
            isAsked.value = false;
            renewals.reload();
          }}
        />
      )}
    </Panel>
  );
}

function rounded(rate: number): string {
  return rate.toLocaleString('en', { maximumFractionDigits: 3 });
}
