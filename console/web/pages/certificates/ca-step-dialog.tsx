import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { type Duration, DurationField, secondsOf } from '../../parts/duration-field.tsx';
import { announce } from '../../parts/messages.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Subject } from '../../parts/subject.tsx';
import { useEvery, useResource } from '../../resource.ts';
import { type Ca, type CaStep, STEPS, shortId } from './ca-words.ts';

type Stranded = AnswerOf<'GET /v1/ca/:id/stranded'>;

const COUNT_EVERY_MS = 5_000;
const NAMED = 12;

/** One step of a rotation, with whom it would leave without access, behind a typed confirmation. */
export function CaStepDialog(props: {
  readonly ca: Ca;
  readonly step: CaStep;
  readonly onDone: () => void;
  readonly onClose: () => void;
}) {
  const { ca, step } = props;
  const { id } = ca;
  const within = useSignal<Duration>({ amount: 1, unit: 'hours' });
  const { problem, run } = useAct();
  const stranded = useResource(
    (signal) => api('GET /v1/ca/:id/stranded', { params: { id }, query: { limit: NAMED }, signal }),
    id,
  );
  useEvery(COUNT_EVERY_MS, stranded.reload);
  const found = stranded.data.value;
  // The server answers with the next step of the CA; the retirement of a prepared one strands nobody.
  const count = found?.step === step ? found.count : 0;
  const act = async () => {
    const done = await run((idempotencyKey) =>
      takeStep(ca, step, { strand: count, within: within.value, idempotencyKey }),
    );
    if (done === undefined) return;
    announce(done);
    props.onDone();
  };
  const [title, meaning] = STEPS[step];
  return (
    <Confirmation
      title={`${title} ${ca.role} CA ${shortId(id)}`}
      action={title}
      typed={count > 0 ? `${step} and strand ${count}` : `${step} ${shortId(id)}`}
      act={act}
      onClose={props.onClose}
    >
      <div class="form">
        <p>{meaning}</p>
        {step === 'taint' && <DurationField label="Within" hint="In which they are to renew." value={within} />}
        {step !== 'taint' && found !== undefined && <Strands found={found} count={count} step={step} />}
        {step === 'taint' && <p class="notice">{ca.issued.toLocaleString('en')} valid certificates are of this CA.</p>}
        {stranded.problem.value !== undefined && (
          <ProblemNotice problem={stranded.problem.value} retry={stranded.reload} />
        )}
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}

function Strands(props: { readonly found: Stranded; readonly count: number; readonly step: CaStep }) {
  const { found, count, step } = props;
  if (count === 0) {
    return (
      <p class="notice good" role="status">
        {step === 'activate'
          ? 'Every device and service trusts a root that stands above it.'
          : 'No device or service depends on it: each has another valid certificate.'}
      </p>
    );
  }
  return (
    <div class="notice bad" role="status">
      <strong>
        {count === 1 ? '1 device or service' : `${count.toLocaleString('en')} devices and services`}
        {step === 'activate' ? ' may not know its root yet' : ' would have no valid certificate'}
      </strong>
      <span>
        {found.holders.map((holder, index) => (
          <span key={holder}>
            {index > 0 && ', '}
            <Subject subject={holder} />
          </span>
        ))}
        {count > found.holders.length && ' …'}
      </span>
      <span>Have them renew first, or give them up: they need a bootstrap token that names them.</span>
    </div>
  );
}

/** What was done, as a sentence. */
async function takeStep(
  { id, role }: Ca,
  step: CaStep,
  order: { readonly strand: number; readonly within: Duration; readonly idempotencyKey: string },
): Promise<string> {
  const { strand, within, idempotencyKey } = order;
  const params = { id };
  if (step === 'activate') {
    await api('POST /v1/ca/:id/activate', { params, body: { strand }, idempotencyKey });
    return `CA ${shortId(id)} signs certificates now.`;
  }
  if (step === 'retire') {
    await api('POST /v1/ca/:id/retire', { params, body: { strand }, idempotencyKey });
    return `${role === 'root' ? 'Root' : 'CA'} ${shortId(id)} is retired.`;
  }
  const body = { withinSeconds: secondsOf(within) };
  const { pulled, services } = await api('POST /v1/ca/:id/taint', { params, body, idempotencyKey });
  return `CA ${shortId(id)} is tainted; ${pulled} devices and ${services} certificates of services are asked to renew.`;
}
