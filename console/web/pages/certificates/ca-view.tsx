import { useSignal } from '@preact/signals';
import { api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import { useEvery, useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { CaStepDialog } from './ca-step-dialog.tsx';
import { type Ca, type CaStep, STATE_TONES, STEPS, shortId, stepsOf } from './ca-words.ts';
import { PrepareCa } from './prepare-ca.tsx';

const EVERY_MS = 10_000;

/** The CAs with their states, and the replacement of one, step by step. */
export function CaView() {
  const cas = useResource((signal) => api('GET /v1/ca', { signal }), 'cas');
  useEvery(EVERY_MS, cas.reload);
  const step = useSignal<{ readonly ca: Ca; readonly step: CaStep } | undefined>(undefined);
  const prepared = useSignal<Ca['role'] | undefined>(undefined);
  const all = cas.data.value ?? [];
  const isAdmin = mayAct('admin');
  const close = () => {
    step.value = undefined;
    prepared.value = undefined;
  };
  const done = () => {
    close();
    cas.reload();
  };
  return (
    <>
      {cas.problem.value !== undefined && <ProblemNotice problem={cas.problem.value} retry={cas.reload} />}
      {cas.data.value !== undefined && (
        <>
          <Rotation
            cas={all}
            onPrepare={(role) => {
              prepared.value = role;
            }}
          />
          <Panel title="CAs" bare>
            <Table
              oneLine
              caption="Certificate authorities"
              rows={[
                ...all.filter(({ state }) => state !== 'retired'),
                ...all.filter(({ state }) => state === 'retired'),
              ]}
              keyOf={({ id }) => id}
              columns={[
                ...COLUMNS,
                {
                  title: isAdmin ? 'Next' : 'Next step',
                  cell: (ca: Ca) => (
                    <StepsOf
                      ca={ca}
                      onStep={(name) => {
                        step.value = { ca, step: name };
                      }}
                    />
                  ),
                },
              ]}
            />
          </Panel>
        </>
      )}
      {isAdmin && step.value !== undefined && <CaStepDialog {...step.value} onDone={done} onClose={close} />}
      {isAdmin && prepared.value !== undefined && <PrepareCa role={prepared.value} onDone={done} onClose={close} />}
    </>
  );
}

function StepsOf({ ca, onStep }: { readonly ca: Ca; readonly onStep: (step: CaStep) => void }) {
  const steps = stepsOf(ca);
  if (!mayAct('admin')) return <>{steps[0] === undefined ? '' : STEPS[steps[0]][0]}</>;
  return (
    <span class="row tight">
      {steps.map((step) => (
        <button
          type="button"
          key={step}
          aria-label={`${STEPS[step][0]} ${ca.role} CA ${shortId(ca.id)}`}
          class={step === 'retire' ? 'danger' : undefined}
          onClick={() => onStep(step)}
        >
          {STEPS[step][0]}
        </button>
      ))}
    </span>
  );
}

const COLUMNS = [
  {
    title: 'CA',
    cell: ({ id }: Ca) => (
      <span class="mono" title={id}>
        {shortId(id)}
      </span>
    ),
  },
  { title: 'Role', cell: ({ role }: Ca) => role },
  { title: 'State', cell: ({ state }: Ca) => <Badge tone={STATE_TONES[state]}>{state}</Badge> },
  { title: 'Since', cell: (ca: Ca) => <Time at={sinceOf(ca)} relative /> },
  {
    title: 'Valid certificates',
    isNumber: true,
    cell: ({ role, issued }: Ca) => (role === 'root' ? '' : issued.toLocaleString('en')),
  },
  {
    title: 'Would strand',
    isNumber: true,
    cell: ({ state, stranded }: Ca) =>
      state === 'outgoing' || state === 'tainted' ? stranded.toLocaleString('en') : '',
  },
  { title: 'Key', cell: ({ hasKey, state }: Ca) => (state === 'retired' ? '' : hasKey ? 'here' : 'elsewhere') },
  { title: 'Ends', cell: ({ notAfter }: Ca) => <Time at={notAfter} relative /> },
] as const;

/** When it came into its state. An outgoing CA has no time of its own. */
function sinceOf({ retiredAt, taintedAt, activatedAt, preparedAt }: Ca): string {
  return retiredAt ?? taintedAt ?? activatedAt ?? preparedAt;
}

const STAGES = ['Prepare', 'Activate', 'Taint', 'Retire'] as const;

/** Where the replacement of the issuing CA is, and what comes next. */
function Rotation(props: { readonly cas: readonly Ca[]; readonly onPrepare: (role: Ca['role']) => void }) {
  const issuing = props.cas.filter(({ role }) => role === 'issuing');
  const has = (state: Ca['state']) => issuing.some((ca) => ca.state === state);
  const next = has('prepared') ? 1 : has('outgoing') ? 2 : has('tainted') ? 3 : 0;
  const stranded = issuing
    .filter(({ state }) => state === 'outgoing' || state === 'tainted')
    .reduce((sum, ca) => sum + ca.stranded, 0);
  const hasPreparedRoot = props.cas.some(({ role, state }) => role === 'root' && state === 'prepared');
  return (
    <Panel
      title="Replace the issuing CA"
      actions={
        mayAct('admin') && (
          <>
            {!hasPreparedRoot && (
              <button type="button" onClick={() => props.onPrepare('root')}>
                Prepare a root
              </button>
            )}
            {!has('prepared') && (
              <button type="button" class="primary" onClick={() => props.onPrepare('issuing')}>
                Prepare an issuing CA
              </button>
            )}
          </>
        )
      }
    >
      <ol class="stages">
        {STAGES.map((stage, index) => (
          <li
            key={stage}
            class={index < next ? 'is-done' : undefined}
            aria-current={index === next && next > 0 ? 'step' : undefined}
          >
            {stage}
          </li>
        ))}
      </ol>
      <p class="soft">{nextText(next, stranded)}</p>
    </Panel>
  );
}

function nextText(next: number, stranded: number): string {
  const left =
    stranded === 0
      ? 'Every holder has another valid certificate.'
      : `${stranded.toLocaleString('en')} devices and services have no other valid certificate yet.`;
  if (next === 0)
    return 'No replacement is under way. It begins with a new CA, which devices trust and which signs nothing yet.';
  if (next === 1) return 'The new CA is in the trust bundle. Activate it once devices had time to receive it.';
  if (next === 2) return `The new CA signs. Taint the old one to have its holders renew now. ${left}`;
  return `Holders of the old CA are asked to renew. Retire it when nobody depends on it. ${left}`;
}
