import { useAct } from '../../act.ts';
import { api } from '../../api.ts';
import { Confirmation } from '../../parts/dialog.tsx';
import { announce } from '../../parts/messages.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { type Ca, shortId } from './ca-words.ts';

const MEANINGS = {
  issuing: 'A new issuing CA joins the trust bundle and signs nothing yet. No session ends.',
  root: 'A new root joins the trust bundle, signed by the old one as well. An issuing CA that is prepared after it is signed by it. No session ends.',
} as const satisfies Readonly<Record<Ca['role'], string>>;

export function PrepareCa(props: {
  readonly role: Ca['role'];
  readonly onDone: () => void;
  readonly onClose: () => void;
}) {
  const { role } = props;
  const { problem, run } = useAct();
  const prepare = async () => {
    const done = await run((idempotencyKey) => api('POST /v1/ca/prepare', { body: { role }, idempotencyKey }));
    if (done === undefined) return;
    announce(`CA ${shortId(done.id)} is prepared: devices are told to trust it.`);
    props.onDone();
  };
  return (
    <Confirmation
      title={role === 'root' ? 'Prepare a root' : 'Prepare an issuing CA'}
      action="Prepare"
      typed={`prepare ${role}`}
      act={prepare}
      onClose={props.onClose}
    >
      <div class="form">
        <p>{MEANINGS[role]}</p>
        <p class="soft">
          The key of the root has to be on this machine; otherwise sign a request elsewhere with rollcall ca csr.
        </p>
        {problem.value !== undefined && <ProblemNotice problem={problem.value} />}
      </div>
    </Confirmation>
  );
}
